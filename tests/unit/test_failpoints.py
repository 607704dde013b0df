"""Failpoints: what an order says, who obeys it, and that the sweep knows every one of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagging import failpoints
from tagging.failpoints import FailpointError, Order, failpoint


@pytest.fixture
def orders(tmp_path: Path) -> Iterator[Path]:
    failpoints.switch_on(tmp_path)
    yield tmp_path
    failpoints.switch_on(None)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("kill", Order(action="kill")),
        ("exit", Order(action="exit")),
        ("raise always", Order(action="raise", always=True)),
        ("delay 2.5", Order(action="delay", seconds=2.5)),
        ("hang key=a,b always", Order(action="hang", keys=frozenset("ab"), always=True)),
    ],
)
def test_an_order_reads_as_it_was_written(text: str, order: Order) -> None:
    assert Order.read(text) == order
    assert order.written() == text


@pytest.mark.parametrize("text", ["", "explode", "delay soon"])
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"order|float"):
        Order.read(text)


def test_off_nothing_happens(tmp_path: Path) -> None:
    (tmp_path / "a.b").write_text("raise")
    failpoint("a.b")
    assert (tmp_path / "a.b").exists()


def test_an_order_is_obeyed_once(orders: Path) -> None:
    (orders / "a.b").write_text("raise")
    failpoint("a.c")
    with pytest.raises(FailpointError, match=r"a\.b"):
        failpoint("a.b")
    failpoint("a.b")
    (path,) = orders.iterdir()
    assert failpoints.fired(orders, "a.b") == (path, os.getpid())
    assert failpoints.fired(orders, "a") is None


def test_or_always_and_only_for_its_keys(orders: Path) -> None:
    (orders / "a.b").write_text("raise key=x,y always")
    failpoint("a.b")
    failpoint("a.b", "z")
    for key in ("x", "y", "x"):
        with pytest.raises(FailpointError):
            failpoint("a.b", key)


def test_a_delay_passes(orders: Path) -> None:
    (orders / "a.b").write_text("delay 0.2")
    began = time.monotonic()
    failpoint("a.b")
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize(("action", "status"), [("kill", -9), ("exit", failpoints.EXIT_CODE)])
def test_a_process_ends_without_clean_up(tmp_path: Path, action: str, status: int) -> None:
    (tmp_path / "a.b").write_text(action)
    code = (
        "import atexit, sys; from pathlib import Path; from tagging import failpoints\n"
        "atexit.register(print, 'cleaned up')\n"
        "failpoints.switch_on(Path(sys.argv[1])); failpoints.failpoint('a.b'); print('went on')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (status, "")


def test_every_name_stands_in_one_place_only() -> None:
    from tests.faults.injections import places_in_code

    doubled = {name: places for name, places in places_in_code().items() if len(places) > 1}
    assert doubled == {}


def test_the_sweep_visits_every_failpoint_that_the_code_has() -> None:
    """What `names_in_code` misses (a name that is no plain text) is found by its call."""
    from tests.faults import injections

    calls = injections.calls_in_code()
    assert calls == sum(len(found) for found in injections.places_in_code().values())
    visited = {line.split()[1] for line in injections.plan([], [], 0, 2000) if "failpoint" in line}
    with_keras = injections.keras_plan(0, injections.KERAS_ROUND)
    loading = {line.split()[1] for line in with_keras if line.startswith("failpoint")}
    assert loading >= injections.KERAS_ONLY
    assert visited | injections.KERAS_ONLY == injections.names_in_code()
    kills = {line.split()[1] for line in injections.plan([], [], 0, 2000) if line.endswith(" kill")}
    assert kills == visited


def test_what_no_world_struck_is_told() -> None:
    from tests.faults.command import never_struck
    from tests.faults.driver import Result

    kill, delay = "failpoint a kill", "failpoint a delay 1.5"
    one = Result(kind="embedded", seed=1, planned=[kill, delay], struck=[delay])
    two = Result(kind="embedded", seed=2, planned=["broker wiped", kill], struck=[kill])
    elsewhere = Result(kind="servers", seed=2, planned=[kill], struck=[kill, "broker wiped"])
    assert never_struck([one, elsewhere]) == ["failpoint a kill (embedded)"]
    assert never_struck([one, two]) == ["broker wiped (embedded)"]


def test_a_goal_that_is_missed_is_told() -> None:
    from tests.faults.command import goals_missed
    from tests.faults.driver import Result

    one = Result(kind="embedded", seed=1, counted=5, products=70, recoveries_s=[1.0] * 98)
    two = Result(kind="servers", seed=1, counted=4, products=30, recoveries_s=[20.0] * 2)
    assert goals_missed([one, two], least=9, products=100, p99=20.0) == []
    counted, products, flows = goals_missed([one, two], least=10, products=101, p99=15.0)
    assert "9 injections" in counted
    assert "100 products" in products
    assert "20.0 s" in flows


def test_the_long_run_kills_wherever_a_network_is_loaded_on_either_installation() -> None:
    """Which is as `make faults-long` has it, four injections to a world."""
    from tests.faults import injections
    from tests.faults.command import WITH_KERAS, jobs_of

    jobs = jobs_of(10_500, first_seed=1000, keras_worlds=25, keras_injections=4)
    for kind in WITH_KERAS:
        visited = {
            line
            for of, seed, count in jobs
            if of == kind
            for line in injections.keras_plan((seed - 1) * count, count)
        }
        assert visited == set(injections.keras_plan(0, injections.KERAS_ROUND)), kind


def test_five_hundred_faults_kill_at_every_failpoint_on_either_installation() -> None:
    from tests.faults import injections
    from tests.faults.command import PER_WORLD

    visited = [
        line
        for seed in range(6)
        for line in injections.plan(["server"], ["store"], seed * PER_WORLD, PER_WORLD)
    ]
    assert {f"failpoint {name} kill" for name in injections.swept()} <= set(visited)
    others = {line for line in visited if not line.startswith("failpoint")}
    assert others >= {"server server", "disk full everywhere", "disk full store", "clock back"}
