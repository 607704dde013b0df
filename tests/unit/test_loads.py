"""What is known of a model that workers died of while they loaded it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tagging.database.models import KnownModel
from tagging.model_card import card_fingerprint
from tests.stand_in import stand_in_card
from worker.loads import LoadPausedError, Loads, deadly

DIES = """
import os, signal, sys
from pathlib import Path
from tests.unit.test_loads import known
from worker.loads import Loads
with Loads(Path(sys.argv[1])).noted(known()):
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def known(version: str = "1") -> KnownModel:
    return KnownModel(id=int(version), path=Path("/none"), card=stand_in_card(version=version))


def dead(folder: Path, number: int, name: str = "x") -> None:
    """What a process leaves that dies: a note that nobody holds."""
    folder.mkdir(exist_ok=True)
    key = card_fingerprint(known().card)[:32]
    (folder / f"{key}.{number}.{name}.loading").write_text("shades:1")


def load(loads: Loads, version: str = "1") -> None:
    with loads.noted(known(version)):
        pass


def test_two_workers_that_are_killed_while_they_load_a_model_make_it_wait(tmp_path: Path) -> None:
    folder = tmp_path / "loading"
    for _ in range(2):
        assert deadly(folder) == {}
        died = subprocess.run([sys.executable, "-c", DIES, str(folder)], check=False)
        assert died.returncode == -signal.SIGKILL
    assert deadly(folder) == {"shades:1": 2}
    loads = Loads(folder)
    with pytest.raises(LoadPausedError, match=r"^shades:1 .* the last 2 times workers died"):
        load(loads)
    load(loads, "2")  # another model's work goes on


@pytest.mark.parametrize(("deaths", "pause_s"), [(2, 5), (3, 10), (4, 20), (5, 30), (50, 30)])
def test_it_is_tried_again_after_a_pause_that_doubles(
    tmp_path: Path, deaths: int, pause_s: float
) -> None:
    dead(tmp_path, deaths)
    clock = Clock()
    loads = Loads(tmp_path, clock)
    for clock.now in (0.0, pause_s - 0.1):
        with pytest.raises(LoadPausedError):
            load(loads)
    clock.now = pause_s
    load(loads)
    assert list(tmp_path.iterdir()) == []  # it was loaded, so it is as good as any
    load(Loads(tmp_path))


def test_what_is_raised_is_no_death(tmp_path: Path) -> None:
    loads = Loads(tmp_path)
    for _ in range(3):
        with pytest.raises(MemoryError), loads.noted(known()):
            raise MemoryError
    load(loads)


def test_workers_that_were_killed_together_died_once(tmp_path: Path) -> None:
    for name in ("x", "y", "z"):
        dead(tmp_path, 1, name)
    load(Loads(tmp_path))


def test_what_workers_died_of_is_tried_by_one_at_a_time(tmp_path: Path) -> None:
    dead(tmp_path, 2)
    clock = Clock()
    first, second = Loads(tmp_path, clock), Loads(tmp_path, clock)
    for loads in (first, second):
        with pytest.raises(LoadPausedError):
            load(loads)
    clock.now = 40.0
    with first.noted(known()):
        with pytest.raises(LoadPausedError):
            load(second)
        assert deadly(tmp_path) == {"shades:1": 2}  # who loads it now lives
    load(second)


def test_a_stop_that_was_asked_for_forgets_but_for_what_others_do(tmp_path: Path) -> None:
    dead(tmp_path, 7)
    loads, other = Loads(tmp_path), Loads(tmp_path)
    with other.noted(known("2")), loads.noted(known("3")):
        loads.forget()
        (left,) = tmp_path.iterdir()
        assert left.read_text() == "shades:2"
    load(loads)


def test_where_nothing_can_be_noted_models_are_loaded_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "loading").write_text("no folder")
    load(Loads(tmp_path / "loading"))


def test_workers_that_die_together_at_a_second_try_died_twice(tmp_path: Path) -> None:
    for name in ("x", "y", "z"):
        dead(tmp_path, 1, name)
    with Loads(tmp_path).noted(known()):
        assert sorted(path.name.split(".")[1] for path in tmp_path.iterdir()) == [*"1112"]
