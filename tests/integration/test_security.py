"""The pages as somebody hostile meets them, over real databases. docs/security.md names these."""

from __future__ import annotations

import codecs
import http.cookies
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tagging import accounts
from tagging.database import models
from tagging.domain import Role, Status
from tagging.errors import SchemaError
from tests.integration import test_web
from tests.integration.test_web import PASSWORD, UNSURE, Client, act, said
from tests.people import product, tagged
from tests.stand_in import Services

client = test_web.client

OPEN = {"/login", "/enter/{token}", "/health", "/language", "/"}
"""Routes that nobody need log in for; `/` only leads to the log-in."""
JSON = {"content-type": "application/json"}
A_PERSON = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}

CODEC = "strangers"
"""No codec of Python's, but asked for by the name that a request gives."""

PART = (
    "--x\r\nContent-Disposition: form-data; name=name; "
    f"filename*={CODEC}''a; name*={CODEC}''b\r\n"
    f"Content-Type: text/plain; charset={CODEC}\r\n\r\na\r\n"
    f'--x\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\n{CODEC}\r\n--x--\r\n'
)
FORM = f"_charset_={CODEC}&name=a&password=b&language=en&back=/&csrf=c"
STRANGE = {
    "multipart/form-data; boundary=x": PART,
    f"multipart/form-data; boundary=x; charset={CODEC}": PART,
    f"Multipart/Form-Data;charset={CODEC};boundary=x": PART,
    f"multipart/mixed; boundary=x; charset={CODEC}": PART,
    f"application/x-www-form-urlencoded; charset={CODEC}": FORM,
    f"application/x-www-form-urlencoded; charset=utf-8; charset={CODEC}": FORM,
    f"application/json; charset={CODEC}": "{}",
    f"application/json; charset*={CODEC}''utf-8": "{}",
    f"application/ld+json; charset={CODEC}": "{}",
    f"text/plain; charset={CODEC}": "a",
}
"""Content-Type -> a body of it, in which a codec is named wherever a standard lets one be."""


def app_of(browser: TestClient) -> FastAPI:
    assert isinstance(browser.app, FastAPI)
    return browser.app


def unbroken(browser: TestClient) -> TestClient:
    """The same browser, which sees a failure of ours as browsers do instead of as an exception."""
    found = TestClient(
        browser.app,
        base_url="http://127.0.0.1",
        follow_redirects=False,
        raise_server_exceptions=False,
    )
    found.headers, found.cookies = browser.headers, browser.cookies
    return found


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of all that is served, of some retailer and of no such photo."""
    for template, methods in app.openapi()["paths"].items():
        if template not in OPEN:
            path = template.replace("{retailer}", "default").replace("{size}", "thumb")
            path = re.sub(r"\{[^}]*\}", "0" * 64, path)
            for method in methods:
                yield method.upper(), path


class TestWhoMay:
    def test_nothing_is_served_to_nobody(self, client: Client) -> None:
        nobody = client(None)
        found = list(routes(app_of(nobody)))
        assert len(found) >= 12
        for method, path in found:
            refused = nobody.request(method, path, json={})
            to = refused.headers.get("location")
            told = (refused.status_code, None if to is None else to.partition("?")[0])
            assert told in {(401, None), (303, "/login"), (422, None)}, (method, path)
            # A body that is not understood is told before who sent it; nothing is done.
            assert refused.status_code != 422 or method != "GET", path

    def test_nothing_is_changed_without_the_token_of_the_session(self, client: Client) -> None:
        admin = client("Root", Role.ADMIN)
        del admin.headers["x-csrf-token"]
        changing = [found for found in routes(app_of(admin)) if found[0] not in ("GET", "HEAD")]
        assert len(changing) >= 5
        for method, path in changing:
            assert admin.request(method, path, json={}).status_code in (403, 422), path

    def test_a_viewer_changes_nothing(self, client: Client) -> None:
        viewer = client("Eve", Role.VIEWER)
        for method, path in routes(app_of(viewer)):
            if method not in ("GET", "HEAD") and path != "/logout":
                assert viewer.request(method, path, json={}).status_code in (403, 422), path


class TestSessions:
    def test_who_logs_in_gets_another_session_and_the_one_before_ends(
        self, services: Services, client: Client
    ) -> None:
        ann = client()
        before = ann.cookies["atelier_session"]
        # Whatever stood in the cookie, made up by others or not, is not what one logs in with.
        ann.post("/login", data={"name": "Ann", "password": PASSWORD})
        after = ann.cookies["atelier_session"]
        assert after != before
        now = services.clock.now()
        assert accounts.visitor(services.database, before, now=now) is None
        assert accounts.visitor(services.database, after, now=now) is not None


class TestOddRequests:
    @pytest.mark.parametrize("key", [10**6, 2**70, -1])
    def test_a_product_that_there_is_not_is_not_held(self, client: Client, key: int) -> None:
        kept = client().post("/api/keep", json={"products": [key]})
        assert kept.status_code == 422 or kept.json() == {"products": []}

    @pytest.mark.parametrize(
        "path",
        [
            "/api/%00/cards",
            "/api/default/cards?suggestion=%00",
            "/api/default/cards?have=99999999999999999999999",
            "/review/%00",
            "/enter/%00",
            "/photos/thumb/%00.webp",
        ],
    )
    def test_odd_addresses_are_no_failure(self, client: Client, path: str) -> None:
        assert client().get(path).status_code < 500

    @pytest.mark.parametrize("sku", ["\\u0000", "\\ud800"])
    def test_odd_texts_are_no_failure(
        self, services: Services, client: Client, tmp_path: Path, sku: str
    ) -> None:
        tagged(services, tmp_path / "in", UNSURE)
        ann = client()
        (card, _) = ann.get("/api/default/cards").json()["cards"]
        body = json.dumps(act(said(card))).replace('"q"', f'"{sku}"')
        got = ann.post("/api/default/reviews", content=body, headers=JSON)
        assert got.status_code < 500
        assert product(services, "q").status is Status.NEEDS_REVIEW

    @pytest.mark.parametrize("back", ["//[", "//[::1", "//\uff0f\u2100", "/\\[", "http://["])
    def test_odd_places_to_go_back_to_lead_home(self, client: Client, back: str) -> None:
        nobody = client(None)
        assert nobody.get("/login", params={"back": back}).status_code == 200
        led = nobody.post("/language", data={"language": "en", "back": back})
        assert (led.status_code, led.headers["location"]) == (303, "/")
        data = {"name": "Ann", "password": PASSWORD, "back": back}
        client("Ann")
        assert nobody.post("/login", data=data).headers["location"] == "/"

    @pytest.mark.parametrize("origin", ["http://[", "http://\xbd", "null", "", "["])
    def test_an_origin_that_is_no_address_is_another_site(
        self, client: Client, origin: str
    ) -> None:
        nobody = client(None)
        for path in ("/login", "/language", "/enter/x"):
            sent = nobody.post(path, data={"language": "en"}, headers={b"origin": origin.encode()})
            assert sent.status_code == 403, path

    def test_headers_are_bounded(self, client: Client) -> None:
        nobody = client(None)
        assert nobody.get("/login", headers={"x": "a" * 30_000}).status_code == 200
        assert nobody.get("/login", headers={"x": "a" * 33_000}).status_code == 431
        many = [(f"x-{number}", "a" * 330) for number in range(100)]
        assert nobody.get("/login", headers=many).status_code == 431

    def test_no_cookie_is_taken_apart_but_ours(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ann = client()
        taken: list[str] = []
        monkeypatch.setattr(http.cookies, "_unquote", lambda one: taken.append(one) or one)
        ours = f"atelier_session={ann.cookies['atelier_session']}"
        cookie = f'a="\\"\\"\\"";{ours}; b="\\101"; atelier_language=fr; c="d"'
        del ann.cookies["atelier_session"]
        page = ann.get("/", headers={"cookie": cookie})
        assert (page.status_code, "Enseignes" in page.text) == (200, True)
        assert [one for one in taken if "\\" in one] == []
        assert "fr" in taken

    def test_odd_names_are_no_failure(self, client: Client) -> None:
        data = {"name": "\0", "password": PASSWORD}
        assert client(None).post("/login", data=data).status_code in (400, 403)

    def test_what_nests_too_deep_is_refused(self, client: Client) -> None:
        got = client().post("/api/keep", content="[" * 500_000, headers=JSON)
        assert got.status_code in (400, 422)

    def test_what_was_sent_is_not_sent_back(self, client: Client) -> None:
        refused = client(None).post("/login", data={"name": "Ann", "password": PASSWORD * 200})
        assert refused.status_code == 422
        assert PASSWORD not in refused.text

    def test_no_address_is_made_of_the_host_that_was_sent(self, client: Client) -> None:
        for path in ("/login/", "/", "//elsewhere.example/", "/static", "/review/default/"):
            got = client(None).get(path, headers={"host": "elsewhere.example"})
            assert "elsewhere" not in got.headers.get("location", ""), path

    @pytest.mark.parametrize("back", ["///elsewhere.example", "////elsewhere.example/x", "//"])
    def test_nobody_is_led_to_another_site(self, client: Client, back: str) -> None:
        led = client(None).post("/language", data={"language": "en", "back": back})
        assert (led.status_code, led.headers["location"]) == (303, "/")

    def test_a_review_is_undone_at_its_own_retailer_only(
        self, services: Services, client: Client, tmp_path: Path
    ) -> None:
        tagged(services, tmp_path / "in", UNSURE)
        now = services.clock.now()
        with services.database.write("test") as session:
            models.add_retailer(session, "other", model_id=services.model_id, now=now)
            session.commit()
        ann = client()
        (card, _) = ann.get("/api/default/cards").json()["cards"]
        sent = act(said(card))
        ann.post("/api/default/reviews", json=sent)
        back = {"action": str(uuid.uuid4()), "of": sent["action"]}
        (refused,) = ann.post("/api/other/undo", json=back).json()["outcomes"]
        assert "there is no review" in refused["error"]
        assert product(services, card["sku"]).status is Status.REVIEWED


class TestBodies:
    def test_no_codec_is_taken_from_a_request(self, client: Client) -> None:
        """Nor is a body read of which no page of ours sends the like, whoever sends it."""
        asked: list[str] = []
        note = asked.append  # which answers every name with None: there is no such codec
        codecs.register(note)
        try:
            for browser in (client(None), client("Root", Role.ADMIN)):
                paths = [path for method, path in routes(app_of(browser)) if method != "GET"]
                assert len(paths) >= 8
                for path in ("/login", "/language", "/enter/x", "/static/icon.svg", *paths):
                    for kind, body in STRANGE.items():
                        headers = {"content-type": kind}
                        refused = browser.post(path, content=body, headers=headers)
                        assert refused.status_code == 415, (path, kind)
                        assert "default-src 'none'" in refused.headers["content-security-policy"]
        finally:
            codecs.unregister(note)
        assert [name for name in asked if name.startswith(CODEC)] == []

    def test_of_two_kinds_both_count(self, client: Client) -> None:
        headers = [("content-type", one) for one in (JSON["content-type"], next(iter(STRANGE)))]
        for both in (headers, headers[::-1]):
            assert client(None).post("/login", content=PART, headers=both).status_code == 415

    @pytest.mark.parametrize(
        "end", ["", ";charset=utf-8", '; charset="UTF-8" ', " ; Charset=utf-8"]
    )
    def test_utf_8_may_be_named(self, client: Client, end: str) -> None:
        kind = {"content-type": f"application/x-www-form-urlencoded{end}"}
        led = client(None).post("/language", content="language=en&back=/login", headers=kind)
        assert (led.status_code, led.headers["location"]) == (303, "/login")
        kind = {"content-type": f"Application/JSON{end}"}
        kept = client().post("/api/keep", content='{"products": []}', headers=kind)
        assert kept.json() == {"products": []}


class TestErrors:
    @pytest.mark.parametrize("headers", [{}, A_PERSON], ids=["a script", "a person"])
    def test_a_failure_of_ours_tells_nothing_and_is_protected(
        self, client: Client, headers: dict[str, str]
    ) -> None:
        ann = client()

        @app_of(ann).get("/boom")
        def boom() -> None:
            raise RuntimeError("secret of the house")

        got = unbroken(ann).get("/boom", headers=headers)
        assert got.status_code == 500
        assert "secret" not in got.text
        assert "default-src 'none'" in got.headers["content-security-policy"]
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["cache-control"] == "no-store"

    def test_what_the_installation_lacks_is_told_without_its_addresses(
        self, client: Client
    ) -> None:
        ann = client()

        @app_of(ann).get("/away")
        def away() -> None:
            raise SchemaError("the database at /srv/secret is away")

        got = ann.get("/away")
        assert got.status_code == 503
        assert "/srv" not in got.text

    def test_a_person_gets_a_page_and_a_script_json(self, client: Client) -> None:
        viewer = client("Eve", Role.VIEWER)
        for path, status in (("/nowhere", 404), ("/review/nobody", 403), ("/review/default", 403)):
            page = viewer.get(path, headers=A_PERSON)
            assert page.status_code == status, path
            assert page.headers["content-type"].startswith("text/html")
            assert 'href="/"' in page.text
            assert "detail" in viewer.get(path).json()
        assert "detail" in viewer.get("/api/nowhere", headers=A_PERSON).json()
        assert client("Ann").get("/review/nobody", headers=A_PERSON).status_code == 404

    def test_a_person_whose_session_ran_out_is_led_to_the_log_in(self, client: Client) -> None:
        left = client(None).post("/logout", data={"csrf": "x"}, headers=A_PERSON)
        assert (left.status_code, left.headers["location"]) == (303, "/login")

    def test_what_stands_in_an_address_is_no_markup(self, client: Client) -> None:
        page = client().get("/review/<script>alert(1)<script>", headers=A_PERSON)
        assert page.status_code == 404
        assert "<script>alert" not in page.text


class TestHealth:
    def test_it_needs_no_log_in_and_says_nothing_else(self, client: Client) -> None:
        healthy = client(None).get("/health")
        assert (healthy.status_code, healthy.json()) == (200, {"status": "ok"})
        assert healthy.headers["cache-control"] == "no-store"

    def test_a_database_that_is_away_is_told(
        self, services: Services, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nobody = client(None)
        away = sa.create_engine("sqlite:////nowhere/at/all.db")
        monkeypatch.setattr(services.database, "engine", away)
        got = nobody.get("/health")
        assert got.status_code == 503
        assert "nowhere" not in got.text


def test_the_icon_is_served(client: Client) -> None:
    nobody = client(None)
    assert (
        '<link rel="icon" href="/static/icon.svg" type="image/svg+xml">'
        in nobody.get("/login").text
    )
    icon: Any = nobody.get("/static/icon.svg")
    assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")
