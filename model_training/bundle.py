"""Write and load model bundles: a folder with weights and, last, `card.json`.

`tagging.model_card` says what a card holds and verifies a bundle without Keras; what needs Keras is
here. Light code must not import this module.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt

from model_training.atomic_files import sync_file, sync_folder, write_file_atomically
from model_training.datasets.labelled import LabelledImages
from model_training.likeness import compact, sign_projection
from model_training.networks import (
    build,
    compiles_for_itself,
    dtype_policy,
    side_by_side,
    with_head,
)
from model_training.splits import Split
from model_training.stored_split import SPLIT_NAME, write_split
from model_training.thresholds import allows
from tagging.errors import BundleError
from tagging.failpoints import failpoint
from tagging.model_card import (
    CARD_NAME,
    AcceptanceSpec,
    BundleContent,
    ModelCard,
    NetworkSpec,
    card_fingerprint,
    read_card,
    read_content,
)

WEIGHTS_NAME: Final = "model.weights.h5"
SENTINEL_NAME: Final = "sentinel.weights.h5"

_BACKEND_PACKAGES: Final = {
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "jax": ("jax",),
    "torch": ("torch",),
}


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The two networks of a bundle, float32; both take the same images."""

    classifier: keras.Model
    sentinel: keras.Model


class LoadedNetwork:
    """A bundle's networks, run as one.

    Args:
        networks: the two.
        spec: the classifier's architecture, as the card has it.
    """

    def __init__(self, networks: Networks, spec: NetworkSpec) -> None:
        seeing = with_head(networks.classifier, spec.name, spec.parameters)
        self._all = side_by_side(seeing, networks.sentinel)
        self._all.jit_compile = compiles_for_itself()
        self._projection = sign_projection(seeing.output_shape[1][-1])

    def answer(
        self, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """uint8 (batch, h, w, c) -> raw logits (batch, categories), ood scores (batch,).

        Every new batch size is compiled for; callers keep to a few.
        """
        logits, scores, _ = self.look(images)
        return logits, scores

    def look(
        self, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], npt.NDArray[np.int8]]:
        """As `answer`, and the features (batch, 64) by which `likeness.compact` compares images."""
        logits, seen, scores = self._all.predict_on_batch(images)
        return (
            np.asarray(logits, np.float32),
            np.asarray(scores, np.float64)[:, 0],
            compact(np.asarray(seen, np.float32), self._projection),
        )


def write_bundle(
    folder: Path,
    networks: Networks,
    card: ModelCard,
    labelled: LabelledImages,
    split: Split | None,
    *,
    replace: bool,
) -> ModelCard:
    """Write the weights of `networks` and `card` as the bundle `folder`, whole or not at all.

    Everything is written into a folder beside it, fsynced, the card last, and renamed. With
    `replace`, the bundle that stands there is moved away just before and deleted after: a reader
    may for a moment find none, but never a mixture. Who is killed in that moment leaves the old one
    as `.NAME.PID.replaced`, to be given its name again by hand.

    Args:
        folder: the bundle; its parent is made if missing.
        networks: their variables are saved as they are.
        card: `files` is filled in here.
        labelled: the images that it was made from ...
        split: ... and how they were divided, which is stored beside the weights; None if they
            were not.
        replace: whether a bundle that stands there may go.

    Returns:
        The card as written.

    Raises:
        BundleError: something stands at `folder` and `replace` is off.
    """
    ensure_free(folder, replace=replace)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        networks.classifier.save_weights(partial / WEIGHTS_NAME)
        networks.sentinel.save_weights(partial / SENTINEL_NAME)
        names = [WEIGHTS_NAME, SENTINEL_NAME]
        if split is not None:
            write_split(partial / SPLIT_NAME, labelled, split)
            names.append(SPLIT_NAME)
        for name in names:
            sync_file(partial / name)
        complete = card.model_copy(
            update={"files": {name: _sha256(partial / name) for name in names}}
        )
        write_file_atomically(partial / CARD_NAME, _card_bytes(complete))
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{os.getpid()}.replaced")
            folder.rename(old)
            try:
                partial.rename(folder)
            except OSError:
                old.rename(folder)
                raise
            shutil.rmtree(old)
        else:
            partial.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return complete


def ensure_free(folder: Path, *, replace: bool) -> None:
    """Complain before the work, not after it, that a bundle would be overwritten.

    Raises:
        BundleError: something stands at `folder` and is no bundle, `replace` is off, or its name
            cannot be that of a bundle.
    """
    if not folder.exists():
        if not re.fullmatch(
            r"[a-z0-9][a-z0-9._-]{0,63}-[0-9A-Za-z][0-9A-Za-z._-]{0,31}", folder.name
        ):
            raise BundleError(
                f"{folder.name!r} is no name for a bundle: it takes lower-case letters, digits, "
                "dots and dashes, and at the end a dash and a version, as in maison-1."
            )
        return
    if not replace:
        raise BundleError(
            f"{folder} exists already and is not overwritten: predictions point to the model in "
            "it. Give another folder, or allow the replacement if nothing uses it yet."
        )
    if not (folder / CARD_NAME).exists():
        raise BundleError(
            f"{folder} exists and is no model bundle (it has no {CARD_NAME}), so it is not "
            "replaced. Give another folder, or remove it yourself."
        )


def record_metrics(bundle: Path, figures: Mapping[str, Any], *, measured: ModelCard) -> ModelCard:
    """Add `figures` to the card's metrics; what stands there once, stays.

    A target precision that the test images contradict (more of what was accepted is wrong than it
    allows) is withdrawn: who asks for it gets the next stricter one's thresholds. The default
    target stays, as a bundle without one would be none; with a rate that is not kept it should not
    be released.

    Args:
        bundle: where the measured one was read.
        figures: by name.
        measured: the card of what was measured.

    Raises:
        BundleError: the bundle is incomplete or not the measured one any more, or has other figures
            under one of these names.
    """
    card = read_card(bundle)
    if card_fingerprint(card) != card_fingerprint(measured):
        raise BundleError(
            f"{bundle} was replaced while {measured.title} was measured, so nothing was recorded "
            "in it. Measure the one that is there now."
        )
    different = [k for k, v in figures.items() if not _agree(card.metrics.get(k, v), v)]
    if different:
        raise BundleError(
            f"{bundle} has figures under {different} already, and they differ from the new ones. "
            "A bundle is scored once; make a new version to score another."
        )
    points = kept_on(figures.get("test", {}).get("targets", {}), card.operating_points)
    updated = card.model_copy(
        update={"metrics": {**figures, **card.metrics}, "operating_points": points}
    )
    write_file_atomically(bundle / CARD_NAME, _card_bytes(updated))
    return updated


def _agree(recorded: Any, found: Any) -> bool:
    """Whether figures are the same, but for targets that were withdrawn when they were recorded."""
    if isinstance(recorded, Mapping) and "targets" in recorded and isinstance(found, Mapping):
        targets = {k: v for k, v in recorded["targets"].items() if k in found.get("targets", {})}
        recorded = {**recorded, "targets": targets}
    return bool(recorded == found)


def kept_on(
    targets: Mapping[str, Any], points: Mapping[str, AcceptanceSpec]
) -> dict[str, AcceptanceSpec]:
    """The operating points whose error, by `figures.figures`, is at most what they allow."""
    return {
        name: spec
        for name, spec in points.items()
        if allows(spec.target_precision, targets.get(name, {}).get("error"))
    }


def load_network(bundle: Path) -> tuple[ModelCard, LoadedNetwork]:
    """The verified card and its networks, float32, ready to answer.

    Raises:
        BundleError: a file is missing or altered, a network is unknown here, or its weights or
            shapes are not those that the card announces.
    """
    content = read_content(bundle)
    return content.card, network_of(content)


def load_networks(bundle: Path) -> tuple[ModelCard, Networks]:
    """As `load_network`, the two networks by themselves."""
    content = read_content(bundle)
    return content.card, networks_of(content)


def network_of(content: BundleContent) -> LoadedNetwork:
    """The networks of a bundle that was read and verified, run as one. Raises as `networks_of`."""
    return LoadedNetwork(networks_of(content), content.card.network)


def networks_of(content: BundleContent) -> Networks:
    """The two networks of a bundle that was read and verified, float32.

    Raises:
        BundleError: a network is unknown here, or its weights or shapes are not those that the card
            announces.
    """
    failpoint("model.read")
    card, ood = content.card, content.card.out_of_distribution
    return Networks(
        classifier=_load(content, card.network, card.weights, len(card.categories)),
        sentinel=_load(content, ood.network, ood.weights, 1),
    )


class _Weights(io.BytesIO):
    """Weights in memory, for Keras, which tells the kind of a file by the end of its name.

    Keras opens what it is given by that name, or, if it is a `BytesIO`, as it is. A file made of
    these bytes would do as well, but needs a disk that has room, and whoever dies leaves it there.
    """

    def __str__(self) -> str:
        return WEIGHTS_NAME


def _load(content: BundleContent, spec: NetworkSpec, weights: str, outputs: int) -> keras.Model:
    bundle, card = content.folder, content.card
    with dtype_policy("float32"):
        model = build(spec.name, spec.parameters)
    expected = (card.input.height, card.input.width, card.input.channels)
    if tuple(model.input_shape[1:]) != expected or model.output_shape[-1] != outputs:
        raise BundleError(
            f"{bundle}: the network {spec.name!r} takes {tuple(model.input_shape[1:])} and gives "
            f"{model.output_shape[-1]} logits, but the card announces input {expected} and "
            f"{outputs} outputs. Train the bundle again."
        )
    try:
        with warnings.catch_warnings():
            # Of layers that it finds no weights for, Keras only warns, and leaves them random.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(_Weights(content.files[weights]))
    except (ValueError, KeyError, OSError, UserWarning) as error:
        raise BundleError(
            f"{bundle / weights} does not fit the network {spec.name!r} with "
            f"{spec.parameters}: {error}. Copy the bundle again, or train it again."
        ) from error
    return model


def software_versions() -> dict[str, str]:
    """What a bundle is made with: package -> version; `backend` is Keras's."""
    backend = keras.backend.backend()
    versions = {
        "atelier": version("atelier"),
        "keras": keras.__version__,
        "numpy": np.__version__,
        "backend": backend,
    }
    return versions | _backend_version(backend)


def _backend_version(backend: str) -> dict[str, str]:
    """Of the first distribution that is installed: TensorFlow comes under several names."""
    for package in _BACKEND_PACKAGES.get(backend, (backend,)):
        try:
            return {package: version(package)}
        except PackageNotFoundError:
            continue
    return {}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _card_bytes(card: ModelCard) -> bytes:
    return (card.model_dump_json(indent=2) + "\n").encode()
