"""What is said of a worker by its name alone: gone, only where that is certain."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tagging import worker_names
from tagging.worker_names import is_gone, name_here


def of(pid: int) -> str:
    host, _, place = name_here().split(":")
    return f"{host}:{pid}:{place}"


def test_who_is_here_is_not_gone() -> None:
    assert not is_gone(name_here())
    assert not is_gone(f"{name_here()}:4f3a")
    assert not is_gone(of(1))  # whoever it belongs to


def test_who_ended_is_gone_before_and_after_somebody_takes_note() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    name = of(child.pid)
    while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    assert is_gone(name)
    child.wait()
    assert is_gone(name)
    assert is_gone(f"{name}:4f3a")


@pytest.mark.parametrize("name", [None, "", "w", "host:12", "host:x:0-1", "host:0:00000000-1"])
def test_of_a_name_that_says_less_nothing_is_known(name: str | None) -> None:
    assert not is_gone(name)


def test_who_may_not_be_asked_about_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not is_gone(of(2**22))


def test_where_the_system_tells_no_place_nobody_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    name = of(2**22)
    monkeypatch.setattr(worker_names, "_place", lambda: None)
    assert name_here().count(":") == 1
    assert not is_gone(name)
    assert not is_gone(name_here())
