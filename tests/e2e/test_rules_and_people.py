"""Rules, undo and accounts through real processes, as a person calls them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tagging import accounts
from tagging.database.session import Database
from tagging.errors import LoginError
from tests.integration.test_ingest_and_tag import deliver, write_folder
from tests.processes import Place
from tests.stand_in import Services, make_services
from worker.bootstrap import utc_now

RULES = "# no light one goes out unseen\nalways_review: [Light]\n"


@pytest.fixture
def worked(place: Place, tmp_path: Path) -> Iterator[Services]:
    """What a stand-in worker tagged in `place`: three are accepted, one waits."""
    place.run("db", "upgrade")
    database = Database(place.database_url)
    services = make_services(database, place.home)
    shades = {"a.png": 255, "b.png": 0, "c.png": 128, "w.png": 64}
    deliver(services, write_folder(tmp_path / "in", shades))
    services.tag_all()
    yield services
    database.close()


@pytest.mark.usefixtures("worked")
def test_rules_are_tried_put_in_force_and_shown(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES, encoding="utf-8")
    tried = place.run_json("rules", "try", str(file))
    assert (tried["now"]["waiting"], tried["tried"]["waiting"]) == (1, 2)
    assert tried["tried"]["by_reason"] == {"low_confidence": 1, "rule": 1}
    assert "Of the last 4 products 2 would wait for a person" in place.run(
        "rules", "try", str(file)
    )
    assert place.run_json("rules", "show")["version"] is None
    assert place.run_json("rules", "history") == []
    place.run("rules", "set", str(file), "--by", "Ada")
    assert place.run("rules", "show") == RULES
    # The file itself may be piped back, and says nothing new.
    place.run("rules", "set", "-", "--by", "Bob", stdin=RULES.encode())
    (only,) = place.run_json("rules", "history")
    assert (only["version"], only["by"]) == (1, "Ada")
    assert only["changed"] == 'always_review was [], is ["Light"]'
    file.write_text("always_reveiw: [Light]\n", encoding="utf-8")
    place.run("rules", "try", str(file), expect=1)
    place.run("rules", "set", str(tmp_path / "none"), "--by", "Ada", expect=1)
    (autopilot,) = place.run_json("status")["autopilots"]
    assert (autopilot["changed_by"], autopilot["rate_of"]) == ("Ada", None)


@pytest.mark.usefixtures("worked")
def test_a_verdict_is_taken_back(place: Place, tmp_path: Path) -> None:
    before = place.export()
    file = tmp_path / "said.csv"
    file.write_text("sku,category\na,Dark\nw,Middle\n", encoding="utf-8")
    place.run("review", "import", str(file), "--by", "Ann")
    assert place.export()["a"]["category"] == "Dark"
    (refused,) = place.run_json("review", "undo", "a", "--by", "Bob", expect=1)
    assert "Ann decided" in refused["error"]
    place.run("review", "undo", "a", "--by", "Ann")
    place.run("review", "undo", "w", "--by", "Eve", "--of-others")
    assert place.export() == before
    none, gone = place.run_json("review", "undo", "b", "zz", "--by", "Ann", expect=1)
    assert none["error"] == gone["error"] == "nobody decided on it"


@pytest.mark.usefixtures("worked")
def test_what_the_audit_says_is_shown(place: Place, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("audit_share: 1.0\n", encoding="utf-8")
    place.run("rules", "set", str(rules), "--by", "Ada")
    found = place.run_json("autopilot", "show", "default")
    assert (found["autopilot"], found["estimate"]["verdicts"]) == ("provisional", 0)
    # Chance may have chosen one of them for the audit when it was tagged.
    assert [week["verdicts"] for week in found["estimate"]["by_week"]] in ([], [0])
    assert "no verdict yet" in place.run("autopilot", "show", "default")
    place.run("autopilot", "show", "nobody", expect=1)


def test_accounts_are_made_and_kept_out(embedded: Place) -> None:
    password = b"a long password\na long password\n"
    embedded.run("users", "add", "Ann", "--role", "admin", stdin=password)
    embedded.run("users", "add", "Bob", "--link-only")
    embedded.run("users", "add", "Bob", "--link-only", expect=1)
    embedded.run("users", "add", "Eve", stdin=b"short\nshort\n", expect=1)
    embedded.run("users", "set", "Bob", "--role", "viewer", "--keep-out")
    assert embedded.run_json("users", "list") == [
        {"name": "Ann", "role": "admin", "has_password": True, "disabled": False},
        {"name": "Bob", "role": "viewer", "has_password": False, "disabled": True},
    ]
    database = Database(embedded.database_url)
    now = utc_now()
    assert accounts.enter_by_password(database, "Ann", "a long password", now=now)
    with pytest.raises(LoginError):
        accounts.enter_by_password(database, "Bob", "", now=now)
    database.close()


def test_who_has_no_password_comes_by_a_link(embedded: Place) -> None:
    embedded.run("users", "link", "Bob", expect=1)
    embedded.run("users", "add", "Bob", "--link-only")
    printed = embedded.run("users", "link", "Bob", "--at", "https://tags.example/")
    start, token = printed.rsplit("/", 1)
    assert start == "https://tags.example/enter"
    database = Database(embedded.database_url)
    assert accounts.enter_by_link(database, token.strip(), now=utc_now())
    database.close()


@pytest.mark.parametrize("tls", [False, True])
def test_the_pages_are_served_and_only_on_this_machine_a_link_is_printed(
    embedded: Place, tls: bool
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def healthy() -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                return answer.status == 200 and answer.headers["server"] is None
        except OSError:
            return False

    embedded.run("web", "--host", "0.0.0.0", expect=1)
    with embedded.started("web", "--port", str(port), *["--tls"][: int(tls)]) as web:
        embedded.wait_until(healthy, timeout_s=120, what="the pages answer")
    assert ("/enter/" in web.log.read_text()) is not tls
    assert [one["name"] for one in embedded.run_json("users", "list")] == ["admin"][int(tls) :]


@pytest.mark.usefixtures("worked")
def test_known_answers_agreement_and_what_is_to_be_settled(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "said.csv"
    file.write_text("sku,category\nw,Dark\n", encoding="utf-8")
    place.run("review", "import", str(file), "--by", "Ann")
    known, open_still = place.run_json("review", "known", "add", "w", "a", "--by", "Eve", expect=1)
    assert (known["is"], "no person decided" in open_still["error"]) == ("known", True)
    (line,) = place.run_json("review", "known", "list")
    assert (line["sku"], line["category"], line["usable"]) == ("w", "Dark", True)
    place.run("review", "known", "remove", "w", "--by", "Eve")
    assert place.run_json("review", "known", "list") == []
    report = place.run_json("review", "agreement")
    assert report["overall"] == {"n": 0, "agreed": 0, "raw": None, "kappa": None}
    assert place.run_json("review", "disagreements") == []
    place.run("review", "settle", "w", "--by", "Eve", expect=2)
    place.run("review", "settle", "w", "--category", "Dark", "--by", "Eve", expect=1)
