"""KerasClassifier: loads a bundle, warms it up, and runs it in one thread at fixed shapes.

Fixed shapes, because every new shape makes Keras compile again: a batch is cut into the largest
shape and the rest goes into the smallest that holds it, padded. One inferring thread per process,
because the network uses all cores (or the GPU) by itself; the threads that decode only wait here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import structlog

from tagging.database.models import KnownModel
from tagging.errors import BundleError
from tagging.failpoints import failpoint
from tagging.model_card import ModelCard, card_fingerprint, read_card, read_content
from tagging.tag import Answers

if TYPE_CHECKING:  # importing it imports Keras
    from model_training.bundle import LoadedNetwork

PULSE_S: Final = 0.5
KEPT_MODELS: Final = 4
"""Models that a process holds loaded at once."""

log = structlog.get_logger("classifier")


class Pulse:
    """Grows with everything that the inferring thread gets done: who waits for it is not stuck."""

    def __init__(self) -> None:
        self.beats = 0


class KerasClassifier:
    """One loaded bundle.

    Args:
        card: of the bundle, verified.
        network: answers uint8 (batch, h, w, c).
        shapes: batch sizes to compile for, smallest first.
        thread: the one that infers; shared by all classifiers of the process.
        pulse: of that thread.
    """

    def __init__(
        self,
        card: ModelCard,
        network: LoadedNetwork,
        *,
        shapes: Sequence[int],
        thread: ThreadPoolExecutor,
        pulse: Pulse,
    ) -> None:
        self.card = card
        self._network = network
        self._shapes = sorted(shapes)
        self._thread = thread
        self._pulse = pulse

    def warm_up(self) -> None:
        """Compile every shape, so that the first batch does not pay for it."""
        spec = self.card.input
        for size in self._shapes:
            self.classify(np.zeros((size, spec.height, spec.width, spec.channels), np.uint8))

    def classify(
        self, images: npt.NDArray[np.uint8], on_progress: Callable[[], None] = lambda: None
    ) -> Answers:
        """(n, h, w, c) uint8 -> answers. Waits for its turn, and tells while others have theirs."""
        asked = self._thread.submit(self._run, images)
        felt = self._pulse.beats
        while not asked.done():
            wait([asked], timeout=PULSE_S)
            before, felt = felt, self._pulse.beats
            if felt != before:
                on_progress()
        return asked.result()

    def _run(self, images: npt.NDArray[np.uint8]) -> Answers:
        parts: list[Answers] = []
        start, n = 0, len(images)
        while start < n:
            left = n - start
            size = next((s for s in self._shapes if s >= left), self._shapes[-1])
            part = images[start : start + size]
            taken = len(part)
            if taken < size:
                padding = np.zeros((size - taken, *part.shape[1:]), np.uint8)
                part = np.concatenate([part, padding])
            logits, scores, features = self._network.look(part)
            self._pulse.beats += 1
            parts.append(
                Answers(logits=logits[:taken], ood_scores=scores[:taken], features=features[:taken])
            )
            start += taken
        return Answers(
            logits=np.concatenate([one.logits for one in parts]),
            ood_scores=np.concatenate([one.ood_scores for one in parts]),
            features=np.concatenate([one.features for one in parts]),
        )


class ClassifierShelf:
    """Loads models on demand, keeps the few last used, and runs all of them in one thread."""

    def __init__(
        self,
        *,
        shapes: Sequence[int],
        bundles: Callable[[], Sequence[Path]],
        loading: Callable[[KnownModel], AbstractContextManager[None]] = lambda _: nullcontext(),
        keep: int = KEPT_MODELS,
    ) -> None:
        """`bundles`: folders to search when a model's registered path is not on this machine.
        `loading`: entered while a model is loaded.
        """
        self._shapes = shapes
        self._bundles = bundles
        self._keep = keep
        self._loading = loading
        self._loaded: dict[int, KerasClassifier] = {}
        self._pulse = Pulse()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="infer")

    def get(self, model: KnownModel) -> KerasClassifier:
        """The loaded and warm model. Raises BundleError."""
        with self._lock:  # a second batch of the same model waits instead of loading it too
            loaded = self._loaded.pop(model.id, None)
            if loaded is None:
                with self._loading(model):
                    loaded = self._load(model)
            self._loaded[model.id] = loaded  # the youngest stands last
            while len(self._loaded) > self._keep:
                del self._loaded[next(iter(self._loaded))]
            return loaded

    def has(self, model_id: int) -> bool:
        """Whether `get` loads nothing. Waits for who loads one just now."""
        with self._lock:
            return model_id in self._loaded

    def _load(self, model: KnownModel) -> KerasClassifier:
        path = self._find(model)
        failpoint("model.load", model.card.title)
        content = read_content(path)
        card = content.card
        if card_fingerprint(card) != card_fingerprint(model.card):
            raise BundleError(
                f"the bundle at {path} is no longer the {model.card.title} that was registered. "
                "Put the registered one back, or register this one under a new version."
            )
        # Imported here: TensorFlow takes seconds, which nobody need wait who is refused anyway, and
        # must come after the decoders were started.
        from model_training.bundle import network_of

        began = time.perf_counter()
        network = self._thread.submit(network_of, content).result()
        classifier = KerasClassifier(
            card, network, shapes=self._shapes, thread=self._thread, pulse=self._pulse
        )
        failpoint("model.loaded")
        classifier.warm_up()
        log.info(
            "model_loaded",
            model=card.title,
            path=str(path),
            seconds=round(time.perf_counter() - began, 1),
        )
        return classifier

    def _find(self, model: KnownModel) -> Path:
        if model.path.is_dir():
            return model.path
        wanted = card_fingerprint(model.card)
        for path in self._bundles():
            try:
                if card_fingerprint(read_card(path)) == wanted:
                    return path
            except (BundleError, OSError) as error:
                # Another model's, perhaps; nobody asked for that one.
                log.warning("bundle_unreadable", path=str(path), error=str(error))
        raise BundleError(
            f"the bundle of {model.card.title} is not on this machine: {model.path} does not "
            "exist. Copy it into the `models` folder of the data folder."
        )

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
