"""A prepared command ends, and says what it says, as one that a shell starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.prepared import run_command
from tests.stand_in import picture

CASES = {
    "status": (("status", "--json"), b""),
    "no such command": (("nonsense",), b""),
    "no argument": (("tag",), b""),
    "a wrong option": (("list", "--limit", "no"), b""),
    "an error": (("products", "show", "nobody"), b""),
    "standard input": (("ingest", "-", "--json"), b'{"sku": "a", "image": "a.png"}\n'),
    "a long input": (("ingest", "-"), b'{"sku": "a"}\n' * 10_000),
    "a folder that cannot be": (("status", "--home", "/dev/null/home"), b""),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_as_if_started(
    case: str, tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, stdin = CASES[case]
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(picture(9))
    told = []
    for way in ("started", "prepared"):
        home = tmp_path / way
        home.mkdir()
        (home / "atelier.db").write_bytes(sqlite_template.read_bytes())
        environment = {**os.environ, "ATELIER_HOME": str(home), "PYTHONWARNINGS": "default"}
        if way == "prepared":
            done = run_command(arguments, environment=environment, stdin=stdin, timeout_s=60)
        else:
            # As the console script does, whose name stands in what it says of its use.
            program = "import sys, worker.__main__; sys.argv[0] = 'atelier'; worker.__main__.main()"
            done = subprocess.run(
                [sys.executable, "-c", program, *arguments],
                env=environment,
                input=stdin,
                capture_output=True,
                check=False,
            )
        told.append((done.returncode, done.stdout, done.stderr))
    assert [one[0] for one in told] == [told[0][0]] * 2
    without_ids = [[_without_id(stream) for stream in one[1:]] for one in told]
    assert without_ids[0] == without_ids[1]
    assert any(told[0][1:])
    assert b"Traceback" not in told[0][2]


def test_one_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "ATELIER_HOME": str(tmp_path / "home")}
    with pytest.raises(subprocess.TimeoutExpired):
        run_command(
            ("watch", str(tmp_path / "in")), environment=environment, stdin=b"", timeout_s=3
        )


def _without_id(stream: bytes) -> list[bytes]:
    """Its words, but for those that are new each time: an upload's id."""
    return [word for word in stream.split() if not word.strip(b'",:').startswith(b"20")]
