"""Stand-ins that let the services run without Keras, without a broker and without processes."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tagging.database import models
from tagging.database.models import KnownModel
from tagging.database.session import Database
from tagging.images.decode import decode_image
from tagging.images.decoders import Decoded, DecodeRequest
from tagging.images.model_input import PREPROCESSING_VERSION, to_model_input
from tagging.images.rejection import ImageLimits, ImageRejected
from tagging.images.store import FolderImageStore
from tagging.in_hand import InHand
from tagging.inbox import Inbox
from tagging.ingest import Ingest
from tagging.model_card import (
    AcceptanceSpec,
    Category,
    InputSpec,
    ModelCard,
    NetworkSpec,
    OutOfDistributionSpec,
)
from tagging.retag import Retagging
from tagging.sweep import Sweeper
from tagging.tag import Answers, BatchReport, Classifier, Classifiers, Decoders, Tagger

SHADES = ("Dark", "Middle", "Light")
"""The categories of the stand-in model: how bright a picture is."""
LIMITS = ImageLimits()


def stand_in_card(name: str = "shades", version: str = "1", fallback: float = 0.9) -> ModelCard:
    """A card that is complete, for a model that judges brightness."""
    return ModelCard(
        name=name,
        version=version,
        description="Judges how bright a picture is; for tests.",
        network=NetworkSpec(name="none", parameters={}),
        categories=[Category(name=shade, parent="Shades") for shade in SHADES],
        input=InputSpec(kind="photo", height=8, width=8, channels=3),
        preprocessing_version=PREPROCESSING_VERSION,
        temperature=1.0,
        acceptance=AcceptanceSpec(
            target_precision=0.99,
            fallback=fallback,
            holdout_n=1000,
            holdout_accepted=900,
            holdout_errors=3,
            error_upper=0.009,
        ),
        out_of_distribution=OutOfDistributionSpec(
            method="sentinel",
            network=NetworkSpec(name="none", parameters={}),
            weights="none",
            threshold=0.0,
        ),
        weights="none",
        metrics={},
        data={},
        versions={},
        created_at="2026-01-01T00:00:00Z",
        files={"none": "0" * 64},
    )


class ShadeClassifier(Classifier):
    """Logit of a shade: minus the distance of the mean pixel to it, in units of 8 grey levels."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.calls: list[int] = []

    def classify(
        self,
        images: npt.NDArray[np.uint8],
        on_progress: Callable[[], None] = lambda: None,  # noqa: ARG002
    ) -> Answers:
        self.calls.append(len(images))
        means = images.reshape(len(images), -1).mean(axis=1, dtype=np.float64)  # (n,)
        shades = np.array([0.0, 128.0, 255.0])
        distances = np.abs(means[:, np.newaxis] - shades) / 8  # (n, 3)
        angles = means / 255 * np.pi / 2
        return Answers(
            logits=(20 - distances).astype(np.float32),
            ood_scores=-np.ones(len(images)),
            features=(127 * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.int8),
        )


class ShadeShelf(Classifiers):
    """Every model is a stand-in; remembers them by id."""

    def __init__(self) -> None:
        self.classifiers: dict[int, ShadeClassifier] = {}

    def get(self, model: KnownModel) -> ShadeClassifier:
        return self.classifiers.setdefault(model.id, ShadeClassifier(model.card))

    def has(self, model_id: int) -> bool:
        return model_id in self.classifiers

    @property
    def calls(self) -> int:
        """Images classified so far, all models together."""
        return sum(sum(one.calls) for one in self.classifiers.values())


class InlineDecoders(Decoders):
    """Decodes in this process. `before` is called with every request, to interfere."""

    def __init__(self, before: Callable[[DecodeRequest], None] = lambda _: None) -> None:
        self.before = before
        self.decoded = 0

    def decode(
        self,
        items: Sequence[DecodeRequest],
        spec: InputSpec,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Decoded]:
        answers = []
        for item in items:
            self.before(item)
            self.decoded += 1
            try:
                image = decode_image(item.path.read_bytes(), LIMITS)
            except ImageRejected as error:
                answers.append(Decoded(sha256=item.sha256, code=error.code, detail=error.detail))
            else:
                answers.append(Decoded(sha256=item.sha256, pixels=to_model_input(image, spec)))
        if on_progress is not None:
            on_progress(len(items))
        return answers


class Bell:
    """A doorbell that remembers. `lose` makes messages vanish, as a wiped broker does."""

    def __init__(self) -> None:
        self.messages: list[int] = []
        self.lose = False

    def announce(self, batch_ids: Sequence[int]) -> None:
        if not self.lose:
            self.messages.extend(batch_ids)

    def depth(self) -> int | None:
        return len(self.messages)


@dataclass(kw_only=True)
class Clock:
    """A clock that only tests move. `jumped_s`: by how much the wall's was set forward."""

    seconds: float = 0.0
    jumped_s: float = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(
            seconds=self.seconds + self.jumped_s
        )


@dataclass(kw_only=True)
class Services:
    """What a worker process has, built from stand-ins over a real database and store."""

    database: Database
    store: FolderImageStore
    bell: Bell
    clock: Clock
    shelf: ShadeShelf
    decoders: InlineDecoders
    ingest: Ingest
    tagger: Tagger
    retagging: Retagging
    sweeper: Sweeper
    model_id: int
    retailer_id: int
    folder: Path
    reports: list[BatchReport] = field(default_factory=list)

    def tag_all(self) -> None:
        """Answer the doorbell until it is silent."""
        while self.bell.messages:
            report = self.tagger.tag_batch(self.bell.messages.pop(0))
            if report is not None:
                self.reports.append(report)

    def drop_folder(self, root: Path, *, settle_s: float = 2.0) -> Inbox:
        """Its drop folder at `root`, not yet prepared."""
        return Inbox(
            root=root,
            ingest=self.ingest,
            retailer_id=self.retailer_id,
            settle_s=settle_s,
            monotonic=self.clock.monotonic,
        )


def make_services(database: Database, folder: Path, *, batch_images: int = 4) -> Services:
    """Services of one worker over `database`, with one retailer, `default`."""
    clock, bell, shelf, decoders = Clock(), Bell(), ShadeShelf(), InlineDecoders()
    store = FolderImageStore(folder / "images")
    with database.write("test") as session:
        model_id = models.register(session, stand_in_card(), folder / "bundle", now=clock.now())
        retailer_id = models.add_retailer(session, "default", model_id=model_id, now=clock.now())
        session.commit()
    ingest = Ingest(
        database=database,
        store=store,
        announcer=bell,
        batch_images=batch_images,
        image_max_bytes=LIMITS.max_bytes,
        now=clock.now,
    )
    retagging = Retagging(
        database=database,
        announcer=bell,
        batch_images=batch_images,
        preprocessing_version=PREPROCESSING_VERSION,
        now=clock.now,
    )
    return Services(
        database=database,
        store=store,
        bell=bell,
        clock=clock,
        shelf=shelf,
        decoders=decoders,
        ingest=ingest,
        tagger=Tagger(
            database=database,
            store=store,
            decoders=decoders,
            classifiers=shelf,
            in_hand=InHand(step_s=30.0, monotonic=clock.monotonic),
            worker="test",
            preprocessing_version=PREPROCESSING_VERSION,
            now=clock.now,
            audit_share=0.0,  # drawn by a key that is new each time: only where a test asks for it
        ),
        retagging=retagging,
        sweeper=Sweeper(
            database=database,
            ingest=ingest,
            doorbell=bell,
            holder="test",
            stale_s=10.0,
            wait_s=30.0,
            now=clock.now,
            monotonic=clock.monotonic,
            retagging=retagging,
        ),
        model_id=model_id,
        retailer_id=retailer_id,
        folder=folder,
    )


def picture(shade: int, *, size: tuple[int, int] = (12, 12), form: str = "PNG") -> bytes:
    """An evenly grey picture of this level (0 to 255), as a file's bytes."""
    stream = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(stream, form)
    return stream.getvalue()
