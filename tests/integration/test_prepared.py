"""A prepared command ends, and says what it says, as one that a shell starts."""

from __future__ import annotations

import functools
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests import prepared
from tests.prepared import begin_command, run_command
from tests.stand_in import picture

CASES: dict[str, tuple[tuple[str, ...], bytes, int]] = {
    "status": (("status", "--json"), b"", 0),
    "no such command": (("nonsense",), b"", 2),
    "no argument": (("tag",), b"", 2),
    "a wrong option": (("products", "list", "--limit", "no"), b"", 2),
    "an error": (("products", "list", "--retailer", "nobody"), b"", 1),
    "standard input": (("ingest", "-", "--json"), b'{"sku": "a", "image": "a.png"}\n', 0),
    "a long input": (("ingest", "-"), b'{"sku": "a"}\n' * 10_000, 0),
    "a folder that cannot be": (("status", "--home", "/dev/null/home"), b"", 1),
    "cli_backup": (("backup", "kept.tar"), b"", 0),
    "cli_retag": (("retag", "--missing", "--by", "ann"), b"", 0),
    "cli_review": (("review", "list"), b"", 1),
    "cli_rules": (("rules", "show"), b"", 1),
    "cli_uploads": (("uploads", "forget", "nobody"), b"", 1),
    "cli_users": (("users", "list"), b"", 0),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_as_if_started(
    case: str, tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, stdin, expected = CASES[case]
    told = []
    for way in ("started", "prepared"):
        home = tmp_path / way / "home"
        home.mkdir(parents=True)
        monkeypatch.chdir(home.parent)
        Path("a.png").write_bytes(picture(9))
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
    assert [one[0] for one in told] == [expected] * 2
    without_ids = [[_without_id(stream) for stream in one[1:]] for one in told]
    assert without_ids[0] == without_ids[1]
    assert any(told[0][1:])
    assert b"Traceback" not in told[0][2]


def test_one_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "ATELIER_HOME": str(tmp_path / "home"),
        "PYTHONWARNINGS": "default",
    }
    run = functools.partial(run_command, environment=environment, stdin=b"")
    assert run(("--help",), timeout_s=60).returncode == 0  # else the 3 s are those of the imports
    with pytest.raises(subprocess.TimeoutExpired):
        run(("watch", str(tmp_path / "in")), timeout_s=3)


def test_one_that_was_begun_tells_when_and_how_it_ends(tmp_path: Path) -> None:
    environment = {**os.environ, "ATELIER_HOME": str(tmp_path), "PYTHONWARNINGS": "default"}
    log = tmp_path / "log"
    with Path(os.devnull).open("rb") as nothing, log.open("wb") as said:
        streams = (nothing.fileno(), said.fileno(), said.fileno())
        begin = functools.partial(begin_command, environment=environment, streams=streams)
        watching = begin(("watch", str(tmp_path / "in")))
        with pytest.raises(subprocess.TimeoutExpired):
            watching.wait(0.2)
        assert watching.poll() is None
        assert Path(f"/proc/{watching.pid}").exists()
        watching.kill()
        assert watching.wait(60) == watching.poll() == watching.returncode == -signal.SIGKILL
        assert not Path(f"/proc/{watching.pid}").exists()
        watching.kill()  # who is gone is not hit again
        assert begin(("nonsense",)).wait(60) == 2
    assert b"No such command" in log.read_bytes()


def test_one_whose_environment_differs_is_started(tmp_path: Path) -> None:
    environment = {**os.environ, "ATELIER_HOME": str(tmp_path), "PYTHONWARNINGS": "default"}
    said = {}
    for level in ("", "1"):
        environment["PYTHONVERBOSE"] = level
        done = run_command(("--help",), environment=environment, stdin=b"", timeout_s=60)
        said[level] = b"import 'worker.cli'" in done.stderr
    assert said == {"": False, "1": True}


def test_what_a_library_set_meanwhile_makes_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow, once a test has imported it; commands would all be slow from then on."""
    base = {**os.environ, "PYTHONWARNINGS": "default"}
    assert run_command(("--help",), environment=base, stdin=b"", timeout_s=60).returncode == 0
    monkeypatch.setenv("TF2_BEHAVIOR", "1")
    environment = {**os.environ, "ATELIER_HOME": str(tmp_path), "PYTHONWARNINGS": "default"}
    assert prepared._fits(environment)
    done = run_command(("tag",), environment=environment, stdin=b"", timeout_s=60)
    assert b"Usage: atelier tag" in done.stderr


def test_it_has_the_umask_of_who_starts_it(tmp_path: Path) -> None:
    environment = {**os.environ, "ATELIER_HOME": str(tmp_path), "PYTHONWARNINGS": "default"}
    for umask in (0o077, 0o002):
        before = os.umask(umask)
        try:
            target = tmp_path / f"{umask:o}.csv"
            arguments = ("products", "export", "--format", "csv", "--output", str(target))
            done = run_command(arguments, environment=environment, stdin=b"", timeout_s=60)
        finally:
            os.umask(before)
        assert done.returncode == 0, done.stderr
        assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask


def test_one_server_that_died_is_told_and_followed_by_another(tmp_path: Path) -> None:
    environment = {**os.environ, "ATELIER_HOME": str(tmp_path), "PYTHONWARNINGS": "default"}
    run = functools.partial(run_command, environment=environment, stdin=b"", timeout_s=60)
    assert run(("--help",)).returncode == 0
    prepared._server().process.kill()
    prepared._server().process.wait()
    with pytest.raises(RuntimeError, match="ended with -9"):
        run(("--help",))
    assert run(("--help",)).returncode == 0


def _without_id(stream: bytes) -> list[bytes]:
    """Its words, but for what is new each time: an upload's id."""
    return re.sub(rb"\d{8}-\d{6}-[0-9a-f]{6}", b"ID", stream).split()
