"""Write and load model bundles: a folder with weights and, last, `card.json`.

`tagging.model_card` says what a card holds and verifies a bundle without Keras; what needs Keras is
here. Light code must not import this module.
"""

from __future__ import annotations

import os
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
from model_training.networks import build, compiles_for_itself, dtype_policy, with_features
from model_training.strangeness import Strangeness
from tagging.errors import BundleError
from tagging.model_card import CARD_NAME, ModelCard, file_sha256, read_bundle, read_card

WEIGHTS_NAME: Final = "model.weights.h5"

_BACKEND_PACKAGES: Final = {
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "jax": ("jax",),
    "torch": ("torch",),
}


STATISTICS_NAME: Final = "strangeness.npz"


@dataclass(frozen=True, kw_only=True)
class LoadedNetwork:
    """A network and what scores the strangeness of its features."""

    model: keras.Model
    strangeness: Strangeness

    def answer(
        self, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """uint8 (batch, h, w, c) -> raw logits (batch, categories), ood scores (batch,).

        Every new batch size is compiled for; callers keep to a few.
        """
        logits, features = self.model.predict_on_batch(images)
        return np.asarray(logits, np.float32), self.strangeness.score(np.asarray(features))


def write_bundle(
    folder: Path,
    model: keras.Model,
    strangeness: Strangeness,
    card: ModelCard,
    *,
    replace: bool,
) -> ModelCard:
    """Write `model`'s weights and `card` as the bundle `folder`, whole or not at all.

    Everything is written into a folder beside it, fsynced, the card last, and renamed. With
    `replace`, the bundle that stands there is moved away just before and deleted after: a reader
    may for a moment find none, but never a mixture.

    Args:
        folder: the bundle; its parent is made if missing.
        model: float32; its variables are saved as they are.
        strangeness: fitted to the features of `model`.
        card: `files` is filled in here.
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
        model.save_weights(partial / WEIGHTS_NAME)
        strangeness.save(partial / STATISTICS_NAME)
        names = (WEIGHTS_NAME, STATISTICS_NAME)
        for name in names:
            sync_file(partial / name)
        complete = card.model_copy(
            update={"files": {name: file_sha256(partial / name) for name in names}}
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
        BundleError: something stands at `folder` and is no bundle, or `replace` is off.
    """
    if not folder.exists():
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


def record_metrics(bundle: Path, figures: Mapping[str, Any]) -> ModelCard:
    """Add `figures` to the card's metrics; what stands there once, stays.

    Raises:
        BundleError: the bundle is incomplete, or has other figures under one of these names.
    """
    card = read_card(bundle)
    different = [k for k, v in figures.items() if card.metrics.get(k, v) != v]
    if different:
        raise BundleError(
            f"{bundle} has figures under {different} already, and they differ from the new ones. "
            "A bundle is scored once; make a new version to score another."
        )
    updated = card.model_copy(update={"metrics": {**card.metrics, **figures}})
    write_file_atomically(bundle / CARD_NAME, _card_bytes(updated))
    return updated


def load_network(bundle: Path) -> tuple[ModelCard, LoadedNetwork]:
    """The verified card and its network, float32, ready to answer.

    Raises:
        BundleError: a file is missing or altered, the network is unknown here, or its weights or
            shapes are not those that the card announces.
    """
    card = read_bundle(bundle)
    with dtype_policy("float32"):
        model = build(card.network.name, card.network.parameters)
    expected = (card.input.height, card.input.width, card.input.channels)
    if tuple(model.input_shape[1:]) != expected or model.output_shape[-1] != len(card.categories):
        raise BundleError(
            f"{bundle}: the network takes {tuple(model.input_shape[1:])} and gives "
            f"{model.output_shape[-1]} logits, but the card announces input {expected} and "
            f"{len(card.categories)} categories. Train the bundle again."
        )
    try:
        with warnings.catch_warnings():
            # Of layers that it finds no weights for, Keras only warns, and leaves them random.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(bundle / card.weights)
    except (ValueError, KeyError, OSError, UserWarning) as error:
        raise BundleError(
            f"{bundle / card.weights} does not fit the network {card.network.name!r} with "
            f"{card.network.parameters}: {error}. Copy the bundle again, or train it again."
        ) from error
    both = with_features(model)
    both.jit_compile = compiles_for_itself()
    strangeness = Strangeness.load(bundle / card.out_of_distribution.statistics)
    return card, LoadedNetwork(model=both, strangeness=strangeness)


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


def _card_bytes(card: ModelCard) -> bytes:
    return (card.model_dump_json(indent=2) + "\n").encode()
