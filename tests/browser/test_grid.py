"""Many products at once; what came of it all is read in the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Route, expect

from tagging.database.tables import ImageSetImage, Product, Review
from tagging.domain import Status
from tests.browser.conftest import Person
from tests.browser.deliveries import deliver_shades
from tests.browser.grid_page import BARE, WINDOW, GridPage, wait_for
from tests.browser.installation import Installation
from tests.browser.review_page import ReviewPage, complaints, sideways
from tests.people import audit_all

Looker = Callable[..., GridPage]


@pytest.fixture
def looker(browser: Browser) -> Iterator[Looker]:
    """Opens a browser of their own for somebody, logged in and at the grid."""
    contexts = []

    def come(
        site: Installation,
        name: str = "Ann",
        window: tuple[int, int] = WINDOW,
        query: str = "",
        *,
        broken: str | None = None,
        clock: bool = False,
        **device: Any,
    ) -> GridPage:
        """`broken`: a photo that does not come. `clock`: its time is the test's."""
        width, height = window
        context = browser.new_context(viewport={"width": width, "height": height}, **device)
        contexts.append(context)
        if broken is not None:
            context.route(f"**/photos/*/{broken}.webp", lambda route: route.abort())
        if clock:
            context.clock.install()
        found = GridPage(context.new_page(), site)
        found.enter(site.person(name))
        found.open(query=query)
        return found

    yield come
    for context in contexts:
        context.close()


def suggested(site: Installation) -> dict[str, str]:
    """Sku -> what the model takes it for."""
    return {sku: row["suggestion"] for sku, row in site.standing().items()}


def of(site: Installation, category: str) -> list[str]:
    """The products that the model takes for this."""
    return sorted(sku for sku, name in suggested(site).items() if name == category)


def said(site: Installation) -> dict[str, tuple[str, str | None]]:
    """Sku -> (verdict, category) of every review that stands, one for each product."""
    found = {sku: (verdict, category) for sku, verdict, category, _ in site.said()}
    assert len(found) == len(site.said())
    return found


def acts(site: Installation) -> int:
    """How many acts brought reviews, those included that were taken back since."""
    wanted = sa.select(sa.func.count(sa.distinct(Review.action))).where(Review.undoes_id.is_(None))
    with site.database.read() as session:
        found: int = session.execute(wanted).scalar_one()
        return found


# --- saving and taking back --------------------------------------------------------------------


def test_one_key_saves_a_grid_in_one_act_and_one_takes_it_back(
    site: Installation, looker: Looker
) -> None:
    site.waits(20)
    before, dark, middle = site.standing(), of(site, "Dark"), of(site, "Middle")
    ann = looker(site)
    first = ann.skus()
    assert sorted(first) in (dark, middle)
    ann.tile(first[0]).click()
    ann.press("1")
    ann.tile(first[2]).click()
    ann.press("u")
    ann.must_be_marked(first[0], first[2])
    marks = ann.marks()

    assert ann.save() == first
    ann.must_show(*(set(before) - set(first)))
    ann.saved()
    assert sorted(said(site)) == sorted(first)
    assert acts(site) == 1
    second = ann.save()
    expect(ann.empty).to_be_visible()
    ann.saved()
    assert sorted(said(site)) == sorted(before)
    assert acts(site) == 2

    ann.press("Control+z")
    ann.must_show(*second)
    assert ann.marks() == {}
    ann.saved()
    ann.press("z")
    ann.must_show(*first)
    assert ann.skus() == first
    assert ann.marks() == marks
    ann.saved()
    assert site.said() == []
    assert site.standing() == before

    # As it was left, it can be gone on with.
    ann.tile(first[0]).click()
    ann.save()
    ann.must_show(*second)
    ann.saved()
    assert said(site) == {sku: ("confirmed", before[sku]["suggestion"]) for sku in first} | {
        first[2]: ("unsure", None)
    }


def test_each_verdict_of_the_marked_by_keys(site: Installation, looker: Looker) -> None:
    site.waits(15)
    suggestion = suggested(site)
    ann = looker(site)
    shown = ann.skus()
    digit, search, unsure, none, right = shown[:2], shown[2], shown[3:5], shown[5], shown[6:]

    for sku in digit:
        ann.tile(sku).click()
    ann.must_be_marked(*digit)
    assert set(ann.marks().values()) == {BARE}
    first_choice = ann.choices.first.inner_text().removeprefix("1").strip()
    assert first_choice not in (suggestion[shown[0]], "")
    ann.press("1")
    ann.tile(search).click()
    ann.press("/")
    ann.pick("ligh")
    for sku in unsure:
        ann.tile(sku).click()
    ann.press("u")
    ann.tile(none).click()
    ann.press("x")
    assert site.said() == []
    ann.save()
    ann.saved()

    assert said(site) == {
        **{sku: ("confirmed", suggestion[sku]) for sku in right},
        **dict.fromkeys(digit, ("corrected", first_choice)),
        search: ("corrected", "Light"),
        **dict.fromkeys(unsure, ("unsure", None)),
        none: ("not_a_product", None),
    }
    # What one was not sure of is for somebody else.
    while ann.tiles.count():
        assert not set(ann.save()) & set(shown)


def test_the_buttons_do_what_the_keys_do(site: Installation, looker: Looker) -> None:
    site.waits(15)
    before, suggestion = site.standing(), suggested(site)
    ann = looker(site)
    complained = complaints(ann.page)
    shown = ann.skus()
    choice, search, unsure, none, *right = shown

    for name in ("search", "unsure", "none", "undo"):
        expect(ann.button(name)).to_be_disabled()
    ann.tile(choice).click()
    first_choice = ann.choices.first.inner_text().removeprefix("1").strip()
    ann.choices.first.click()
    ann.tile(search).click()
    ann.button("search").click()
    ann.query.fill("ligh")
    ann.found.click()
    expect(ann.picker).to_be_hidden()
    ann.tile(unsure).click()
    ann.button("unsure").click()
    ann.tile(none).click()
    ann.button("none").click()
    marks = ann.marks()
    ann.button("confirm").click()
    ann.next_after(shown)
    ann.saved()
    assert said(site) == {
        **{sku: ("confirmed", suggestion[sku]) for sku in right},
        choice: ("corrected", first_choice),
        search: ("corrected", "Light"),
        unsure: ("unsure", None),
        none: ("not_a_product", None),
    }

    ann.button("undo").click()
    ann.must_show(*shown)
    assert ann.marks() == marks
    ann.saved()
    assert site.said() == []
    assert site.standing() == before
    assert complained == []


def test_enter_asks_for_a_category_where_none_is_said_or_leaves_these(
    site: Installation, looker: Looker
) -> None:
    site.waits(15)
    before, suggestion = site.standing(), suggested(site)
    ann = looker(site)
    shown = ann.skus()
    named, *left = shown[:3]
    ann.tile(named).click()
    ann.press("Enter")
    ann.pick("ligh")
    wait_for(ann.marks, {named: "Light"})
    for sku in left:
        ann.tile(sku).click()
    ann.press("Enter")
    expect(ann.picker).to_be_visible()
    # What is typed there says nothing.
    ann.query.press_sequentially("x1u")
    ann.close_search()
    ann.must_be_marked(named, *left)
    assert ann.skus() == shown
    assert site.said() == []

    ann.press("Enter")
    ann.later.click()
    ann.next_after(shown)
    ann.saved()
    assert said(site) == {
        sku: ("confirmed", suggestion[sku]) for sku in shown if sku not in left
    } | {named: ("corrected", "Light")}
    assert {sku: site.standing()[sku] for sku in left} == {sku: before[sku] for sku in left}

    # They are there for one at a time.
    while ann.tiles.count() and not set(ann.skus()) & set(left):
        ann.save()
    ann.saved()
    single = ReviewPage(ann.page, site)
    single.open()
    assert {single.decide("2"), single.decide("2")} == set(left)
    single.saved()


def test_a_button_that_was_clicked_takes_no_key(site: Installation, looker: Looker) -> None:
    site.waits(20)
    ann = looker(site)
    first = ann.save()
    second = ann.save()
    ann.saved()
    ann.button("undo").click()
    ann.must_show(*second)
    # It saves what is shown, and does not take the grid before it back.
    assert ann.save() == second
    expect(ann.empty).to_be_visible()
    ann.button("undo").click()
    ann.must_show(*second)
    ann.tile(second[0]).click()
    ann.button("unsure").click()
    ann.tile(second[1]).click()
    ann.choices.first.click()
    ann.tile(second[2]).click()
    ann.button("search").click()
    ann.query.fill("light")
    ann.found.click()
    ann.must_be_marked(*second[:3])
    ann.save()
    ann.saved()
    assert sorted(said(site)) == sorted([*first, *second])


def test_one_undo_right_after_another_leaves_the_grid_as_it_was(
    site: Installation, looker: Looker
) -> None:
    site.waits(20)
    ann = looker(site)
    first = ann.skus()
    ann.tile(first[1]).click()
    ann.press("x")
    marks = ann.marks()
    ann.save()
    second = ann.save()
    ann.saved()
    ann.press("z")
    ann.press("z")  # the server has not answered the one before
    ann.must_show(*first)
    ann.saved()
    ann.page.wait_for_load_state("networkidle")
    ann.must_show(*first)
    assert ann.marks() == marks
    ann.save()
    ann.must_show(*second)


def test_a_grid_that_is_put_aside_by_an_undo_keeps_its_marks(
    site: Installation, looker: Looker
) -> None:
    site.waits(20)
    ann = looker(site)
    first, second = ann.save(), ann.skus()
    ann.tile(second[1]).click()
    ann.press("x")
    marks = ann.marks()
    ann.press("z")
    ann.must_show(*first)
    assert ann.marks() == {}
    ann.save()
    ann.must_show(*second)
    assert ann.marks() == marks
    # Nor are they lost where it was saved already and two are taken back, one after the other.
    ann.save()
    ann.saved()
    ann.press("z")
    ann.must_show(*second)
    ann.press("z")
    ann.must_show(*first)
    ann.save()
    ann.must_show(*second)
    assert ann.marks() == marks


# --- marking -----------------------------------------------------------------------------------


def test_the_mouse_marks_and_takes_the_mark_away(site: Installation, looker: Looker) -> None:
    site.waits(20)
    ann = looker(site)
    shown = ann.skus()
    ann.tile(shown[1]).click()
    ann.must_be_marked(shown[1])
    ann.tile(shown[4]).click()
    ann.must_be_marked(shown[1], shown[4])
    ann.tile(shown[1]).click()
    ann.must_be_marked(shown[4])

    # Held and moved over several it marks, and over those that are marked already.
    ann.sweep(2, 5)
    ann.must_be_marked(*shown[2:6])
    # From one that is marked on it takes the marks away.
    ann.sweep(4, 1)
    ann.must_be_marked(shown[5])
    # Let go, it marks nothing more.
    ann.tile(shown[0]).hover()
    ann.tile(shown[3]).hover()
    ann.must_be_marked(shown[5])
    assert site.said() == []


def test_the_keys_move_and_mark(site: Installation, looker: Looker) -> None:
    site.waits(20)
    ann = looker(site)
    shown = ann.skus()
    ann.press("Space")
    ann.must_be_marked(shown[0])
    ann.press("ArrowRight")
    ann.press("ArrowRight")
    ann.press("Space")
    ann.must_be_marked(shown[0], shown[2])
    ann.press("ArrowLeft")
    ann.press("ArrowLeft")
    ann.press("ArrowLeft")  # there is nothing before the first
    ann.press("Space")
    ann.must_be_marked(shown[2])
    ann.press("ArrowDown")
    expect(ann.tiles.nth(ann.below(0))).to_be_focused()
    ann.press("Space")
    ann.must_be_marked(shown[2], shown[ann.below(0)])
    ann.press("ArrowUp")
    expect(ann.tiles.first).to_be_focused()

    ann.press("a")
    ann.must_be_marked()
    ann.press("a")
    ann.must_be_marked(*shown)
    ann.press("a")
    ann.must_be_marked()

    ann.press("ArrowRight")
    ann.press("Shift+ArrowRight")
    ann.press("Shift+ArrowRight")
    ann.must_be_marked(*shown[1:4])
    expect(ann.tiles.nth(3)).to_be_focused()
    assert site.said() == []


def test_a_finger_marks_by_a_tap_and_the_buttons_do_the_rest(
    site: Installation, looker: Looker
) -> None:
    site.waits(15)
    suggestion = suggested(site)
    ann = looker(site, window=(360, 1600), has_touch=True, is_mobile=True)
    shown = ann.skus()
    assert sideways(ann.page) is None
    for sku in shown[:3]:
        ann.tile(sku).tap()
    ann.must_be_marked(*shown[:3])
    ann.tile(shown[1]).tap()
    ann.must_be_marked(shown[0], shown[2])
    assert sideways(ann.page) is None
    ann.button("none").tap()
    ann.tile(shown[3]).tap()
    ann.button("search").tap()
    ann.query.fill("light")
    ann.found.tap()
    ann.must_be_marked(shown[0], shown[2], shown[3])
    ann.button("confirm").tap()
    ann.next_after(shown)
    ann.saved()
    wanted = {sku: ("confirmed", suggestion[sku]) for sku in shown} | {
        shown[0]: ("not_a_product", None),
        shown[2]: ("not_a_product", None),
        shown[3]: ("corrected", "Light"),
    }
    assert said(site) == wanted
    ann.button("undo").tap()
    ann.must_show(*shown)
    ann.saved()
    assert site.said() == []


def test_digits_go_by_their_place_and_letters_can_be_switched_off(
    site: Installation, looker: Looker
) -> None:
    site.waits(8)
    ann = looker(site)
    shown = ann.skus()
    ann.tile(shown[0]).click()
    first_choice = ann.choices.first.inner_text().removeprefix("1").strip()
    # On French keyboards this key writes a digit with Shift only.
    ann.press_at("Digit1", writes="&")
    wait_for(ann.marks, {shown[0]: first_choice})
    # What is written with Shift is no digit, wherever it stands.
    ann.tile(shown[1]).click()
    ann.press_at("Digit1", writes="!", shift=True)
    wait_for(ann.marks, {shown[0]: first_choice, shown[1]: BARE})
    ann.press("?")
    expect(ann.keys).to_be_visible()
    ann.press("x")
    ann.press("Escape")
    expect(ann.keys).to_be_hidden()

    # As a person can choose it on the other page: for who speaks to their computer.
    ann.switch_letters(on=False)
    for key in ("1", "a", "x", "u", "/", "?", "z"):
        ann.press(key)
    expect(ann.keys.or_(ann.picker).locator("visible=true")).to_have_count(0)
    wait_for(ann.marks, {shown[0]: first_choice, shown[1]: BARE})
    ann.press("ArrowLeft")
    ann.press("Space")
    ann.must_be_marked(shown[1])
    ann.switch_letters(on=True)
    ann.press("x")
    ann.save()
    ann.saved()
    assert said(site)[shown[1]] == ("not_a_product", None)
    ann.switch_letters(on=False)
    ann.press("Control+z")
    ann.must_show(*shown)
    ann.saved()
    assert site.said() == []


# --- what is asked for -------------------------------------------------------------------------


def test_what_is_chosen_above_holds_through_a_reload_and_on_the_other_page(
    site: Installation, looker: Looker
) -> None:
    site.waits(20)
    ann = looker(site)
    for category in ("Middle", "Dark", "Middle"):
        ann.choose("suggestion", category)
        ann.must_show(*of(site, category))
    ann.choose("order", "oldest")
    ann.must_show(*of(site, "Middle"))

    ann.page.reload()
    ann.must_show(*of(site, "Middle"))
    assert (ann.chosen("suggestion"), ann.chosen("order")) == ("Middle", "oldest")
    ann.page.locator("#to-review").click()
    single = ReviewPage(ann.page, site)
    single.ready()
    assert (ann.chosen("suggestion"), ann.chosen("order")) == ("Middle", "oldest")
    assert single.sku == min(of(site, "Middle"))
    ann.page.locator("#to-grid").click()
    ann.must_show(*of(site, "Middle"))
    assert (ann.chosen("suggestion"), ann.chosen("order")) == ("Middle", "oldest")

    # It shows that category alone, and then nothing of another one.
    ann.save()
    expect(ann.empty).to_be_visible()
    ann.saved()
    assert sorted(said(site)) == of(site, "Middle")


def test_in_the_audit_sample_nothing_is_left_without_a_verdict(
    site: Installation, looker: Looker
) -> None:
    audit_all(site.services)
    deliver_shades(site, {f"AT-{shade:03}": [shade] for shade in (0, 1, 2, 127, 128, 253, 254)})
    before = site.standing()
    assert {row["status"] for row in before.values()} == {Status.TAGGED}
    ann = looker(site, query="?order=audit")
    ann.must_show(*before)
    assert ann.chosen("order") == "audit"
    shown = ann.skus()
    # Category by category.
    tags = [before[sku]["category"] for sku in shown]
    assert [tag for at, tag in enumerate(tags) if tag not in tags[:at]] == [
        tag for at, tag in enumerate(tags) if at == 0 or tag != tags[at - 1]
    ]

    ann.tile("AT-127").click()
    ann.press("Enter")
    expect(ann.picker).to_be_visible()
    expect(ann.later).to_be_hidden()
    ann.pick("dark")
    ann.save()
    expect(ann.empty).to_be_visible()
    ann.saved()
    assert said(site) == {sku: ("confirmed", row["suggestion"]) for sku, row in before.items()} | {
        "AT-127": ("corrected", "Dark")
    }


# --- nothing is lost ---------------------------------------------------------------------------


def test_a_server_that_is_killed_costs_no_grid(site: Installation, looker: Looker) -> None:
    site.waits(20)
    ann = looker(site)
    ann.page.wait_for_load_state("networkidle")  # the next grid is there
    first = ann.skus()
    ann.tile(first[0]).click()
    ann.press("x")
    site.kill()
    ann.save()
    second = ann.skus()
    assert not set(second) & set(first)
    expect(ann.unsent).not_to_be_empty()
    assert len(ann.kept()) == 1
    ann.press("Enter")
    assert len(ann.kept()) == 2
    assert site.said() == []
    site.start()
    ann.saved()
    site.wait_for_reviews(len(first) + len(second))
    assert sorted(sku for sku, *_ in site.said()) == sorted([*first, *second])
    assert said(site)[first[0]] == ("not_a_product", None)
    assert acts(site) == 2


def test_a_grid_whose_answer_is_lost_on_the_way_counts_once(
    site: Installation, looker: Looker
) -> None:
    site.waits(8)
    before = site.standing()
    ann = looker(site)
    shown = ann.skus()

    def record_and_die(route: Route) -> None:
        answer = route.fetch()
        assert answer.ok
        site.kill()
        route.abort()

    ann.page.route("**/reviews", record_and_die, times=1)
    ann.press("Enter")
    expect(ann.unsent).not_to_be_empty()
    assert sorted(said(site)) == sorted(shown)
    site.start()
    ann.saved()
    assert sorted(said(site)) == sorted(shown)
    ann.press("z")
    ann.must_show(*shown)
    ann.saved()
    assert site.said() == []
    assert site.standing() == before


def test_who_could_not_be_shown_more_is_when_the_server_is_back(
    site: Installation, looker: Looker
) -> None:
    site.waits(8)
    ann = looker(site)
    ann.save()
    expect(ann.empty).to_be_visible()
    ann.saved()
    site.kill()
    deliver_shades(site, {"AT-900": [60]})
    ann.choose("order", "oldest")
    # That nothing waits cannot be known now.
    expect(ann.empty).to_be_hidden()
    site.start()
    ann.must_show("AT-900")


def test_what_was_said_when_the_session_ran_out_is_sent_after_the_log_in(
    site: Installation, looker: Looker
) -> None:
    site.waits(15)
    ann = looker(site)
    shown = ann.skus()
    ann.tile(shown[1]).click()
    ann.press("x")
    site.end_sessions_by_what_is_said(ann.page)
    ann.press("Enter")
    ann.page.wait_for_url("**/login*")
    assert site.said() == []
    ann.log_in("Ann")
    ann.open()
    ann.saved()
    assert sorted(said(site)) == sorted(shown)
    assert said(site)[shown[1]] == ("not_a_product", None)
    # They are not shown again either.
    assert not set(ann.skus()) & set(shown)


# --- several people ----------------------------------------------------------------------------


def test_two_people_never_see_the_same_tile(site: Installation, looker: Looker) -> None:
    site.waits(96)
    ann = looker(site, "Ann")
    ann.choose("size", "24")
    wait_for(ann.tiles.count, 24)
    bob = looker(site, "Bob")
    bob.choose("size", "24")
    wait_for(bob.tiles.count, 24)
    seen: dict[str, set[str]] = {"Ann": set(), "Bob": set()}
    while ann.tiles.count() or bob.tiles.count():
        assert not set(ann.skus()) & set(bob.skus())
        for one, name in ((ann, "Ann"), (bob, "Bob")):
            if one.tiles.count():
                seen[name] |= set(one.save())
    ann.saved()
    bob.saved()
    assert len(said(site)) == 96
    assert all(seen.values())
    for name, skus in seen.items():
        assert {sku for sku, _, _, who in site.said() if who == name} == skus


def test_of_a_late_grid_each_that_counts_for_nothing_is_told(
    site: Installation, looker: Looker, person: Person
) -> None:
    site.waits(8)
    suggestion = suggested(site)
    ann = looker(site, "Ann")
    shown = ann.skus()
    site.end_reservations()
    bob = person(site, "Bob")
    taken = {bob.decide("x"): "not_a_product", bob.decide("2"): "corrected"}
    bob.saved()
    assert set(taken) < set(shown)
    ann.press("Enter")
    ann.saved()
    for sku in taken:
        expect(ann.messages).to_contain_text(f"{sku} · Bob decided on it already")
    told = ann.messages.inner_text()
    assert not [sku for sku in shown if sku not in taken and sku in told]
    assert {(sku, verdict, who) for sku, verdict, _, who in site.said()} == {
        *((sku, verdict, "Bob") for sku, verdict in taken.items()),
        *((sku, "confirmed", "Ann") for sku in shown if sku not in taken),
    }
    assert all(site.standing()[sku]["category"] == suggestion[sku] for sku in set(shown) - {*taken})


def test_a_photo_that_changed_under_the_eyes_is_refused_alone(
    site: Installation, looker: Looker
) -> None:
    site.waits(8)
    ann = looker(site)
    shown = ann.skus()
    changed, *others = shown
    site.deliver({changed: 22})
    ann.press("Enter")
    expect(ann.messages).to_contain_text(changed)
    told = ann.messages.inner_text()
    assert not [sku for sku in others if sku in told]
    assert sorted(said(site)) == sorted(others)
    assert site.status(changed) is Status.NEEDS_REVIEW


# --- what was not seen ---------------------------------------------------------------------------


def test_what_was_never_in_sight_is_not_saved(site: Installation, looker: Looker) -> None:
    deliver_shades(site, {f"AT-{number:03}": [60] for number in range(30)})
    ann = looker(site, window=(800, 500))
    skus = ann.skus()
    assert len(skus) == 30
    expect(ann.tile(skus[-1])).not_to_be_in_viewport()
    # What is in sight counts as seen once its photo is there; until then no key does anything.
    ann.page.wait_for_function(
        "() => [...document.querySelectorAll('#tiles img')].every((one) => one.complete)"
    )
    presses = 0
    while ann.tile(skus[-1]).count() and presses < 30:
        assert site.said() == []
        ann.press("Enter")
        presses += 1
    assert presses > 2
    ann.saved()
    assert sorted(said(site)) == sorted(skus)


def test_who_scrolled_to_the_end_saves_by_one_key(site: Installation, looker: Looker) -> None:
    deliver_shades(site, {f"AT-{number:03}": [60] for number in range(30)})
    ann = looker(site, window=(800, 500))
    skus = ann.skus()
    ann.tile(skus[-1]).scroll_into_view_if_needed()
    wait_for(lambda: "seen" in ann.button("confirm").inner_text(), False)
    assert ann.save() == skus


def test_a_product_whose_photo_does_not_come_is_left_out(
    site: Installation, looker: Looker
) -> None:
    deliver_shades(site, {"AT-001": [60], "AT-002": [60], "AT-003": [58]})
    with site.database.read() as session:
        query = (
            sa.select(ImageSetImage.sha256)
            .join(Product, Product.image_set == ImageSetImage.image_set)
            .where(Product.sku == "AT-003")
        )
        sha256 = session.execute(query).scalar_one()
    ann = looker(site, query="?order=oldest", broken=sha256)
    wait_for(lambda: ann.tile("AT-003").get_attribute("aria-selected"), "false")
    ann.save()
    ann.saved()
    assert sorted(said(site)) == ["AT-001", "AT-002"]
    assert site.status("AT-003") is Status.NEEDS_REVIEW


# --- who is away, and what was said before -------------------------------------------------------


def test_a_page_that_nobody_is_at_holds_nothing(site: Installation, looker: Looker) -> None:
    site.waits(8)
    ann = looker(site, clock=True)
    held = ann.skus()
    ann.button("confirm").hover()
    kept, answered = list[str](), list[str]()
    for event, found in (("request", kept), ("requestfinished", answered)):
        ann.page.on(
            event,
            lambda one, found=found: found.append(one.url) if "/api/keep" in one.url else None,
        )
    ann.page.clock.run_for(20 * 60_000)
    # Asking the page lets what it told meanwhile be heard.
    wait_for(lambda: ann.page.evaluate("0") or len(answered) == len(kept), True)
    # Five minutes of them, once a minute, for this grid and the next one.
    assert 2 <= len(kept) <= 12
    site.end_reservations()
    bob = looker(site, "Bob")
    assert bob.skus() == held
    # Who comes back is shown nothing that is another's by now.
    ann.page.mouse.move(5, 5)
    wait_for(lambda: set(ann.skus()) & set(held), set())
    expect(ann.messages).to_be_visible()


def test_a_grid_of_before_a_reload_is_taken_back(site: Installation, looker: Looker) -> None:
    site.waits(12)
    ann = looker(site)
    before = site.standing()
    first = ann.save()
    ann.saved()
    ann.open()
    expect(ann.button("undo")).to_be_enabled()
    ann.press("z")
    ann.must_show(*first)
    ann.saved()
    assert site.said() == []
    assert site.standing() == before


def test_any_of_what_was_said_is_taken_back_on_either_page(
    site: Installation, looker: Looker
) -> None:
    site.waits(12)
    ann = looker(site)
    grid = ann.save()
    ann.saved()
    single = ReviewPage(ann.page, site)
    single.open()
    one, two = single.decide("Enter"), single.decide("x")
    single.saved()
    single.open()
    lines = ann.page.locator("#said li")
    ann.press("h")
    expect(lines).to_have_count(3)
    expect(lines.nth(0)).to_contain_text(two)
    expect(lines.nth(2)).to_contain_text(f"{len(grid)} products")
    lines.nth(1).get_by_role("button").click()
    expect(single.title).to_have_text(f"Jacket {one}")
    single.saved()
    assert sorted(said(site)) == sorted([*grid, two])
    ann.press("h")
    expect(lines).to_have_count(2)
    lines.nth(1).get_by_role("button").click()
    expect(ann.page.get_by_text(f"{len(grid)} products wait again")).to_be_visible()
    single.saved()
    assert sorted(said(site)) == [two]
