"""The one inferring thread: who waits for it is told that it gets on, and only then. Few models are
kept."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from tagging.database.models import KnownModel
from tests.stand_in import stand_in_card
from worker import classifier
from worker.classifier import ClassifierShelf, KerasClassifier, Pulse


class Network:
    """Answers a part whenever it is let."""

    def __init__(self) -> None:
        self.may = threading.Semaphore(0)
        self.looks = threading.Event()

    def look(self, images: npt.NDArray[np.uint8]) -> tuple[Any, Any, Any]:
        self.looks.set()
        assert self.may.acquire(timeout=60)
        n = len(images)
        return np.zeros((n, 3), np.float32), np.zeros(n), np.zeros((n, 4), np.int8)


class Caller(threading.Thread):
    """Asks for some images; `told` is set when it is told that the thread gets on."""

    def __init__(self, asked: KerasClassifier, images: int) -> None:
        super().__init__(daemon=True)
        self.told = threading.Event()
        self._asked, self._images = asked, np.zeros((images, 4, 4, 1), np.uint8)
        self.answered = 0

    def run(self) -> None:
        self.answered = len(self._asked.classify(self._images, self.told.set).logits)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.setattr(classifier, "PULSE_S", 0.01)
    return Network()


@pytest.fixture
def asked(network: Network) -> Iterator[KerasClassifier]:
    with ThreadPoolExecutor(max_workers=1) as thread:
        yield KerasClassifier(
            stand_in_card(), cast("Any", network), shapes=(2,), thread=thread, pulse=Pulse()
        )
        for _ in range(100):  # whoever still waits, whatever failed
            network.may.release()


def test_who_waits_for_a_turn_is_told_while_another_has_theirs(
    asked: KerasClassifier, network: Network
) -> None:
    first, second = Caller(asked, 6), Caller(asked, 2)
    first.start()
    assert network.looks.wait(60)
    second.start()
    for caller in (first, second):
        assert not caller.told.wait(0.2)  # a network that hangs gets nothing done
    network.may.release()
    for caller in (first, second):
        assert caller.told.wait(60)
    for _ in range(3):
        network.may.release()
    for caller, images in ((first, 6), (second, 2)):
        caller.join(60)
        assert caller.answered == images


def test_who_still_waits_when_all_ends_is_told(network: Network) -> None:
    thread = ThreadPoolExecutor(max_workers=1)
    asked = KerasClassifier(
        stand_in_card(), cast("Any", network), shapes=(2,), thread=thread, pulse=Pulse()
    )
    first = Caller(asked, 2)
    first.start()
    assert network.looks.wait(60)
    ends = threading.Timer(0.1, thread.shutdown, kwargs={"wait": False, "cancel_futures": True})
    ends.start()
    with pytest.raises(CancelledError):
        asked.classify(np.zeros((2, 4, 4, 1), np.uint8))
    network.may.release()
    first.join(60)
    ends.join(60)


def test_what_the_network_raises_is_raised(asked: KerasClassifier, network: Network) -> None:
    def fails(_: object) -> Any:
        raise TimeoutError("the device is away")

    network.look = fails  # type: ignore[method-assign]
    with pytest.raises(TimeoutError, match="the device is away"):
        asked.classify(np.zeros((1, 4, 4, 1), np.uint8))


def test_a_shelf_keeps_the_few_models_that_were_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[int] = []

    def load(_: ClassifierShelf, model: KnownModel) -> Network:
        loads.append(model.id)
        return Network()

    monkeypatch.setattr(ClassifierShelf, "_load", load)
    shelf = ClassifierShelf(shapes=(2,), bundles=list, keep=2)
    known = [KnownModel(id=i, card=stand_in_card(), path=Path("nowhere")) for i in range(4)]
    kept = [weakref.ref(shelf.get(known[0])), weakref.ref(shelf.get(known[1]))]
    shelf.get(known[0])
    shelf.get(known[2])
    assert [one() is None for one in kept] == [False, True], "the one that was not used goes"
    shelf.get(known[0])
    assert loads == [0, 1, 2]
    shelf.get(known[3])
    shelf.get(known[2])
    assert loads == [0, 1, 2, 3, 2]
    shelf.close()


def test_a_model_is_loaded_once_and_it_is_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    @contextmanager
    def loading(model: KnownModel) -> Iterator[None]:
        told.append(model.id)
        yield

    monkeypatch.setattr(ClassifierShelf, "_load", lambda *_: object())
    shelf = ClassifierShelf(shapes=(1,), bundles=list, loading=loading, keep=1)
    first, second = (
        KnownModel(id=number, path=Path("/none"), card=stand_in_card()) for number in (1, 2)
    )
    assert not shelf.has(1)
    for model in (first, first, second, second):
        shelf.get(model)
        assert shelf.has(model.id)
    assert told == [1, 2]
    assert not shelf.has(1)  # no more are kept
    shelf.close()
