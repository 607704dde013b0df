"""The pages for administrators, over real databases, without a browser."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tagging.database import autopilots, rules
from tagging.database.rules import Version
from tagging.domain import Autopilot, Role, Verdict
from tagging.rules import RetailerRules, parse_rules
from tagging.steering import turn
from tests.integration import test_web
from tests.integration.test_web import UNSURE, Client
from tests.people import SURE, add_verdicts, audit_all, say, state, tagged
from tests.stand_in import Services

client = test_web.client

RULES = "# no light one goes out unseen\nalways_review: [Light]\n"


def newest(services: Services) -> Version | None:
    with services.database.read() as session:
        return rules.newest(session, services.retailer_id)


def words(text: str) -> str:
    """What a page says, without its markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def form(browser: TestClient, **fields: str) -> dict[str, str]:
    return {"csrf": str(browser.headers["x-csrf-token"]), **fields}


@pytest.fixture
def ada(client: Client) -> TestClient:
    """An administrator, whose forms carry the token themselves."""
    return client("Ada", Role.ADMIN)


class TestHome:
    def test_what_waits_why_and_where_the_autopilot_stands(
        self, services: Services, client: Client, tmp_path: Path
    ) -> None:
        tagged(audit_all(services), tmp_path / "in", SURE | UNSURE)
        said = words(client().get("/").text)
        assert "2 to review 4 to audit" in said
        assert "the model is unsure 2" in said
        assert "Autopilot provisional shades:1" in said

    def test_who_only_looks_is_not_sent_to_review(self, client: Client) -> None:
        page = client("Eve", Role.VIEWER).get("/").text
        assert 'href="/rules/default"' in page
        assert 'href="/autopilot/default"' in page
        assert "/review/" not in page
        assert "/people/" not in page

    def test_an_administrator_comes_to_the_people(self, ada: TestClient) -> None:
        assert '<a href="/people/default">' in ada.get("/").text

    def test_nothing_is_urged_where_nothing_waits(
        self, services: Services, client: Client, tmp_path: Path
    ) -> None:
        ann, urged = client(), 'class="main" href="/review/default"'
        assert urged not in ann.get("/").text
        assert 'href="/review/default"' in ann.get("/").text
        tagged(services, tmp_path / "in", UNSURE)
        assert urged in ann.get("/").text


class TestRules:
    def test_rules_are_tried_and_nothing_changes(
        self, services: Services, ada: TestClient, tmp_path: Path
    ) -> None:
        tagged(services, tmp_path / "in", SURE | UNSURE)
        page = ada.post("/rules/default/try", data=form(ada, text=RULES))
        assert page.status_code == 200, page.text
        said = words(page.text)
        assert "Of the newest 6 products 4 would wait (now: 2)." in said
        assert "a rule asks for a person 0 2" in said
        assert "2 products would fare otherwise: 2 more to people, 0 more accepted" in said
        assert RULES in page.text
        assert newest(services) is None
        # Who comes back by a link, as to another language, has no form with them.
        assert ada.get("/rules/default/try").headers["location"] == "/rules/default"

    def test_rules_are_put_in_force_as_they_were_written(
        self, services: Services, ada: TestClient
    ) -> None:
        assert "Nobody wrote rules yet" in ada.get("/rules/default").text
        # Browsers send the line ends of forms.
        sent = form(ada, text=RULES.replace("\n", "\r\n"), version="0", confirmed="1")
        done = ada.post("/rules/default", data=sent)
        assert (done.status_code, done.headers["location"]) == (303, "/rules/default?said=in_force")
        kept = newest(services)
        assert kept is not None
        assert (kept.number, kept.text, kept.created_by) == (1, RULES, "Ada")
        page = ada.get(done.headers["location"]).text
        assert "Version 1 is in force for what is tagged from now on." in page
        said = words(page)
        assert "Version 1 is in force · Ada · " in said
        assert "Version 1 · Ada · " in said
        again = ada.post("/rules/default", data={**sent, "version": "1", "confirmed": "2"})
        assert again.headers["location"] == "/rules/default?said=same"
        assert newest(services) == kept

    def test_what_was_put_in_force_meanwhile_is_not_overwritten(
        self, services: Services, ada: TestClient, client: Client
    ) -> None:
        bob = client("Bob", Role.ADMIN)
        mine = "accept_parent: true\n"
        ada.post("/rules/default", data=form(ada, text=RULES, version="0", confirmed="1"))
        late = bob.post("/rules/default", data=form(bob, text=mine, version="0", confirmed="1"))
        assert late.status_code == 409
        assert "Ada put version 1 in force meanwhile" in late.text
        assert mine in late.text
        kept = newest(services)
        assert kept is not None
        assert kept.text == RULES
        # The page that he gets names the version that is in force now.
        assert 'name="version" value="1"' in late.text
        done = bob.post("/rules/default", data=form(bob, text=mine, version="1", confirmed="2"))
        assert done.status_code == 303

    def test_nothing_is_put_in_force_without_the_tick(
        self, services: Services, ada: TestClient
    ) -> None:
        for ticked in ({}, {"confirmed": "7"}):
            refused = ada.post("/rules/default", data=form(ada, text=RULES, version="0", **ticked))
            assert refused.status_code == 422
            assert "tick the box that names version 1" in refused.text
            assert RULES in refused.text
        assert newest(services) is None

    @pytest.mark.parametrize("path", ["/rules/default", "/rules/default/try"])
    def test_what_is_wrong_is_told_with_its_place(
        self, services: Services, ada: TestClient, path: str
    ) -> None:
        def said(text: str) -> str:
            refused = ada.post(path, data=form(ada, text=text, version="0", confirmed="1"))
            assert refused.status_code == 422
            assert 'role="alert"' in refused.text
            return words(refused.text)

        found = said("categories:\n  Dark: {threshold: 2}\nalways_reveiw: [Light]\n")
        assert "Line 2 categories.Dark.threshold Input should be less than" in found
        assert "Line 3 always_reveiw no such rule" in found
        assert found.index("Line 2") < found.index("Line 3")
        assert "Line 1 always_review.1 no such category" in said("always_review: [Dark, Blue]")
        assert "Line 2 this is neither YAML nor JSON" in said("audit_share: [1\n")
        assert "no thresholds for a precision of 99.99%" in said("target_precision: 0.9999")
        assert newest(services) is None

    def test_the_help_has_every_rule(self, ada: TestClient) -> None:
        terms = re.findall(r"<dt><code>(.*?)</code></dt>", ada.get("/rules/default").text)
        assert {term.partition(":")[0] for term in terms} == set(RetailerRules.model_fields)
        # And what it says may stand there.
        for term in terms:
            parse_rules(term)

    def test_what_a_version_changed_stands_line_by_line(self, ada: TestClient) -> None:
        text = "always_review: [Light]\naudit_share: 0.5\n"
        ada.post("/rules/default", data=form(ada, text=text, version="0", confirmed="1"))
        (told,) = re.findall(
            r'<ul class="changed" lang="en">(.*?)</ul>', ada.get("/rules/default").text, re.DOTALL
        )
        assert [words(line) for line in re.findall(r"<li>.*?</li>", told)] == [
            'always_review was [], is ["Light"]',
            "audit_share was not set, is 0.5",
        ]

    @pytest.mark.parametrize(("lines", "rows"), [(0, 8), (20, 21), (900, 40)])
    def test_the_field_is_as_long_as_its_text(self, ada: TestClient, lines: int, rows: int) -> None:
        text = "# a remark\n" * lines
        page = ada.post("/rules/default", data=form(ada, text=text)).text
        assert f'rows="{rows}"' in page

    def test_an_old_text_is_taken_up_again(self, services: Services, ada: TestClient) -> None:
        for number, text in enumerate((RULES, "audit_share: 0.5\n")):
            sent = form(ada, text=text, version=str(number), confirmed=str(number + 1))
            assert ada.post("/rules/default", data=sent).status_code == 303
        page = ada.get("/rules/default?use=1").text
        assert "This is the text of version 1." in page
        (field,) = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
        assert field == RULES
        assert newest(services).number == 2  # type: ignore[union-attr]
        # A version that there is not is the one in force.
        assert "audit_share: 0.5" in ada.get("/rules/default?use=9").text

    def test_what_a_person_wrote_is_text(self, services: Services, ada: TestClient) -> None:
        evil = "# </textarea><script>alert(1)</script>\naudit_share: 0.5\n"
        ada.post("/rules/default", data=form(ada, text=evil, version="0", confirmed="1"))
        assert newest(services) is not None
        page = ada.get("/rules/default").text
        assert "<script>alert" not in page
        assert html.escape("<script>alert(1)") in page


class TestAutopilot:
    def test_what_the_audit_says(self, services: Services, ada: TestClient, tmp_path: Path) -> None:
        tagged(audit_all(services), tmp_path / "in", SURE)
        assert "No verdict yet." in ada.get("/autopilot/default").text
        say(services, "b", Verdict.CONFIRMED)
        said = words(ada.get("/autopilot/default").text)
        assert "An error is stated from 100 verdicts on." in said
        # Nothing is drawn yet.
        assert "dashed line" not in said
        add_verdicts(services, "a", right=298, wrong=1)
        page = ada.get("/autopilot/default").text
        said = words(page)
        assert "0.33% 1 wrong of 300" in said
        assert "3 audited products wait for a verdict." in said
        assert "Light 1 / 299 0.33% 0.00% to" in said
        assert "Dark 0 / 1 \N{EN DASH} too few to state 0" in said
        assert "2026-W01 1 / 300" in said
        assert page.count('<svg class="interval"') == 2
        assert page.count('<svg class="key"') == 1
        assert "The dashed line is the 1.0% allowed." in said
        assert "at most 0.90% wrong" in said
        assert "not yet on this retailer's products" in said

    def test_an_autopilot_that_is_off_alarms_on_every_page_until_a_person_turns_it_on(
        self, services: Services, ada: TestClient, client: Client, tmp_path: Path
    ) -> None:
        ann = client("Ann")
        pages = ("/", "/review/default", "/rules/default", "/autopilot/default")
        alarm = "The autopilot is off, so everything goes to review:"
        assert not any(alarm in ann.get(path).text for path in pages)
        tagged(audit_all(services), tmp_path / "in", SURE)
        for sku in ("a", "b"):
            say(services, sku, Verdict.NOT_A_PRODUCT)
        assert state(services) is Autopilot.OFF
        for path in pages:
            page = ann.get(path).text
            assert alarm in page, path
            assert 'role="alert"' in page
        assert alarm not in client(None).get("/login").text
        said = words(ada.get("/autopilot/default").text)
        assert "None while it is off." in said
        assert "provisional → off" in said
        assert "2 wrong of 2 audited" in said

        unsaid = ada.post("/autopilot/default", data=form(ada, to="on", why=" "))
        assert (unsaid.status_code, state(services)) == (422, Autopilot.OFF)
        assert "Say why" in unsaid.text
        long = ada.post("/autopilot/default", data=form(ada, to="on", why="x" * 600))
        assert (long.status_code, "at most 500" in long.text) == (422, True)
        why = "the backdrop is mended"
        done = ada.post("/autopilot/default", data=form(ada, to="on", why=why))
        assert (done.status_code, done.headers["location"]) == (303, "/autopilot/default")
        assert state(services) is Autopilot.PROVISIONAL
        assert alarm not in ann.get("/").text
        page = words(ada.get("/autopilot/default").text)
        assert f"turned on by a person: {why}" in page
        assert "Of tags accepted since" in page
        with services.database.read() as session:
            newest_move, *_ = autopilots.changes(session, services.retailer_id, most=9)
        assert newest_move.changed_by == "Ada"

    def test_a_person_turns_it_off(self, services: Services, ada: TestClient) -> None:
        ada.post("/autopilot/default", data=form(ada, to="off", why="a strange week"))
        assert state(services) is Autopilot.OFF

    def test_the_rates_are_told_in_every_state(
        self, services: Services, ada: TestClient, tmp_path: Path
    ) -> None:
        tagged(audit_all(services), tmp_path / "in", SURE)
        add_verdicts(services, "a", right=400, wrong=0)
        say(services, "b", Verdict.CONFIRMED)
        assert state(services) is Autopilot.CERTIFIED
        said = words(ada.get("/autopilot/default").text)
        assert "Autopilot of default certified" in said
        assert "(95% confidence), measured on this retailer's own products" in said
        sent = form(ada, text=RULES, version="0", confirmed="1")
        assert ada.post("/rules/default", data=sent).status_code == 303
        page = words(ada.get("/autopilot/default").text)
        assert "No rate yet: these rules accept other tags" in page
        # The certificate went with the rules that it was for.
        assert "certified → provisional" in page
        text = "require_certificate: true"
        ada.post("/rules/default", data=form(ada, text=text, version="1", confirmed="2"))
        page = words(ada.get("/autopilot/default").text)
        assert "Changes provisional Jan" in page
        assert "provisional → provisional" not in page
        assert "accepts nothing until the audit certifies it." in page

    def test_it_is_told_in_french(self, services: Services, ada: TestClient) -> None:
        turn(services.database, "default", on=False, by="Eve", now=services.clock.now())
        page = ada.get("/autopilot/default", headers={"accept-language": "fr"}).text
        assert "Remettre en marche" in page
        assert "Le pilote automatique est arrêté" in page


POSTS = {
    "/rules/default/try": {"text": RULES},
    "/rules/default": {"text": RULES, "version": "0", "confirmed": "1"},
    "/autopilot/default": {"to": "off", "why": "because"},
}


class TestTheDoor:
    @pytest.mark.parametrize("path", POSTS)
    def test_only_administrators_change_anything(
        self, services: Services, client: Client, path: str
    ) -> None:
        nobody = client(None)
        for asked in (nobody.get(path), nobody.post(path, data=POSTS[path])):
            assert asked.status_code in (303, 401)
            assert "csrf" not in asked.text
        for name, role in (("Ann", Role.REVIEWER), ("Eve", Role.VIEWER)):
            one = client(name, role)
            assert one.post(path, data=form(one, **POSTS[path])).status_code == 403
        assert newest(services) is None
        assert state(services) is Autopilot.PROVISIONAL

    @pytest.mark.parametrize("path", POSTS)
    def test_a_form_without_its_token_changes_nothing(
        self, services: Services, ada: TestClient, path: str
    ) -> None:
        for token in ({}, {"csrf": "wrong"}):
            assert ada.post(path, data={**POSTS[path], **token}).status_code == 403
        assert newest(services) is None
        assert state(services) is Autopilot.PROVISIONAL

    def test_who_only_looks_reads_and_finds_nothing_to_press(self, client: Client) -> None:
        eve = client("Eve", Role.VIEWER)
        for path in ("/rules/default", "/autopilot/default"):
            page = eve.get(path)
            assert page.status_code == 200
            main = page.text.split("<main")[1]
            assert "<button" not in main
        assert "readonly" in eve.get("/rules/default").text
        assert eve.get("/rules/nobody").status_code == 404
        assert eve.get("/autopilot/nobody").status_code == 404

    def test_no_page_has_anything_inline(self, ada: TestClient) -> None:
        for path in ("/", "/rules/default", "/autopilot/default"):
            text = ada.get(path).text
            assert "<script>" not in text
            assert "style=" not in text
            assert not re.search(r"\son[a-z]+=", text)
