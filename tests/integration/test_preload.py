"""What a worker loads before it begins, and what keeps it from beginning."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tagging.database import models
from tagging.database.models import KnownModel
from tagging.database.tables import Model
from tagging.errors import BundleError
from tagging.settings import Settings
from tests.stand_in import ShadeClassifier, ShadeShelf, stand_in_card
from worker.bootstrap import DEFAULT_BUNDLE, Runtime, WorkerRuntime, open_runtime, utc_now
from worker.classifier import ClassifierShelf
from worker.loads import LoadPausedError


class Shelf(ShadeShelf):
    """Raises for the models of these versions."""

    def __init__(self, **broken: Exception) -> None:
        super().__init__()
        self.broken = {version.removeprefix("v"): error for version, error in broken.items()}
        self.loaded: list[str] = []

    def get(self, model: KnownModel) -> ShadeClassifier:
        if error := self.broken.get(model.card.version):
            raise error
        self.loaded.append(model.card.version)
        return super().get(model)

    def close(self) -> None:
        """Nothing runs."""


@pytest.fixture
def runtime(tmp_path: Path, sqlite_template: Path) -> Iterator[Runtime]:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    shutil.copyfile(sqlite_template, home / "atelier.db")
    with open_runtime(Settings(home=home)) as found:
        yield found


def in_charge(runtime: Runtime, *versions: str) -> None:
    """A retailer for each of these stand-in models."""
    with runtime.database.write("test") as session:
        for version in versions:
            card = stand_in_card(version=version)
            made = models.register(session, card, Path("/none"), now=utc_now())
            models.add_retailer(session, f"r{version}", model_id=made, now=utc_now())
        session.commit()


def make_foreign(runtime: Runtime, version: str) -> None:
    """As another version of Atelier would have described the model."""
    with runtime.database.write("test") as session:
        row = session.scalars(sa.select(Model).where(Model.version == version)).one()
        row.card = {**row.card, "of_another_version": True}
        row.fingerprint = "f" * 64
        session.commit()


def preload(runtime: Runtime, shelf: Shelf, before: Callable[[], None] = lambda: None) -> list[str]:
    rest: dict[str, Any] = dict.fromkeys(("decoders", "loads", "in_hand", "tagger", "sweeper"))
    WorkerRuntime(runtime=runtime, classifiers=shelf, **rest).preload(before)
    return shelf.loaded


@pytest.mark.parametrize(
    "error",
    [
        BundleError("altered"),
        PermissionError(13, "Permission denied"),
        RuntimeError("ResourceExhaustedError: out of memory"),
        MemoryError(),
        LoadPausedError("later"),
    ],
)
def test_a_model_that_cannot_be_loaded_keeps_no_other_from_it(
    runtime: Runtime, error: Exception
) -> None:
    in_charge(runtime, "1", "2", "3")
    assert preload(runtime, Shelf(v2=error)) == ["1", "3"]


def test_behind_four_that_are_broken_a_fifth_is_loaded(runtime: Runtime) -> None:
    in_charge(runtime, "1", "2", "3", "4", "5")
    broken = {f"v{n}": BundleError("altered") for n in range(1, 5)}
    clocks: list[int] = []
    assert preload(runtime, Shelf(**broken), lambda: clocks.append(1)) == ["5"]
    assert len(clocks) == 5  # each has its own time


def test_no_more_are_loaded_than_are_kept(runtime: Runtime) -> None:
    in_charge(runtime, *"123456")
    assert preload(runtime, Shelf()) == ["1", "2", "3", "4"]


def test_a_worker_that_can_load_none_says_why_and_ends(runtime: Runtime) -> None:
    in_charge(runtime, "1", "2")
    shelf = Shelf(v1=BundleError("altered"), v2=RuntimeError("no device"))
    with pytest.raises(
        BundleError, match=r"altered; shades:2 cannot be loaded: RuntimeError: no device"
    ):
        preload(runtime, shelf)


def test_a_worker_whose_only_model_waits_for_its_next_try_does_not_end(runtime: Runtime) -> None:
    """It would begin its pause anew at each start."""
    in_charge(runtime, "1", "2")
    shelf = Shelf(v1=BundleError("altered"), v2=LoadPausedError("later"))
    assert preload(runtime, shelf) == []


def test_the_bundle_for_new_retailers_may_be_missing_where_others_are_in_charge(
    runtime: Runtime, tmp_path: Path
) -> None:
    in_charge(runtime, "1")
    wrong = runtime.settings.model_copy(update={"model_bundle": tmp_path / "nowhere"})
    object.__setattr__(runtime, "settings", wrong)
    assert preload(runtime, Shelf()) == ["1"]


def test_where_none_is_in_charge_the_one_for_new_retailers_is_loaded(runtime: Runtime) -> None:
    assert len(preload(runtime, Shelf())) == 1
    with runtime.database.read() as session:
        assert len(models.all_models(session)) == 1


def test_a_row_that_this_version_cannot_read_is_passed_over(runtime: Runtime) -> None:
    in_charge(runtime, "1", "2")
    make_foreign(runtime, "1")
    assert preload(runtime, Shelf()) == ["2"]
    with runtime.database.read() as session:
        first, second = models.all_models(session)
    assert (first.title, first.known, first.in_charge_of) == ("shades:1", None, ("r1",))
    assert "another version of Atelier" in first.error
    assert second.usable().card == stand_in_card(version="2")
    with pytest.raises(BundleError, match="another version of Atelier"):
        first.usable()
    assert runtime.default_model() == second.id + 1


def test_a_bundle_that_another_version_registered_is_the_same_one(runtime: Runtime) -> None:
    """Its fingerprint may have been computed otherwise."""
    made = runtime.default_model()
    with runtime.database.write("test") as session:
        session.get_one(Model, made).fingerprint = "f" * 64
        session.commit()
    assert runtime.default_model() == made
    with runtime.database.read() as session:
        assert len(models.all_models(session)) == 1


def test_a_folder_that_is_no_bundle_hides_none_that_lies_behind_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "card.json").write_text("{cut o")
    shutil.copyfile(DEFAULT_BUNDLE / "card.json", tmp_path / "b" / "card.json")
    card = models.ModelCard.model_validate_json((tmp_path / "b" / "card.json").read_bytes())
    shelf = ClassifierShelf(shapes=(1,), bundles=lambda: [tmp_path / "a", tmp_path / "b"])
    found = shelf._find(KnownModel(id=1, path=tmp_path / "gone", card=card))
    shelf.close()
    assert found == tmp_path / "b"
