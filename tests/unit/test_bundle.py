"""What is loaded of a bundle is what was verified, and what is seen of one is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from model_training import atomic_files, bundle
from model_training.bundle import (
    Networks,
    load_networks,
    network_of,
    networks_of,
    record_metrics,
    write_bundle,
)
from model_training.splits import divide_labelled
from model_training.stored_split import SPLIT_NAME, read_split
from tagging.database.models import KnownModel
from tagging.errors import BundleError, TrainingDataError
from tagging.model_card import CARD_NAME, BundleContent, read_bundle, read_content
from tagging.settings import Settings
from tests.toy_bundles import WEIGHTS, put_in_place, toy_card, write_toy
from tests.unit.test_training_splits import labelled, pictures
from worker.bootstrap import bundle_folders
from worker.classifier import ClassifierShelf

Weights = tuple[list[Any], list[Any]]
DATA = labelled(pictures(36))
SPLIT = divide_labelled(DATA)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two bundles of one name, version and shape, with other weights."""
    folder = tmp_path_factory.mktemp("toys")
    return write_toy(folder / "one" / "toy-1", seed=1), write_toy(folder / "two" / "toy-1", seed=2)


@pytest.fixture(scope="module")
def sound(toys: tuple[Path, Path]) -> dict[str, Weights]:
    """What may be loaded: the weights by the sha256 of the classifier's file."""
    loaded = [load_networks(folder) for folder in toys]
    found = {card.files["model.weights.h5"]: weights_of(networks) for card, networks in loaded}
    assert alike(*found.values()) == [False, False]
    return found


@pytest.fixture
def one(toys: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the first that a test may damage."""
    return Path(shutil.copytree(toys[0], tmp_path / "models" / "toy-1"))


@pytest.fixture
def other(toys: tuple[Path, Path]) -> Path:
    return toys[1]


def weights_of(networks: Networks) -> Weights:
    return networks.classifier.get_weights(), networks.sentinel.get_weights()


def alike(left: Weights, right: Weights) -> list[bool]:
    """Of the classifiers and the sentinels: whether all their weights are equal."""
    return [
        all(np.array_equal(a, b) for a, b in zip(*pair, strict=True))
        for pair in zip(left, right, strict=True)
    ]


def swap(folder: Path, other: Path) -> None:
    for name in WEIGHTS:
        shutil.copyfile(other / name, folder / "new")
        (folder / "new").replace(folder / name)


def overwrite(folder: Path, other: Path) -> None:
    for name in WEIGHTS:
        with (folder / name).open("rb+") as stream:
            stream.write((other / name).read_bytes())


def cut(folder: Path, _other: Path) -> None:
    for name in WEIGHTS:
        os.truncate(folder / name, 100)


def remove(folder: Path, _other: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize("fault", [swap, overwrite, cut, remove])
def test_what_is_loaded_is_what_was_verified(
    one: Path,
    other: Path,
    sound: dict[str, Weights],
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Path, Path], None],
) -> None:
    card = read_bundle(one)
    struck: list[str] = []

    def strike(name: str) -> None:
        struck.append(name)
        fault(one, other)

    monkeypatch.setattr(bundle, "failpoint", strike)
    found, networks = load_networks(one)
    assert struck == ["model.read"]
    assert found == card
    assert alike(weights_of(networks), sound[card.files["model.weights.h5"]]) == [True, True]
    with pytest.raises(BundleError):  # it was no fault without consequence
        read_bundle(one)


@pytest.mark.parametrize("fault", [put_in_place, swap, cut])
def test_whenever_it_is_replaced_no_card_comes_with_the_weights_of_another(
    one: Path,
    other: Path,
    sound: dict[str, Weights],
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Path, Path], None],
) -> None:
    """Before the first file is read, after it, and so on to the last."""
    kept = Path(shutil.copytree(one, one.parent / "kept"))
    plain = Path.read_bytes
    loaded, refused, moment, reads = 0, 0, 0, 1
    while moment <= reads:
        put_in_place(one, kept)
        reads = 0

        def read(path: Path, at: int = moment) -> bytes:
            nonlocal reads
            if path.parent != one:
                return plain(path)
            if reads == at:
                fault(one, other)
            reads += 1
            content = plain(path)
            if reads == at:
                fault(one, other)
            return content

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", read)
            try:
                card, networks = load_networks(one)
            except BundleError as error:
                assert "was altered or is missing" in str(error)  # noqa: PT017
                refused += 1
            else:
                expected = sound[card.files["model.weights.h5"]]
                assert alike(weights_of(networks), expected) == [True, True]
                loaded += 1
        moment += 1
    assert reads == 3
    assert loaded
    assert refused


@pytest.mark.parametrize("name", ["model.weights.json", "model.keras"])
def test_only_weights_that_our_code_writes_are_loaded(
    one: Path, sound: dict[str, Weights], name: str
) -> None:
    """By such a name Keras would look for more files, or read another format."""
    content = read_content(one)
    card = content.card.model_copy(update={"weights": name})

    def with_file(text: bytes) -> BundleContent:
        return BundleContent(folder=one, card=card, files={**content.files, name: text})

    found = networks_of(with_file(content.files["model.weights.h5"]))
    assert alike(weights_of(found), sound[card.files["model.weights.h5"]]) == [True, True]
    with pytest.raises(BundleError, match="does not fit the network"):
        networks_of(with_file(b"{}"))


def test_a_split_is_read_from_what_was_verified(one: Path) -> None:
    (one / SPLIT_NAME).write_bytes(b"that nobody looked at")
    with pytest.raises(TrainingDataError, match="the card lists no such file"):
        read_split(read_content(one))


def test_what_cannot_be_read_is_said(one: Path) -> None:
    (one / "model.weights.h5").unlink()
    (one / "model.weights.h5").mkdir()
    with pytest.raises(BundleError, match="cannot be read: Is a directory"):
        read_bundle(one)
    (one / CARD_NAME).unlink()
    (one / CARD_NAME).mkdir()
    with pytest.raises(BundleError, match="cannot be read: Is a directory"):
        read_content(one)


class TestShelf:
    @pytest.fixture
    def folders(self) -> list[Path]:
        """Where it looks for what is not at its place."""
        return []

    @pytest.fixture
    def shelf(self, folders: list[Path]) -> Iterator[ClassifierShelf]:
        found = ClassifierShelf(shapes=(2,), bundles=lambda: folders)
        yield found
        found.close()

    def test_another_model_in_its_place_is_not_loaded(
        self, shelf: ClassifierShelf, one: Path, other: Path
    ) -> None:
        known = KnownModel(id=1, path=one, card=read_bundle(one))
        put_in_place(one, other)
        with pytest.raises(BundleError, match="no longer the toy:1 that was registered"):
            shelf.get(known)

    def test_what_is_swapped_while_it_is_loaded_answers_nothing(
        self, shelf: ClassifierShelf, one: Path, other: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
        expected, _ = network_of(read_content(one)).answer(images)
        foreign, _ = network_of(read_content(other)).answer(images)
        assert np.abs(expected - foreign).min() > 0.1
        known = KnownModel(id=1, path=one, card=read_bundle(one))
        monkeypatch.setattr(bundle, "failpoint", lambda _: put_in_place(one, other))
        logits = shelf.get(known).classify(images).logits
        assert logits == pytest.approx(expected, abs=1e-4)

    def test_it_is_found_beside_one_that_is_broken(
        self, shelf: ClassifierShelf, folders: list[Path], one: Path
    ) -> None:
        broken = one.parent / "broken-1"
        broken.mkdir()
        (broken / CARD_NAME).write_text("{")
        folders += [broken, one]
        known = KnownModel(id=1, path=one.parent / "moved", card=read_bundle(one))
        assert shelf.get(known).card == known.card


class Saved:
    """A network that is saved as it is, in two steps."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def save_weights(self, path: Path) -> None:
        with path.open("wb") as stream:
            stream.write(self._content[:1])
            stream.flush()
            Path(stream.name).stat()
            stream.write(self._content[1:])


def _look_away(_: bool) -> None:
    """See nothing."""


class Steps:
    """Every step of writing that reaches the disk, in order. `look` is called before each (False)
    and after it (True).
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.look: Callable[[bool], None] = _look_away
        self.taken: list[str] = []
        for module in (bundle, atomic_files):
            for name in ("sync_file", "sync_folder"):
                self._watch(monkeypatch, module, name)
        for name in ("rename", "replace", "mkdir", "stat", "write_bytes"):
            self._watch(monkeypatch, Path, name)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        plain = getattr(owner, name)

        def step(path: Path, *given: Any, **named: Any) -> Any:
            if name != "stat":  # which other calls make as well
                self.taken.append(f"{name} {path.name}")
            look, self.look = self.look, _look_away  # what looks takes steps of its own
            try:
                look(False)
                found = plain(path, *given, **named)
                look(True)
            finally:
                self.look = look
            return found

        monkeypatch.setattr(owner, name, step)


def write(folder: Path, version: str, *, replace: bool) -> None:
    networks = Networks(
        classifier=cast("Any", Saved(b"classifier" + version.encode())),
        sentinel=cast("Any", Saved(b"sentinel" + version.encode())),
    )
    write_bundle(folder, networks, toy_card(version), DATA, SPLIT, replace=replace)


def versions_seen(parent: Path) -> list[str]:
    """Of every bundle that anybody would find in a folder of models: it must be whole."""
    return [
        read_bundle(card.parent).version
        for card in parent.glob("*/card.json")
        if not card.parent.name.startswith(".")
    ]


@pytest.mark.parametrize("replace", [False, True])
def test_no_half_written_bundle_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    folder = tmp_path / "toy-1"
    if replace:
        write(folder, "1", replace=False)
    seen: list[list[str]] = []

    def look(_: bool) -> None:
        if folder.exists():
            read_bundle(folder)
        seen.append(versions_seen(tmp_path))

    with monkeypatch.context() as patch:
        Steps(patch).look = look
        write(folder, "2", replace=replace)
    assert len(seen) > 20
    before = seen.index(["2"])
    assert set(map(tuple, seen[:before])) == ({("1",), ()} if replace else {()})
    assert set(map(tuple, seen[before:])) == {("2",)}
    assert [path.name for path in tmp_path.iterdir()] == ["toy-1"]


def test_a_bundle_has_its_name_only_after_its_bytes_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        steps = Steps(patch)
        write(tmp_path / "toy-1", "1", replace=False)
    partial = f".toy-1.{os.getpid()}.partial"
    card = f".{CARD_NAME}.{os.getpid()}.partial"
    assert [step for step in steps.taken if not step.startswith("mkdir")] == [
        *(f"sync_file {name}" for name in (*WEIGHTS, SPLIT_NAME)),
        f"write_bytes {card}",
        f"sync_file {card}",
        f"replace {card}",
        f"sync_folder {partial}",
        f"rename {partial}",
        f"sync_folder {tmp_path.name}",
    ]


@pytest.mark.parametrize("replace", [False, True])
def test_whatever_step_fails_there_is_a_whole_bundle_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    class DiskFullError(OSError):
        """What the disk says."""

    outcomes = []
    for number in range(200):
        folder = tmp_path / str(number) / "toy-1"
        if replace:
            write(folder, "1", replace=False)
        left = number

        def fail(done: bool) -> None:
            nonlocal left
            if not done:
                left -= 1
                if left == -1:
                    raise DiskFullError

        with monkeypatch.context() as patch:
            Steps(patch).look = fail
            try:
                write(folder, "2", replace=replace)
            except DiskFullError:
                outcomes.append(versions_seen(folder.parent))
            else:
                break
        names = {path.name for path in folder.parent.glob("*")} if folder.parent.exists() else set()
        assert names == ({"toy-1"} if outcomes[-1] else set())
    else:
        pytest.fail("it never ended")
    assert set(map(tuple, outcomes)) == {("1",) if replace else (), ("2",)}


def test_what_is_being_written_is_nobodys_model(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name in ("toy-1", ".toy-2.77.partial", ".toy-1.78.replaced"):
        write(models / "made-1", "1", replace=False)
        (models / "made-1").rename(models / name)
    settings = Settings(home=tmp_path, database_url=None, broker_url=None, images_dir=None)
    found = [path for path in bundle_folders(settings) if path.parent == models]
    assert found == [models / "toy-1"]


def test_a_card_is_replaced_whole_or_not_at_all(one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (one / CARD_NAME).read_bytes()

    def fails(_: Path) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(atomic_files, "sync_file", fails)
        with pytest.raises(OSError, match="no space left"):
            record_metrics(one, {"test": {}}, measured=read_bundle(one))
    assert (one / CARD_NAME).read_bytes() == before
    assert {path.name for path in one.iterdir()} == {*WEIGHTS, CARD_NAME}
    assert "test" in record_metrics(one, {"test": {}}, measured=read_bundle(one)).metrics


def test_figures_are_not_recorded_in_another_bundle(one: Path, other: Path) -> None:
    measured = read_bundle(one)
    put_in_place(one, other)
    with pytest.raises(BundleError, match="was replaced while toy:1 was measured"):
        record_metrics(one, {"test": {}}, measured=measured)
    assert read_bundle(one) == read_bundle(other)
