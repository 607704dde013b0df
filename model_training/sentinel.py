"""Teach the sentinel: a small network that tells pictures of a model's categories from others.

Outlier exposure (Hendrycks, Mazeika and Dietterich 2019, "Deep Anomaly Detection with Outlier
Exposure"): what a network is to call strange, it is shown while it learns. Shown are drawings,
distorted product photos and, where there are some, photos of things that fit no category.

Familiar are the training images and, where there are some, shop photos that fit a category, so that
a photo is not strange for being a photo.

This module imports Keras; light code must not import it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
from rich.console import Console

from model_training.augment import GROUND, Augmentation, augment
from model_training.configuration import SentinelConfig
from model_training.distort import distort
from model_training.drawings import KINDS, drawings
from model_training.networks import build, compiles_for_itself, dtype_policy
from model_training.shop_photos import ShopPhotos
from tagging.model_card import InputSpec

NETWORK: Final = "sentinel"

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


_FAMILIAR_CHANGES: Final = Augmentation(
    shift=2, stretch=0.5, stretch_limit=0.12, tone=0.6, gamma_limit=0.6, gain_limit=0.35, erase=0
)
_FOREIGN_CHANGES: Final = Augmentation(
    shift=3, stretch=0.7, stretch_limit=0.25, tone=0.7, gamma_limit=0.6, gain_limit=0.35, erase=0.1
)


def train_sentinel(
    familiar: Images,
    photos: ShopPhotos | None,
    spec: InputSpec,
    config: SentinelConfig,
    *,
    console: Console,
) -> tuple[keras.Model, Mapping[str, Any]]:
    """Train on `familiar` and on the unreserved `photos`, their tuning quarter left out.

    Args:
        familiar: uint8 (n, height, width, channels), the model's own training images.
        photos: None where there are none.
        spec: the model's input.
        config: see there.
        console: gets a line per round.

    Returns:
        The network, float32 with averaged weights (uint8 images -> (n, 1), higher is stranger), and
        the parameters that build it.
    """
    teaching = None if photos is None else photos.take(~photos.reserved & ~photos.tuning_quarter())
    parameters = dict(config.parameters) | {"input_shape": list(familiar.shape[1:])}
    rng = np.random.default_rng([config.seed, 0])
    keras.utils.set_random_seed(config.seed)
    sources = _sources(familiar, teaching, spec, config, rng)
    with dtype_policy("float32"):
        model = build(NETWORK, parameters)
    _compile(model, config)
    ground = GROUND[spec.kind]
    for number in range(config.rounds):
        losses = [
            float(model.train_on_batch(*_batch(sources, config, ground, rng)))
            for _ in range(config.steps)
        ]
        console.print(
            f"sentinel, round {number + 1}/{config.rounds}: loss {float(np.mean(losses)):.4f}"
        )
    model.optimizer.finalize_variable_values(model.trainable_variables)
    with dtype_policy("float32"):
        averaged = build(NETWORK, parameters)
    # By value: JAX hands the arrays that a trained model shares with its optimizer back to itself.
    averaged.set_weights([keras.ops.convert_to_numpy(v) for v in model.weights])
    return averaged, parameters


@dataclass(frozen=True)
class _Pool:
    """Pictures to draw from: `share` of each side's `batch_size`."""

    images: Images
    chances: Floats | None
    foreign: bool
    share: float
    changes: Augmentation

    def draw(self, count: int, ground: int, rng: np.random.Generator) -> Images:
        chosen = self.images[rng.choice(len(self.images), count, p=self.chances)]
        return augment(chosen, self.changes, rng, ground=ground)


def _sources(
    familiar: Images,
    photos: ShopPhotos | None,
    spec: InputSpec,
    config: SentinelConfig,
    rng: np.random.Generator,
) -> Sequence[_Pool]:
    shares = dict(config.foreign)
    own = 1.0
    pools: list[_Pool] = []
    to_distort = familiar[rng.choice(len(familiar), min(config.pool, len(familiar)), replace=False)]
    if photos is None:
        shares["distorted"] += shares.pop("photos")
    else:
        own = 1 - config.photo_share
        fit, strange = photos.take(~photos.foreign), photos.take(photos.foreign)
        to_distort = np.concatenate([to_distort, fit.images])
        pools = [
            _Pool(fit.images, _chances(fit.kinds), False, config.photo_share, _FAMILIAR_CHANGES),
            _Pool(
                strange.images,
                _chances(strange.kinds),
                True,
                shares.pop("photos"),
                _FOREIGN_CHANGES,
            ),
        ]
    plain = [kind for kind in KINDS if kind != "shapes"]
    drawn = [
        drawings(kind, max(1, config.pool // len(plain)), spec, seed=config.seed) for kind in plain
    ]
    strange_ones = {
        "drawn": np.concatenate(drawn),
        "shapes": drawings("shapes", config.pool, spec, seed=config.seed),
        "distorted": distort(to_distort, ground=GROUND[spec.kind], rng=rng),
    }
    return [
        *pools,
        _Pool(familiar, None, False, own, _FAMILIAR_CHANGES),
        *(
            _Pool(images, None, True, shares[name], _FOREIGN_CHANGES)
            for name, images in strange_ones.items()
        ),
    ]


def _chances(groups: npt.NDArray[np.str_]) -> Floats:
    """Each group counts by the root of its size, so that large ones do not drown small ones."""
    _, member_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    raw = 1 / np.sqrt(sizes[member_of])
    chances: Floats = raw / raw.sum()
    return chances


def _batch(
    sources: Sequence[_Pool], config: SentinelConfig, ground: int, rng: np.random.Generator
) -> tuple[Images, npt.NDArray[np.float32]]:
    images, foreign = [], []
    for pool in sources:
        count = max(1, round(config.batch_size * pool.share))
        images.append(pool.draw(count, ground, rng))
        foreign.append(np.full((count, 1), pool.foreign, np.float32))
    return np.concatenate(images), np.concatenate(foreign)


def _compile(model: keras.Model, config: SentinelConfig) -> None:
    total = config.rounds * config.steps
    warmup = min(200, max(1, total // 10))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=config.peak_learning_rate / 25,
        warmup_target=config.peak_learning_rate,
        warmup_steps=warmup,
        decay_steps=max(1, total - warmup),
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(
            learning_rate=schedule,
            weight_decay=config.weight_decay,
            use_ema=True,
            ema_momentum=max(0.0, min(0.995, 1 - 20 / total)),
            ema_overwrite_frequency=None,
        ),
        loss=keras.losses.BinaryCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing
        ),
        jit_compile=compiles_for_itself(),
    )
