"""How a training run is told what to do. Free of Keras, so that light code may import it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model_training.augment import Augmentation


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that decides the weights, besides the data. The defaults are the shipped model's.

    Attributes:
        network: a name that `networks.build` knows.
        parameters: what that network is told, input shape and number of categories excepted.
        epochs: passes over the training part; also sets the length of the schedule.
        batch_size: images per step; the last, smaller batch of an epoch is dropped, and the next
            epoch's shuffle lets other images fall out.
        peak_learning_rate: reached after `warmup_share` of all steps, then down a half cosine
            to 0 (Loshchilov and Hutter 2017, "SGDR", eq. 5, without restarts).
        warmup_share: of all steps.
        weight_decay: decoupled (Loshchilov and Hutter 2019, AdamW).
        label_smoothing: 0 by default. Smoothing may gain some accuracy, but it makes confidence
            a worse ranking of what is right (Xia et al. 2025, "Towards Understanding Why Label
            Smoothing Degrades Selective Classification"), and how many products can be tagged
            without a person hangs on that ranking.
        ema_momentum: of the moving average of the weights; the average is what is shipped.
        dtype_policy: Keras's name, or `auto`: `mixed_bfloat16` where an accelerator or the
            processor has bfloat16 instructions (a quarter faster, seen with AVX-512), `float32`
            elsewhere (three times faster there).
        seed: decides initial weights, order and augmentation.
        augmentation: how the images are changed.
    """

    network: str = "preact-resnet"
    parameters: Mapping[str, Any] = field(
        default_factory=lambda: {
            "stem": 16,
            "widths": [16, 64, 128],
            "blocks": [1, 2, 2],
            "squeeze": 8,
        }
    )
    epochs: int = 44
    batch_size: int = 128
    peak_learning_rate: float = 3e-3
    warmup_share: float = 0.1
    weight_decay: float = 0.05
    label_smoothing: float = 0.0
    ema_momentum: float = 0.998
    dtype_policy: str = "auto"
    seed: int = 1
    augmentation: Augmentation = field(default_factory=Augmentation)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, for checkpoints and cards."""
        values = dataclasses.asdict(self)
        values["parameters"] = dict(self.parameters)
        return values

    def changed(self, **fields: Any) -> TrainingConfig:
        """A copy with other values for `fields`."""
        return dataclasses.replace(self, **fields)
