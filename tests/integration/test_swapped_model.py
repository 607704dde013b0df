"""A model whose files are replaced while batches come in: what answers is what was registered."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from tagging.database import models
from tagging.database.tables import Batch, BatchState, ImagePrediction
from tagging.errors import BundleError
from tagging.images.decode import decode_image
from tagging.images.model_input import to_model_input
from tagging.model_card import read_bundle, read_content
from tagging.settings import Settings
from tests.integration.test_ingest_and_tag import deliver, write_folder
from tests.stand_in import LIMITS, Services, picture
from tests.toy_bundles import put_in_place, write_toy
from worker.bootstrap import open_runtime
from worker.classifier import ClassifierShelf
from worker.doctor import examine

SHADES = (0, 90, 200)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two bundles of one name, version and shape, with other weights."""
    folder = tmp_path_factory.mktemp("toys")
    return write_toy(folder / "one" / "toy-1", seed=1), write_toy(folder / "two" / "toy-1", seed=2)


@pytest.fixture
def one(toys: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the first that a test may damage."""
    folder = tmp_path / "models" / "toy-1"
    folder.mkdir(parents=True)
    put_in_place(folder, toys[0])
    return folder


@pytest.fixture
def real(services: Services, one: Path) -> Iterator[Services]:
    """With the real network in charge, and three products to tag."""
    now = services.clock.now()
    with services.database.write("test") as session:
        model_id = models.register(session, read_bundle(one), one, now=now)
        models.put_in_charge(session, services.retailer_id, model_id, now=now)
        session.commit()
    shelf = ClassifierShelf(shapes=(4,), bundles=list)
    deliver(services, write_folder(services.folder / "in", {f"{n}.png": n for n in SHADES}))
    yield dataclasses.replace(
        services,
        model_id=model_id,
        tagger=dataclasses.replace(services.tagger, classifiers=shelf),
    )
    shelf.close()


def answers_of(bundle: Path) -> list[list[float]]:
    """Of the three products, sorted."""
    from model_training.bundle import network_of

    content = read_content(bundle)
    images = [to_model_input(decode_image(picture(n), LIMITS), content.card.input) for n in SHADES]
    return sorted(network_of(content).answer(np.stack(images))[0].tolist())


def answers_in(services: Services) -> list[list[float]]:
    """What stands in the database as the answers of the model in charge, sorted."""
    with services.database.read() as session:
        found = session.scalars(
            sa.select(ImagePrediction.logits).where(ImagePrediction.model_id == services.model_id)
        )
        return sorted(np.frombuffer(logits, "<f4").tolist() for logits in found)


def test_what_is_swapped_while_it_is_loaded_tags_nothing(
    real: Services, one: Path, toys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_training import bundle

    monkeypatch.setattr(bundle, "failpoint", lambda _: put_in_place(one, toys[1]))
    real.tag_all()
    monkeypatch.undo()
    assert read_bundle(one) == read_bundle(toys[1])
    found = np.array(answers_in(real))
    assert found == pytest.approx(np.array(answers_of(toys[0])), abs=1e-4)
    assert np.abs(found - np.array(answers_of(toys[1]))).max() > 0.1


def test_another_model_in_its_place_gives_the_batch_back(
    real: Services, one: Path, toys: tuple[Path, Path]
) -> None:
    put_in_place(one, toys[1])
    waiting = list(real.bell.messages)
    with pytest.raises(BundleError, match="no longer the toy:1 that was registered"):
        real.tag_all()
    assert answers_in(real) == []
    with real.database.read() as session:
        (batch,) = session.scalars(sa.select(Batch))
        assert (batch.state, batch.attempts) == (BatchState.QUEUED, 0)
        assert batch.last_error is not None
        assert "Put the registered one back" in batch.last_error
    put_in_place(one, toys[0])
    real.clock.seconds += 5
    real.bell.announce(waiting)
    real.tag_all()
    assert np.array(answers_in(real)) == pytest.approx(np.array(answers_of(toys[0])), abs=1e-4)


# Kombu's SQLAlchemy transport asks for a loader strategy that 2.1 deprecates; nothing of ours.
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_check_tells_that_another_model_is_in_its_place(
    one: Path, toys: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = Settings(
        home=tmp_path / "home",
        database_url=None,
        broker_url=None,
        images_dir=None,
        model_bundle=one,
    )
    with open_runtime(settings) as runtime:
        runtime.retailer("maison")

    def told() -> bool:
        (found,) = [finding for finding in examine(settings) if finding.what == "models in charge"]
        return found.ok

    assert told()
    put_in_place(one, toys[1])
    assert not told()
