"""The pages' requests, over real databases, without a browser."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import re
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tagging import accounts, known_answers
from tagging.domain import Role, Status, Verdict
from tagging.images.decoders import DecodeRequest
from tagging.images.model_input import PREPROCESSING_VERSION
from tagging.web.app import create_app
from tagging.web.previews import Previews
from tagging.web.site import PHOTO_THREADS, Site
from tests.integration.test_rules import put
from tests.people import SURE, audit_all, product, say, tagged
from tests.stand_in import InlineDecoders, Services

PASSWORD = "correct horse battery"
UNSURE = {"p.png": 64, "q.png": 60}

Client = Callable[..., TestClient]


@pytest.fixture
def client(services: Services, tmp_path: Path) -> Client:
    """Makes a browser that is logged in as somebody of this role, or as nobody."""
    site = Site(
        database=services.database,
        previews=Previews(
            store=services.store, decoders=services.decoders, folder=tmp_path / "previews"
        ),
        now=services.clock.now,
        preprocessing_version=PREPROCESSING_VERSION,
    )
    app = create_app(site)

    def browser(name: str | None = "Ann", role: Role = Role.REVIEWER) -> TestClient:
        found = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False)
        if name is not None:
            accounts.add(services.database, name, role, PASSWORD, now=services.clock.now())
            entered = found.post("/login", data={"name": name, "password": PASSWORD})
            assert entered.status_code == 303, entered.text
            visitor = accounts.visitor(
                services.database, found.cookies["atelier_session"], now=services.clock.now()
            )
            assert visitor is not None
            found.headers["x-csrf-token"] = visitor.csrf
        return found

    return browser


def said(card: dict[str, Any], verdict: str = "confirmed", **more: Any) -> dict[str, Any]:
    about = {name: card[name] for name in ("sku", "image_set", "prediction")}
    return {**about, "verdict": verdict, **more}


def act(*answers: dict[str, Any]) -> dict[str, Any]:
    return {"action": str(uuid.uuid4()), "answers": list(answers)}


def test_a_product_is_taken_decided_and_taken_back(
    services: Services, client: Client, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", UNSURE)
    ann = client()
    (card, other) = ann.get("/api/default/cards").json()["cards"]
    assert (card["sku"], card["suggestion"], card["reason"]) == ("q", "Dark", "low_confidence")
    sent = act(said(card, "corrected", category="Middle"))
    first = ann.post("/api/default/reviews", json=sent)
    assert first.status_code == 200, first.text
    (outcome,) = first.json()["outcomes"]
    assert (outcome["status"], outcome["category"]) == ("reviewed", "Middle")
    (again,) = ann.post("/api/default/reviews", json=sent).json()["outcomes"]
    assert (again["review"], again["repeated"]) == (outcome["review"], True)
    assert [one["sku"] for one in ann.get("/api/default/cards").json()["cards"]] == [other["sku"]]
    undone = ann.post(
        "/api/default/undo", json={"action": str(uuid.uuid4()), "reviews": [outcome["review"]]}
    )
    assert undone.json()["outcomes"][0]["status"] == "needs_review"
    assert product(services, "q").status is Status.NEEDS_REVIEW


def test_why_there_is_no_suggestion_is_on_the_card(
    services: Services, client: Client, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", SURE)
    say(services, "a", Verdict.CORRECTED, "Dark")
    (tmp_path / "in" / "a.png").write_bytes(b"no picture")
    tagged(services, tmp_path / "in", {"p.png": 64})
    cards = client().get("/api/default/cards").json()["cards"]
    found = {card["sku"]: (card["reason"], card["suggestion"], card["failure"]) for card in cards}
    assert found == {
        "a": ("photo_changed", None, "unsupported_format"),
        "p": ("low_confidence", "Dark", None),
    }


def test_an_act_is_taken_back_by_its_name(
    services: Services, client: Client, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", UNSURE)
    ann = client()
    sent = act(*(said(card) for card in ann.get("/api/default/cards").json()["cards"]))
    ann.post("/api/default/reviews", json=sent)
    assert {product(services, sku).status for sku in "pq"} == {Status.REVIEWED}
    back = {"action": str(uuid.uuid4()), "of": sent["action"]}
    for _ in range(2):  # the answer to the first may be lost
        undone = ann.post("/api/default/undo", json=back).json()["outcomes"]
        assert [one["status"] for one in undone] == ["needs_review"] * 2
    for both in ({"of": sent["action"], "reviews": [1]}, {}):
        refused = ann.post("/api/default/undo", json={"action": str(uuid.uuid4()), **both})
        assert refused.status_code == 422
    never_heard_of = {"action": str(uuid.uuid4()), "of": str(uuid.uuid4())}
    assert ann.post("/api/default/undo", json=never_heard_of).json() == {"outcomes": []}


def test_two_people_are_shown_different_products(
    services: Services, client: Client, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", UNSURE)
    ann, bob = client("Ann"), client("Bob")
    (mine,) = ann.get("/api/default/cards?count=1").json()["cards"]
    (theirs,) = bob.get("/api/default/cards").json()["cards"]
    assert mine["sku"] != theirs["sku"]
    held = {"products": [mine["product"], theirs["product"]]}
    assert ann.post("/api/keep", json=held).json() == {"products": [mine["product"]]}
    assert ann.post("/api/leave", json=held).status_code == 200
    assert len(bob.get("/api/default/cards").json()["cards"]) == 2
    # A late verdict is a conflict only where somebody else gave one.
    assert (
        "error" not in ann.post("/api/default/reviews", json=act(said(mine))).json()["outcomes"][0]
    )
    (conflict,) = bob.post("/api/default/reviews", json=act(said(mine, "unsure"))).json()[
        "outcomes"
    ]
    assert "Ann decided on" in conflict["error"]


def test_a_photo_that_changed_is_told(services: Services, client: Client, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", UNSURE)
    ann = client()
    (card, _) = ann.get("/api/default/cards").json()["cards"]
    tagged(services, tmp_path / "in", {"q.png": 62})
    (refused,) = ann.post("/api/default/reviews", json=act(said(card))).json()["outcomes"]
    assert "photos of 'q' changed" in refused["error"]
    fresh = {one["sku"]: one for one in ann.get("/api/default/cards").json()["cards"]}["q"]
    assert fresh["image_set"] != card["image_set"]


def test_one_product_is_asked_for_again(services: Services, client: Client, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", UNSURE | SURE)
    ann, bob = client("Ann"), client("Bob")
    (card, other) = ann.get("/api/default/cards").json()["cards"]
    path = f"/api/default/cards/{card['product']}"
    assert bob.get(path).json() == {"card": None}  # Ann has it
    tagged(services, tmp_path / "in", {"q.png": 62})
    again = ann.get(path).json()["card"]
    assert (again["sku"], again["image_set"] != card["image_set"]) == ("q", True)
    (recorded,) = ann.post("/api/default/reviews", json=act(said(again))).json()["outcomes"]
    assert recorded["status"] == "reviewed"
    assert ann.get(path).json() == {"card": None}  # decided
    assert ann.get("/api/nobody/cards/1").status_code == 404
    accepted = product(services, "a").id
    assert ann.get(f"/api/default/cards/{accepted}").json() == {"card": None}
    ann.post("/api/leave", json={"products": [other["product"]]})
    assert bob.get(f"/api/default/cards/{other['product']}").json()["card"]["sku"] == "p"


def test_counts_categories_and_audit(services: Services, client: Client, tmp_path: Path) -> None:
    tagged(audit_all(services), tmp_path / "in", SURE | UNSURE)
    ann = client(role=Role.REVIEWER)
    found = ann.get("/api/default/counts").json()
    assert (found["waiting"], found["audit"]) == (2, 4)
    names = [one["name"] for one in ann.get("/api/default/categories").json()["categories"]]
    assert {"Dark", "Light", "Middle", "Shades"} >= set(names)
    cards = ann.get("/api/default/cards?audit=true").json()["cards"]
    assert [one["sku"] for one in cards] == list("abcd")
    assert all(one["audit"] and one["status"] == "tagged" for one in cards)


def test_photos_are_made_anew_and_only_for_who_is_in(
    services: Services, client: Client, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"p.png": 64})
    ann = client()
    (card,) = ann.get("/api/default/cards").json()["cards"]
    path = f"/photos/thumb/{card['images'][0]}.webp"
    got = ann.get(path)
    assert (got.status_code, got.headers["content-type"]) == (200, "image/webp")
    assert "immutable" in got.headers["cache-control"]
    image = Image.open(io.BytesIO(got.content))
    assert (image.format, image.size) == ("WEBP", (320, 320))
    assert got.content != services.store.path(card["images"][0]).read_bytes()
    closer = Image.open(io.BytesIO(ann.get(path.replace("thumb", "full")).content))
    assert closer.size == (2560, 2560)
    assert client(None).get(path).status_code == 401
    for wrong in (
        f"/photos/huge/{card['images'][0]}.webp",
        f"/photos/thumb/{'0' * 64}.webp",
        "/photos/thumb/..%2f..%2fatelier.db.webp",
        f"/photos/thumb/{'g' * 64}.webp",
    ):
        assert ann.get(wrong).status_code == 404, wrong
    # Where no picture can be made of it, it is told in a sentence.
    services.store.path(card["images"][0]).write_bytes(b"no picture")
    large = ann.get(path.replace("thumb", "large"))
    assert (large.status_code, "detail" in large.json()) == (404, True)


def test_a_photo_is_shown_whose_folder_was_emptied_while_it_was_made(
    services: Services, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagged(services, tmp_path / "in", {"p.png": 64})
    ann = client()
    (card,) = ann.get("/api/default/cards").json()["cards"]
    path = f"/photos/thumb/{card['images'][0]}.webp"
    with monkeypatch.context() as emptied:
        emptied.setattr(Path, "mkdir", lambda *_args, **_kwargs: None)
        assert ann.get(path).status_code == 200
    assert not (tmp_path / "previews").exists()
    assert ann.get(path).status_code == 200
    assert len([*(tmp_path / "previews").rglob("*.webp")]) == 1


def test_photos_that_take_long_keep_nobody_else_waiting(
    services: Services, client: Client, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"p.png": 64})
    ann = client()
    (card,) = ann.get("/api/default/cards").json()["cards"]
    path = f"/photos/thumb/{card['images'][0]}.webp"
    began, done = threading.Semaphore(0), threading.Event()

    def slowly(_: DecodeRequest) -> None:
        began.release()
        assert done.wait(120)

    assert isinstance(services.decoders, InlineDecoders)
    services.decoders.before = slowly
    # In one loop, as a server has; some more than it has threads.
    with ann, ThreadPoolExecutor(60) as people:
        photos = [people.submit(ann.get, path) for _ in range(50)]
        try:
            for _ in range(PHOTO_THREADS):
                assert began.acquire(timeout=60)
            assert people.submit(ann.get, "/").result(timeout=60).status_code == 200
        finally:
            done.set()
        assert {one.result().status_code for one in photos} == {200}


def test_who_left_gets_no_photo_after_ten_seconds(
    services: Services, client: Client, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", {"p.png": 64})
    ann = client()
    (card,) = ann.get("/api/default/cards").json()["cards"]
    path = f"/photos/thumb/{card['images'][0]}.webp"
    assert ann.get(path).status_code == 200
    cookie = {"cookie": f"atelier_session={ann.cookies['atelier_session']}"}
    assert ann.post("/logout", data={"csrf": ann.headers["x-csrf-token"]}).status_code == 303
    assert ann.get("/api/default/counts", headers=cookie).status_code == 401
    # Photos are asked for by the hundred, so that whose session it is is looked up once for many.
    services.clock.seconds += 9
    assert ann.get(path, headers=cookie).status_code == 200
    services.clock.seconds += 2
    assert ann.get(path, headers=cookie).status_code == 401


class TestLanguages:
    def test_a_browsers_language_is_spoken_until_another_is_chosen(self, client: Client) -> None:
        nobody = client(None)
        assert '<html lang="en">' in nobody.get("/login").text
        nobody.headers["accept-language"] = "fr-FR,fr;q=0.9,en;q=0.5"
        french = nobody.get("/login").text
        assert '<html lang="fr">' in french
        assert "Mot de passe" in french
        chosen = nobody.post("/language", data={"language": "en", "back": "/login?a=b"})
        assert (chosen.status_code, chosen.headers["location"]) == (303, "/login?a=b")
        assert '<html lang="en">' in nobody.get("/login").text
        assert nobody.post("/language", data={"language": "xx"}).status_code == 422

    def test_a_choice_leads_nowhere_else_and_comes_from_nowhere_else(self, client: Client) -> None:
        nobody = client(None)
        for elsewhere in ("https://e.example/", "//e.example", "/\\e.example", "e", "/\te"):
            answer = nobody.post("/language", data={"language": "fr", "back": elsewhere})
            assert answer.headers["location"] == "/", elsewhere
        headers = {"origin": "https://elsewhere.example"}
        refused = nobody.post("/language", data={"language": "fr"}, headers=headers)
        assert refused.status_code == 403

    def test_every_page_is_french_and_carries_what_its_scripts_say(self, client: Client) -> None:
        ann = client()
        ann.post("/language", data={"language": "fr"})
        for path in ("/", "/login", "/review/default", "/enter/x"):
            text = ann.get(path).text
            assert '<html lang="fr">' in text
            (block,) = re.findall(
                r'<script type="application/json" id="texts">(.*?)</script>', text
            )
            assert json.loads(block)["language"] == "fr"
        assert "Enseignes" in ann.get("/").text
        review = ann.get("/review/default?order=oldest").text
        for french in ("Confirmer", "Autre catégorie", "Ordre", "Vérification"):
            assert french in review
        assert 'name="back" value="/review/default?order=oldest"' in review
        assert json.loads(block)["messages"]["Dismiss"] == "Masquer"


class TestTheDoor:
    def test_nobody_sees_anything(self, client: Client) -> None:
        nobody = client(None)
        for path in ("/api/default/cards", "/api/default/counts", "/api/default/categories"):
            assert nobody.get(path).status_code == 401
        assert nobody.post("/api/default/reviews", json=act()).status_code in (401, 422)
        for path, to in (
            ("/", "/login"),
            ("/review/default?order=audit", "/login?back=/review/default%3Forder%3Daudit"),
        ):
            sent_away = nobody.get(path)
            assert (sent_away.status_code, sent_away.headers["location"]) == (303, to)

    def test_who_logs_in_is_led_back_but_to_no_other_site(self, client: Client) -> None:
        client("Ann")
        nobody = client(None)
        for back, to in (
            ("/grid/default?order=audit", "/grid/default?order=audit"),
            ("https://elsewhere.example/", "/"),
            ("//elsewhere.example/", "/"),
            ("/\\elsewhere.example/", "/"),
        ):
            form = nobody.get("/login", params={"back": back}).text
            # The choice of a language has one of its own.
            assert form.count('name="back"') == 1 + (to != "/")
            data = {"name": "Ann", "password": PASSWORD, "back": back}
            assert nobody.post("/login", data=data).headers["location"] == to
        data = {"name": "Ann", "password": "wrong", "back": "/grid/default"}
        assert 'name="back" value="/grid/default"' in nobody.post("/login", data=data).text

    def test_a_cookie_that_no_script_reads_and_no_other_site_sends(self, client: Client) -> None:
        ann = client()
        entered = ann.post("/login", data={"name": "Ann", "password": PASSWORD})
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie

    def test_a_wrong_password_is_told_and_the_name_stays(self, client: Client) -> None:
        client("Ann")
        refused = client(None).post("/login", data={"name": "Ann", "password": "<b>"})
        assert refused.status_code == 403
        assert "name or password is wrong" in refused.text
        assert 'value="Ann"' in refused.text

    def test_a_form_of_another_site_is_refused(self, client: Client) -> None:
        nobody = client(None)
        headers = {"origin": "https://elsewhere.example"}
        data = {"name": "Ann", "password": PASSWORD}
        assert nobody.post("/login", data=data, headers=headers).status_code == 403

    def test_who_cannot_name_the_token_changes_nothing(
        self, services: Services, client: Client, tmp_path: Path
    ) -> None:
        tagged(services, tmp_path / "in", UNSURE)
        ann = client()
        (card, _) = ann.get("/api/default/cards").json()["cards"]
        for token in ("", "wrong"):
            ann.headers["x-csrf-token"] = token
            refused = ann.post("/api/default/reviews", json=act(said(card)))
            assert refused.status_code == 403
        assert product(services, card["sku"]).status is Status.NEEDS_REVIEW

    def test_a_viewer_looks_and_decides_nothing(self, client: Client) -> None:
        viewer = client("Eve", Role.VIEWER)
        assert viewer.get("/api/default/counts").status_code == 200
        refused = viewer.get("/api/default/cards")
        assert (refused.status_code, refused.json()["detail"]) == (
            403,
            "this needs the role reviewer; Eve is a viewer",
        )
        assert viewer.get("/review/default").status_code == 403

    def test_a_link_lets_in_once(self, services: Services, client: Client) -> None:
        client("Ann")
        token = accounts.make_link(services.database, "Ann", now=services.clock.now())
        browser = client(None)
        assert browser.get(f"/enter/{token}").status_code == 200
        assert browser.post(f"/enter/{token}").status_code == 303
        assert browser.get("/").status_code == 200
        assert client(None).post(f"/enter/{token}").status_code == 403

    def test_who_leaves_is_out(self, client: Client) -> None:
        ann = client()
        csrf = ann.headers["x-csrf-token"]
        assert ann.post("/logout", data={"csrf": "wrong"}).status_code == 403
        assert ann.post("/logout", data={"csrf": csrf}).status_code == 303
        assert ann.get("/api/default/counts").status_code == 401

    def test_every_answer_keeps_the_browser_from_being_misled(self, client: Client) -> None:
        ann = client()
        for path in ("/", "/login", "/review/default", "/static/review.js", "/nowhere"):
            headers = ann.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "unsafe" not in headers["content-security-policy"]
            assert "default-src 'none'" in headers["content-security-policy"]
        assert ann.get("/").headers["cache-control"] == "no-store"

    def test_no_page_has_anything_inline(self, client: Client) -> None:
        ann = client()
        for path in ("/", "/login", "/review/default", "/enter/x"):
            text = ann.get(path).text
            assert "<script>" not in text
            assert "style=" not in text
            assert " onclick" not in text

    def test_what_is_too_much_is_refused(self, client: Client) -> None:
        ann = client()
        answered = ann.post("/api/default/reviews", content=b"x" * (1 << 21))
        assert answered.status_code in (400, 413)


def test_what_makes_no_sense_is_told(services: Services, client: Client, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", UNSURE)
    ann = client()
    assert ann.get("/api/nobody/cards").status_code == 404
    assert ann.get("/review/nobody").status_code == 404
    assert ann.get("/api/default/cards?count=97").status_code == 422
    (card, _) = ann.get("/api/default/cards").json()["cards"]
    (refused,) = ann.post(
        "/api/default/reviews", json=act(said(card, "corrected", category="Blue"))
    ).json()["outcomes"]
    assert "no category of this retailer" in refused["error"]
    odd = act(said(card)) | {"action": "no"}
    assert ann.post("/api/default/reviews", json=odd).status_code == 400
    assert ann.post("/api/default/reviews", json=act(said(card, "maybe"))).status_code == 422


def test_a_grid_is_recorded_in_one_act_and_undone_as_one(
    services: Services, client: Client, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", UNSURE | {"r.png": 58})
    ann = client()
    cards = ann.get("/api/default/grid").json()["cards"]
    assert {card["sku"] for card in cards} == {"p", "q", "r"}
    wrong, *right = cards
    sent = act(said(wrong, "corrected", category="Middle"), *(said(card) for card in right))
    outcomes = ann.post("/api/default/reviews", json=sent).json()["outcomes"]
    assert [one["category"] for one in outcomes] == ["Middle", "Dark", "Dark"]
    # As rows they stand in the order of their delivery, whatever the grid's order was.
    by_key = sorted(zip([card["product"] for card in cards], outcomes, strict=True))
    assert [one["review"] for _, one in by_key] == sorted(one["review"] for one in outcomes)
    assert ann.get("/api/default/grid").json()["cards"] == []
    back = {"action": str(uuid.uuid4()), "of": sent["action"]}
    ann.post("/api/default/undo", json=back)
    assert {product(services, sku).status for sku in "pqr"} == {Status.NEEDS_REVIEW}


def test_neighbours_for_comparison(services: Services, client: Client, tmp_path: Path) -> None:
    tagged(services, tmp_path / "in", SURE | {"q.png": 60})
    ann = client()
    (card,) = ann.get("/api/default/cards").json()["cards"]
    (near,) = ann.get(f"/api/default/neighbours?product={card['product']}").json()["neighbours"]
    assert (near["sku"], near["category"]) == ("b", "Dark")
    assert ann.get(f"/photos/thumb/{near['image']}.webp").status_code == 200
    assert ann.get("/api/default/neighbours?product=99").status_code == 404


def test_a_grid_carries_the_photos_that_were_made_before(
    services: Services, client: Client, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", UNSURE)
    ann = client()
    first, second = ann.get("/api/default/grid").json()["cards"]
    assert first["thumb"] is None
    made = ann.get(f"/photos/thumb/{first['images'][0]}.webp").content
    again = {card["sku"]: card["thumb"] for card in ann.get("/api/default/grid").json()["cards"]}
    scheme, _, content = again[first["sku"]].partition(",")
    assert scheme == "data:image/webp;base64"
    assert base64.b64decode(content) == made
    assert again[second["sku"]] is None


def test_why_an_answer_does_not_stand_is_told_for_any_language(
    services: Services, client: Client, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", UNSURE)
    ann, bob = client("Ann"), client("Bob")
    cards = {card["sku"]: card for card in ann.get("/api/default/cards").json()["cards"]}
    services.clock.seconds += 130
    bob.post("/api/default/reviews", json=act(said(cards["q"], "corrected", category="Light")))
    tagged(services, tmp_path / "new", {"p.png": 62})
    sent = act(said(cards["q"]), said(cards["p"]))
    decided, changed = ann.post("/api/default/reviews", json=sent).json()["outcomes"]
    assert decided["why"] == "decided"
    about = decided["about"]
    assert (about["who"], about["verdict"], about["category"]) == ("Bob", "corrected", "Light")
    assert dt.datetime.fromisoformat(about["at"]).tzinfo is not None
    assert (changed["why"], changed["about"]) == ("photos_changed", {})
    first = act(said(cards["p"] | {"image_set": product(services, "p").image_set}))
    first["answers"][0]["prediction"] = product(services, "p").prediction_id
    ann.post("/api/default/reviews", json=first)
    for _ in range(2):
        back = {"action": str(uuid.uuid4()), "of": first["action"]}
        (undone,) = ann.post("/api/default/undo", json=back).json()["outcomes"]
    assert undone["why"] == "taken_back"


def test_what_a_person_said_last_is_told_and_taken_back(
    services: Services, client: Client, tmp_path: Path
) -> None:
    tagged(services, tmp_path / "in", UNSURE)
    ann, bob = client("Ann"), client("Bob")
    assert ann.get("/api/default/acts").json() == {"acts": []}
    cards = {card["sku"]: card for card in ann.get("/api/default/cards").json()["cards"]}
    first = act(said(cards["q"], "corrected", category="Light"))
    second = act(said(cards["p"], "not_a_product"))
    for one in (first, second):
        ann.post("/api/default/reviews", json=one)
    told = ann.get("/api/default/acts").json()["acts"]
    assert [one["action"] for one in told] == [second["action"], first["action"]]
    assert told[1]["products"] == [cards["q"]["product"]]
    assert told[1]["said"] == [
        {
            "sku": "q",
            "title": None,
            "verdict": "corrected",
            "category": "Light",
            "image": cards["q"]["images"][0],
        }
    ]
    assert bob.get("/api/default/acts").json() == {"acts": []}
    back = {"action": str(uuid.uuid4()), "of": first["action"]}
    ann.post("/api/default/undo", json=back)
    assert [one["action"] for one in ann.get("/api/default/acts").json()["acts"]] == [
        second["action"]
    ]
    # It is before who took it back, and before nobody else.
    assert bob.get("/api/default/cards").json()["cards"] == []
    kept = ann.post("/api/keep", json={"products": [cards["q"]["product"]]}).json()
    assert kept == {"products": [cards["q"]["product"]]}
    assert client("Eve", Role.VIEWER).get("/api/default/acts").status_code == 403


def test_a_key_that_no_row_can_have_is_refused(client: Client) -> None:
    assert client().get(f"/api/default/cards/{2**70}").status_code == 422


def test_the_grid_page_is_for_reviewers(client: Client) -> None:
    page = client("Ann").get("/grid/default")
    assert page.status_code == 200
    assert 'id="tiles"' in page.text
    assert client("Eve", Role.VIEWER).get("/grid/default").status_code == 403
    assert client(None).get("/grid/default").status_code == 303
    assert client("Bob").get("/grid/nobody").status_code == 404


def forms(page: str) -> list[dict[str, str]]:
    """The hidden fields of each form that settles something."""
    found = [
        dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
        for form in page.split("<form")
    ]
    return [form for form in found if "about" in form]


class TestOpinions:
    @pytest.fixture
    def cards(self, services: Services, client: Client, tmp_path: Path) -> dict[str, Any]:
        """What Ann saw and said of q, and what Bob is shown of it."""
        put(services, "second_opinion_share: 1.0")
        tagged(services, tmp_path / "in", UNSURE)
        ann, bob = client("Ann"), client("Bob")
        (first, _) = ann.get("/api/default/cards").json()["cards"]
        outcomes = ann.post("/api/default/reviews", json=act(said(first))).json()["outcomes"]
        held = ann.get("/api/default/cards").json()["cards"]
        ann.post("/api/leave", json={"products": [one["product"] for one in held]})
        shown = {one["sku"]: one for one in bob.get("/api/default/cards").json()["cards"]}
        return {"first": first, "outcome": outcomes[0], "card": shown["q"], "bob": bob}

    def test_one_is_asked_said_and_taken_back(
        self, services: Services, cards: dict[str, Any]
    ) -> None:
        bob, card = cards["bob"], cards["card"]
        assert card.pop("purpose") == "opinion"
        assert cards["first"].pop("purpose") == "decide"
        assert card == cards["first"]
        sent = act(said(card, purpose="opinion"))
        (outcome,) = bob.post("/api/default/reviews", json=sent).json()["outcomes"]
        assert outcome.keys() == cards["outcome"].keys()
        assert {**outcome, "review": 0} == {**cards["outcome"], "review": 0}
        back = {"action": str(uuid.uuid4()), "of": sent["action"]}
        for _ in range(2):
            (undone,) = bob.post("/api/default/undo", json=back).json()["outcomes"]
            assert undone["status"] == "needs_review"
        again = {one["sku"]: one for one in bob.get("/api/default/cards").json()["cards"]}
        assert again["q"]["purpose"] == "opinion"
        assert product(services, "q").status is Status.REVIEWED

    def test_administrators_see_and_settle_disagreements(
        self, services: Services, client: Client, cards: dict[str, Any]
    ) -> None:
        bob, eve = cards["bob"], client("Eve", Role.ADMIN)
        answer = said(cards["card"], "corrected", category="Light", purpose="opinion")
        bob.post("/api/default/reviews", json=act(answer))
        form, *_ = forms(eve.get("/people/default").text)
        assert form["sku"] == "q"
        refused = bob.post("/people/default", data=form | {"no_product": "true"})
        assert refused.status_code == 403
        for changed, status, why in (
            ({"csrf": "wrong"}, 403, "does not come from the page"),
            ({"category": " "}, 422, "write a category"),
            ({"category": "Nothing"}, 422, "is no category of this retailer"),
            ({"category": "Light", "about": "999"}, 422, "look at it once more"),
        ):
            refused = eve.post("/people/default", data=form | changed)
            assert (refused.status_code, why in refused.text) == (status, True), changed
        assert product(services, "q").category == "Dark"
        for _ in range(2):
            done = eve.post("/people/default", data=form | {"category": "Light"})
            assert done.headers["location"] == "/people/default?said=settled"
        assert product(services, "q").category == "Light"
        left = eve.get(done.headers["location"]).text
        assert "It is settled." in left
        assert forms(left) == []
        late = form | {"no_product": "true", "action": str(uuid.uuid4())}
        refused = eve.post("/people/default", data=late)
        assert (refused.status_code, "settled already" in refused.text) == (422, True)
        assert product(services, "q").category == "Light"

    def test_what_is_no_product_is_settled_so(
        self, services: Services, client: Client, cards: dict[str, Any]
    ) -> None:
        bob, eve = cards["bob"], client("Eve", Role.ADMIN)
        answer = said(cards["card"], "corrected", category="Light", purpose="opinion")
        bob.post("/api/default/reviews", json=act(answer))
        form, *_ = forms(eve.get("/people/default").text)
        eve.post("/people/default", data=form | {"no_product": "true"})
        assert product(services, "q").category is None

    def test_the_page_of_people(
        self, services: Services, client: Client, cards: dict[str, Any]
    ) -> None:
        bob, eve = cards["bob"], client("Eve", Role.ADMIN)
        empty = eve.get("/people/default").text
        assert "Nobody gave a second opinion yet" in empty
        assert "Nobody was asked for a known answer yet" in empty
        put(services, "second_opinion_share: 1.0\nknown_answer_share: 1.0")
        answer = said(cards["card"], "corrected", category="Light", purpose="opinion")
        bob.post("/api/default/reviews", json=act(answer))
        page = eve.get("/people/default")
        assert page.status_code == 200
        for text in ("Kappa is shown from 30 ", "too few to state", "0.0%", "Light", "Ann", "Bob"):
            assert text in page.text, text
        assert "style=" not in page.text
        assert "<script>" not in page.text
        assert eve.get("/people/nobody").status_code == 404
        assert bob.get("/people/default").status_code == 403
        sent_away = client(None).get("/people/default").headers["location"]
        assert sent_away == "/login?back=/people/default"

    def test_a_score_on_the_page(
        self, services: Services, client: Client, cards: dict[str, Any]
    ) -> None:
        known_answers.mark(
            services.database, services.retailer_id, "q", by="Eve", now=services.clock.now()
        )
        bob, eve = cards["bob"], client("Eve", Role.ADMIN)
        bob.post("/api/default/reviews", json=act(said(cards["card"], purpose="opinion")))
        assert "20.7% to 100.0%" in eve.get("/people/default").text
