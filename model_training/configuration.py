"""How a training run is told what to do. Free of Keras, so that light code may import it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model_training.augment import Augmentation
from tagging.errors import TrainingDataError
from tagging.model_card import InputSpec


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that decides the weights, besides the data and teachers. The defaults are those
    that the newest shipped model was trained with.

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
        tree_weight: of the cross-entropy of each level of parents, beside that of the categories;
            not together with `label_smoothing`. 0 knows no tree.
        ema_momentum: of the moving average of the weights; the average is what is shipped.
        dtype_policy: Keras's name, or `auto`: `mixed_bfloat16` where an accelerator or the
            processor has bfloat16 instructions (a quarter faster, seen with AVX-512), `float32`
            elsewhere (three times faster there).
        patience: stop after so many epochs without a lower calibrated negative log-likelihood on
            the select part, and go back to the best one's weights; 0 trains to the end.
        teacher_share: where there are teachers, how much of each target is theirs; the rest is the
            label's.
        teacher_views: with teachers, so many differently changed copies of the training part are
            put to them once and then shown in turn, as they cost more than the pupil; 0 changes
            the images anew in each epoch.
        mixup: of the Beta distribution by which two images are blended; 0 blends none.
        mirror: whether the bundle asks the network twice, of the image and of its mirror image.
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
    epochs: int = 56
    batch_size: int = 128
    peak_learning_rate: float = 3e-3
    warmup_share: float = 0.1
    weight_decay: float = 0.05
    label_smoothing: float = 0.0
    tree_weight: float = 0.0
    ema_momentum: float = 0.998
    dtype_policy: str = "auto"
    patience: int = 10
    teacher_share: float = 0.7
    teacher_views: int = 8
    mixup: float = 0.2
    mirror: bool = True
    seed: int = 1
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise TrainingDataError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.tree_weight and self.label_smoothing:
            raise TrainingDataError(
                "smoothed labels say that all wrong categories are equally likely, the tree says "
                "that they are not; set tree_weight or label_smoothing to 0."
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, for checkpoints and cards."""
        values = dataclasses.asdict(self)
        values["parameters"] = dict(self.parameters)
        return values

    @staticmethod
    def for_input(spec: InputSpec) -> TrainingConfig:
        """The defaults for a kind of input: colour photos are larger, so the network first reduces
        them to about the size that the shipped one sees.
        """
        config = TrainingConfig()
        step = max(1, round(max(spec.height, spec.width) / 28))
        if step == 1:
            return config
        return config.changed(parameters={**config.parameters, "stem": 32, "step": step})

    def changed(self, **fields: Any) -> TrainingConfig:
        """A copy with other values for `fields`."""
        return dataclasses.replace(self, **fields)


@dataclass(frozen=True, kw_only=True)
class SentinelConfig:
    """How the sentinel is taught.

    Attributes:
        parameters: what the network is told, input shape excepted.
        rounds: of `steps` steps each; a round only paces the messages.
        steps: optimizer steps per round.
        batch_size: of familiar and again of foreign pictures in a step.
        photo_share: of the familiar pictures, how many are shop photos, if there are any. Few, so
            that where it is in doubt a photo of another shop is rather strange than familiar.
        foreign: share of each source of foreign pictures. Without foreign photos, their share goes
            to the distorted ones.
        peak_learning_rate: of AdamW, after 200 steps; then down a half cosine.
        weight_decay: decoupled.
        label_smoothing: a foreign picture may look familiar at this resolution.
        flagged_share: of the select images, how many may be flagged; sets the threshold.
        pool: how many pictures are drawn and distorted beforehand, of each source.
        seed: decides all that is random.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 10
    steps: int = 400
    batch_size: int = 128
    photo_share: float = 0.12
    foreign: Mapping[str, float] = field(
        default_factory=lambda: {"photos": 0.3, "drawn": 0.15, "shapes": 0.25, "distorted": 0.3}
    )
    peak_learning_rate: float = 3e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.01
    flagged_share: float = 0.024
    pool: int = 12_000
    seed: int = 1

    @staticmethod
    def for_images(n: int, *, seed: int) -> SentinelConfig:
        """The defaults, which are for Fashion-MNIST's 50,000, scaled down to `n` images."""
        usual = SentinelConfig(seed=seed)
        share = min(1.0, n / 50_000)
        return usual.changed(
            steps=max(20, round(usual.steps * share)), pool=max(200, round(usual.pool * share))
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, for cards."""
        values = dataclasses.asdict(self)
        return values | {"parameters": dict(self.parameters), "foreign": dict(self.foreign)}

    def changed(self, **fields: Any) -> SentinelConfig:
        """A copy with other values for `fields`."""
        return dataclasses.replace(self, **fields)
