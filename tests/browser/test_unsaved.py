"""What was said is never lost and never counted twice, whatever happens to server and browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Playwright, Route, expect

from tests.browser import chromium
from tests.browser.conftest import Person
from tests.browser.installation import Installation
from tests.browser.review_page import ReviewPage


def test_a_server_that_is_killed_in_the_middle_of_posts_loses_nothing(
    site: Installation, person: Person
) -> None:
    site.waits(30)
    ann = person(site)
    said: list[str] = []
    for _ in range(3):
        # The last of these may be under way when the server dies.
        said += [ann.decide("Enter") for _ in range(4)]
        assert ann.sku  # its photo is here; no other comes until the server does
        site.kill()
        said += [ann.decide("2")]
        expect(ann.unsent).not_to_be_empty()
        assert ann.kept()
        site.start()
        ann.saved()
        site.wait_for_reviews(len(said))
    expect(ann.error).to_be_hidden()
    assert sorted(sku for sku, *_ in site.said()) == sorted(set(said)) == sorted(said)


def test_an_answer_that_is_lost_on_the_way_counts_once(site: Installation, person: Person) -> None:
    site.waits(4)
    ann = person(site)
    ann.prepared(4)  # the next product is decided on without the server

    def record_and_die(route: Route) -> None:
        answer = route.fetch()
        assert answer.ok
        site.kill()
        route.abort()

    ann.page.route("**/reviews", record_and_die, times=1)
    said = [ann.decide("Enter"), ann.decide("2")]
    expect(ann.unsent).not_to_be_empty()
    assert [sku for sku, *_ in site.said()] == said[:1]
    site.start()
    ann.saved()
    assert [sku for sku, *_ in site.said()] == said
    ann.take_back(said[1])
    ann.take_back(said[0])
    ann.saved()
    assert site.said() == []


def test_an_undo_while_the_server_is_away_holds(site: Installation, person: Person) -> None:
    site.waits(5)
    before = site.standing()
    ann = person(site)
    first = ann.decide("Enter")
    ann.saved()
    assert ann.sku != first  # its photo is there, so that it can be decided on without the server
    site.kill()
    second = ann.decide("Enter")
    expect(ann.unsent).not_to_be_empty()
    ann.take_back(second)
    ann.take_back(first)
    site.start()
    ann.saved()
    assert site.said() == []
    assert site.standing() == before


def test_who_has_nothing_left_is_shown_more_when_the_server_is_back(
    site: Installation, person: Person
) -> None:
    site.waits(3)
    ann = person(site)
    for _ in range(3):
        ann.decide("Enter")
    expect(ann.empty).to_be_visible()
    ann.saved()
    site.kill()
    site.deliver({"AT-900": 40})
    ann.page.locator("#order").select_option("oldest")
    expect(ann.error).to_be_visible()
    # That nothing waits cannot be known now.
    expect(ann.empty).to_be_hidden()
    site.start()
    expect(ann.title).to_have_text("Jacket AT-900")
    expect(ann.error).to_be_hidden()


def test_a_browser_that_is_offline_keeps_what_is_said(site: Installation, person: Person) -> None:
    site.waits(6)
    ann = person(site)
    ann.prepared(6)
    ann.page.context.set_offline(True)
    said = [ann.decide("Enter"), ann.decide("x")]
    expect(ann.unsent).not_to_be_empty()
    assert len(ann.kept()) == 2
    assert site.said() == []
    ann.page.context.set_offline(False)
    ann.saved()
    assert [sku for sku, *_ in site.said()] == said


@pytest.mark.parametrize("how", ["reloaded", "closed"])
def test_what_a_page_could_not_send_is_sent_on_the_next_visit(
    site: Installation, person: Person, how: str
) -> None:
    site.waits(6)
    ann = person(site)
    ann.prepared(6)
    site.kill()
    said = [ann.decide("Enter"), ann.decide("2")]
    assert len(ann.kept()) == 2
    context = ann.page.context
    if how == "closed":
        ann.page.close()
        ann = ReviewPage(context.new_page(), site)
    site.start()
    ann.open()
    ann.saved()
    assert [sku for sku, *_ in site.said()] == said
    # They are not shown again either.
    assert ann.sku not in said


def test_a_browser_that_is_closed_sends_it_when_it_comes_again(
    site: Installation, playwright: Playwright, tmp_path: Path
) -> None:
    site.waits(4)
    site.person("Ann")
    with chromium.with_profile(playwright, tmp_path / "profile") as context:
        ann = ReviewPage(context.new_page(), site)
        ann.enter("Ann")
        ann.open()
        ann.prepared(4)
        site.kill()
        sku = ann.decide("Enter")
        assert ann.kept()
    site.start()
    with chromium.with_profile(playwright, tmp_path / "profile") as context:
        ann = ReviewPage(context.new_page(), site)
        ann.enter("Ann")
        ann.open()
        ann.saved()
    assert [one for one, *_ in site.said()] == [sku]


def test_a_session_that_ran_out_loses_nothing(site: Installation, person: Person) -> None:
    site.waits(6)
    ann = person(site)
    first = ann.decide("Enter")
    ann.saved()
    second = ann.sku
    site.end_sessions_by_what_is_said(ann.page)
    ann.press("Enter")
    ann.page.wait_for_url("**/login*")
    assert [sku for sku, *_ in site.said()] == [first]
    ann.log_in_again("Ann")
    ann.saved()
    assert [sku for sku, *_ in site.said()] == [first, second]


def test_who_logs_in_next_does_not_say_what_another_said(
    site: Installation, person: Person
) -> None:
    site.waits(30)  # more than a page asks for at once, so that some are left for Bob
    ann = person(site)
    site.person("Bob")
    said = ann.sku
    site.end_sessions_by_what_is_said(ann.page)
    ann.press("Enter")
    ann.page.wait_for_url("**/login*")
    ann.log_in("Bob")
    ann.open()
    bobs = ann.decide("Enter")
    ann.saved("Bob")
    assert [(sku, who) for sku, _, _, who in site.said()] == [(bobs, "Bob")]
    ann.page.goto("about:blank")  # else the page might lead to the log-in by itself meanwhile
    ann.page.context.clear_cookies()
    ann.log_in("Ann")
    ann.open()
    ann.saved()
    assert {(sku, who) for sku, _, _, who in site.said()} >= {(bobs, "Bob"), (said, "Ann")}
