"""The architectures that a bundle may name: `build(name, parameters)` gives a fresh Keras model.

Every network eats uint8 images (batch, height, width, channels), rescales inside itself, and gives
raw logits (batch, categories) in float32. A bundle stores the name and the parameters, never code,
so that loading one runs nothing but what stands here. Only `keras` is used, no backend's own ops.

This module imports Keras; light code (the command line's help, the web) must not import it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeVar

import keras
from keras import layers
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tagging.errors import BundleError


class PreactivationResnetParameters(BaseModel):
    """What `preact-resnet` may be told.

    `widths` and `blocks` have one entry per stage; each stage but the first halves height and
    width in its first block. `step`: stride of the first convolution, whose kernel is then as large
    as two steps and one. `squeeze`: 0 for plain blocks; otherwise each block's output is
    weighted channel by channel through a bottleneck of width / squeeze (Hu, Shen and Sun 2018,
    "Squeeze-and-Excitation Networks").
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_shape: tuple[int, int, int]
    categories: int = Field(ge=2)
    stem: int = Field(default=32, ge=1)
    step: int = Field(default=1, ge=1)
    widths: tuple[int, ...] = Field(default=(32, 64, 128), min_length=1)
    blocks: tuple[int, ...] = Field(default=(1, 2, 2), min_length=1)
    squeeze: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _stages_agree(self) -> PreactivationResnetParameters:
        _require_stages(self.widths, self.blocks, self.input_shape)
        return self


def _require_stages(
    widths: Sequence[int], blocks: Sequence[int], input_shape: Sequence[int]
) -> None:
    if len(widths) != len(blocks):
        raise ValueError(
            f"widths {list(widths)} and blocks {list(blocks)} need one entry per stage each"
        )
    if min((*widths, *blocks, *input_shape)) < 1:
        raise ValueError("input_shape, widths and blocks must all be at least 1")


def preactivation_resnet(parameters: Mapping[str, Any]) -> keras.Model:
    """A small pre-activation residual network (He et al. 2016, "Identity Mappings in Deep Residual
    Networks", fig. 4e), with global average pooling before the logits.

    Args:
        parameters: as `PreactivationResnetParameters` says.

    Returns:
        uint8 (batch, height, width, channels) -> float32 logits (batch, categories).

    Raises:
        BundleError: a parameter is missing, unknown or out of its range.
    """
    p = _checked(PreactivationResnetParameters, "preact-resnet", parameters)
    images = keras.Input(shape=p.input_shape, dtype="uint8", name="images")
    x = layers.Rescaling(1.0 / 127.5, offset=-1.0, name="rescale")(images)
    x = _conv(p.stem, 2 * p.step + 1, strides=p.step, name="stem")(x)
    for stage, (width, count) in enumerate(zip(p.widths, p.blocks, strict=True)):
        for block in range(count):
            halve = stage > 0 and block == 0
            x = _residual_block(
                x, width, 2 if halve else 1, p.squeeze, name=f"stage{stage}_block{block}"
            )
    x = _norm_relu(x, name="head")
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)  # (batch, widths[-1])
    # float32 whatever the policy: a softmax over bfloat16 logits has 8 bits of mantissa to rank by.
    logits = layers.Dense(p.categories, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name="preact-resnet")


class MirroredParameters(BaseModel):
    """What `mirrored` may be told: the name and the parameters of another network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: str
    parameters: dict[str, Any]


def mirrored(parameters: Mapping[str, Any]) -> keras.Model:
    """Another network asked twice, of the image and of its mirror image; the mean of its logits.

    A garment is the same seen in a mirror, so the two answers differ by chance alone, and their
    mean ranks better. Costs twice the time; needs no training of its own.

    Args:
        parameters: as `MirroredParameters` says.

    Returns:
        uint8 (batch, height, width, channels) -> float32 logits (batch, categories).

    Raises:
        BundleError: a parameter is missing, unknown or out of its range.
    """
    p = _checked(MirroredParameters, "mirrored", parameters)
    return seen_in_a_mirror(build(p.of, p.parameters))


def seen_in_a_mirror(network: keras.Model) -> keras.Model:
    """`mirrored` of a network that is there already; it shares its weights."""
    images = keras.Input(shape=network.input_shape[1:], dtype="uint8", name="images")
    in_mirror = keras.ops.flip(images, axis=2)  # (batch, height, width, channels)
    both = [network(images), network(in_mirror)]
    return keras.Model(images, layers.Average(dtype="float32", name="logits")(both))


class CommitteeMember(BaseModel):
    """One network of a committee, and the temperature that its logits are divided by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: str
    parameters: dict[str, Any]
    temperature: float = Field(gt=0)


class CommitteeParameters(BaseModel):
    """What `committee` may be told: its members, all for the same images and categories."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: tuple[CommitteeMember, ...] = Field(min_length=2)


def committee(parameters: Mapping[str, Any]) -> keras.Model:
    """Several networks asked the same; the logarithm of the mean of their probabilities.

    Lakshminarayanan, Pritzel and Blundell 2017, "Simple and Scalable Predictive Uncertainty
    Estimation using Deep Ensembles". Costs as much time as all members together; needs no training
    of its own.

    Args:
        parameters: as `CommitteeParameters` says.

    Returns:
        uint8 (batch, height, width, channels) -> float32 logits (batch, categories).

    Raises:
        BundleError: a parameter is missing, unknown or out of its range.
    """
    p = _checked(CommitteeParameters, "committee", parameters)
    members = [build(member.of, member.parameters) for member in p.members]
    return sitting_together(members, [member.temperature for member in p.members])


def sitting_together(members: Sequence[keras.Model], temperatures: Sequence[float]) -> keras.Model:
    """`committee` of networks that are there already; it shares their weights, and renames them."""
    images = keras.Input(shape=members[0].input_shape[1:], dtype="uint8", name="images")
    for number, member in enumerate(members):
        member.name = f"member{number}"  # two members may be of one architecture
    answers = [member(images) for member in members]
    return keras.Model(images, _mean_logits(answers, temperatures), name="committee")


def _mean_logits(answers: Sequence[Any], temperatures: Sequence[float]) -> Any:
    each = [keras.ops.softmax(a / t) for a, t in zip(answers, temperatures, strict=True)]
    mean = sum(each[1:], start=each[0]) / len(each)  # (batch, categories)
    # A probability of 0 has no logarithm; the smallest normal number has.
    return keras.ops.log(keras.ops.maximum(mean, 1.2e-38))


class AdaptedParameters(BaseModel):
    """What `adapted` may be told: another network, and the temperature of its logits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: str
    parameters: dict[str, Any]
    temperature: float = Field(gt=0)


def adapted(parameters: Mapping[str, Any]) -> keras.Model:
    """Another network whose calibrated log-probabilities are adjusted, linearly by themselves and
    by its features: see `adjustment`. Fresh, it adjusts nothing.

    Args:
        parameters: as `AdaptedParameters` says.

    Returns:
        uint8 (batch, height, width, channels) -> float32 logits (batch, categories).

    Raises:
        BundleError: a parameter is missing, unknown or out of its range, or the other network is
            an adapted one itself.
    """
    p = _checked(AdaptedParameters, "adapted", parameters)
    network = build(p.of, p.parameters)
    return with_adjustment(with_features(network, p.of, p.parameters), p.temperature)


def with_adjustment(network: keras.Model, temperature: float) -> keras.Model:
    """`adapted` of what `with_features` gave; its layer `adjust` holds kernel and bias, which take
    log-probabilities and features, in this order.
    """
    images = keras.Input(shape=network.input_shape[1:], dtype="uint8", name="images")
    logits, features = network(images)
    log_probs = keras.ops.log_softmax(logits / temperature)
    told = layers.Concatenate(dtype="float32", name="told")([log_probs, features])
    adjust = layers.Dense(
        logits.shape[-1], kernel_initializer="zeros", dtype="float32", name="adjust"
    )
    return keras.Model(
        images, layers.Add(dtype="float32", name="logits")([log_probs, adjust(told)])
    )


def with_features(network: keras.Model, name: str, parameters: Mapping[str, Any]) -> keras.Model:
    """A network that also gives what it sees; it shares the weights.

    Features are the means over the upper, middle and lower third of what each stage but the first,
    and the head, make of the picture: where in it a thing stands tells a worn garment from the head
    above it. `docs/log.md` has what other forms gave.

    Args:
        network: what `build(name, parameters)` gave.
        name: its architecture.
        parameters: its parameters.

    Returns:
        uint8 (batch, height, width, channels) -> float32 logits (batch, categories), float32
        features (batch, k): of a committee, all members' side by side.

    Raises:
        BundleError: the architecture has no such features.
    """
    images = keras.Input(shape=network.input_shape[1:], dtype="uint8", name="images")
    inner = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    if name == "preact-resnet":
        p = _checked(PreactivationResnetParameters, name, parameters)
        last = [f"stage{i}_block{n - 1}_add" for i, n in enumerate(p.blocks) if i]
        seen = [network.get_layer(layer).output for layer in (*last, "head_relu")]
        thirds = [third for maps in seen for third in _means_of_thirds(maps)]
        features = layers.Concatenate(dtype="float32")(thirds)
        return keras.Model(network.input, [network.output, features], name="with_features")
    if name == "mirrored":
        one = with_features(inner[0], parameters["of"], parameters["parameters"])
        both = zip(one(images), one(keras.ops.flip(images, axis=2)), strict=True)
        return keras.Model(images, [layers.Average(dtype="float32")(pair) for pair in both])
    if name == "committee":
        told = [CommitteeMember.model_validate(member) for member in parameters["members"]]
        members = [
            with_features(member, m.of, m.parameters) for member, m in zip(inner, told, strict=True)
        ]
        for number, member in enumerate(members):
            member.name = f"member{number}_with_features"
        answers = [member(images) for member in members]  # logits, features
        logits = _mean_logits([a for a, _ in answers], [m.temperature for m in told])
        features = layers.Concatenate(dtype="float32")([f for _, f in answers])
        return keras.Model(images, [logits, features])
    raise BundleError(
        f"a network {name!r} cannot be adapted. Adapt the bundle that it was made from again."
    )


def with_head(network: keras.Model, name: str, parameters: Mapping[str, Any]) -> keras.Model:
    """A network that also gives what it sees just before its logits; it shares the weights.

    Products that look alike to the network lie close by in this. It costs nothing beside the
    logits. (What `with_features` gives says more of where a thing stands, and is several times as
    wide.)

    Args:
        network: what `build(name, parameters)` gave.
        name: its architecture.
        parameters: its parameters.

    Returns:
        uint8 (batch, height, width, channels) -> float32 logits (batch, categories), float32
        (batch, k): of a committee, all members' side by side; of an adapted network, what it is
        adapted by.

    Raises:
        BundleError: the architecture sees nothing that could be compared.
    """
    images = keras.Input(shape=network.input_shape[1:], dtype="uint8", name="images")
    inner = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    if name == "preact-resnet":
        seen = network.get_layer("head_pool").output
        return keras.Model(network.input, [network.output, seen], name="with_head")
    if name == "adapted":
        told = network.get_layer("told").output  # log-probabilities, features
        return keras.Model(network.input, [network.output, told[:, network.output_shape[-1] :]])
    if name == "mirrored":
        one = with_head(inner[0], parameters["of"], parameters["parameters"])
        both = zip(one(images), one(keras.ops.flip(images, axis=2)), strict=True)
        return keras.Model(images, [layers.Average(dtype="float32")(pair) for pair in both])
    if name == "committee":
        members = [CommitteeMember.model_validate(member) for member in parameters["members"]]
        answers = []
        for number, (member, m) in enumerate(zip(inner, members, strict=True)):
            one = with_head(member, m.of, m.parameters)
            one.name = f"member{number}_with_head"
            answers.append(one(images))
        logits = _mean_logits([a for a, _ in answers], [m.temperature for m in members])
        head = layers.Concatenate(dtype="float32")([seen for _, seen in answers])
        return keras.Model(images, [logits, head])
    raise BundleError(f"a network {name!r} sees nothing by which products could be compared")


def _means_of_thirds(maps: Any) -> list[Any]:
    """(batch, height, width, channels) -> three times (batch, channels), from top to bottom."""
    height = maps.shape[1]
    edges = [round(height * part / 3) for part in range(4)]
    parts = [maps[:, top : max(bottom, top + 1)] for top, bottom in pairwise(edges)]
    return [layers.GlobalAveragePooling2D()(part) for part in parts]


class SentinelParameters(BaseModel):
    """What `sentinel` may be told.

    `step`: stride of the first convolution. Each stage but the first halves height and width.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_shape: tuple[int, int, int]
    step: int = Field(default=2, ge=1)
    stem: int = Field(default=16, ge=1)
    widths: tuple[int, ...] = Field(default=(24, 48), min_length=1)
    blocks: tuple[int, ...] = Field(default=(1, 2), min_length=1)

    @model_validator(mode="after")
    def _stages_agree(self) -> SentinelParameters:
        _require_stages(self.widths, self.blocks, self.input_shape)
        return self


def sentinel(parameters: Mapping[str, Any]) -> keras.Model:
    """A small network that tells pictures of a model's categories from foreign ones.

    Maximum next to mean over the places: one foreign detail is enough to be foreign.

    Args:
        parameters: as `SentinelParameters` says.

    Returns:
        uint8 (batch, height, width, channels) -> float32 (batch, 1), the logit of being foreign.

    Raises:
        BundleError: a parameter is missing, unknown or out of its range.
    """
    p = _checked(SentinelParameters, "sentinel", parameters)
    images = keras.Input(shape=p.input_shape, dtype="uint8", name="images")
    x = layers.Rescaling(1.0 / 127.5, offset=-1.0, name="rescale")(images)
    x = _conv(p.stem, 5, strides=p.step, name="stem")(x)
    for stage, (width, count) in enumerate(zip(p.widths, p.blocks, strict=True)):
        for block in range(count):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _residual_block(x, width, strides, 0, name=f"stage{stage}_block{block}")
    x = _norm_relu(x, name="head")
    mean = layers.GlobalAveragePooling2D(name="head_mean")(x)
    most = layers.GlobalMaxPooling2D(name="head_most")(x)
    x = layers.Concatenate(name="head_pool")([mean, most])  # (batch, 2 * widths[-1])
    x = layers.Dropout(0.2, name="head_dropout")(x)
    logit = layers.Dense(1, dtype="float32", name="logit")(x)
    return keras.Model(images, logit, name="sentinel")


_Parameters = TypeVar("_Parameters", bound=BaseModel)


def _checked(kind: type[_Parameters], name: str, given: Mapping[str, Any]) -> _Parameters:
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        raise BundleError(
            f"the network parameters {dict(given)!r} do not fit {name!r}: {error}. "
            "Mend the configuration; in a bundle's card, train or copy the bundle again."
        ) from error


def _conv(width: int, size: int, *, strides: int = 1, name: str) -> layers.Conv2D:
    return layers.Conv2D(
        width,
        size,
        strides=strides,
        padding="same",
        use_bias=False,  # a batch norm follows every one of them
        kernel_initializer="he_normal",
        name=name,
    )


def _norm_relu(x: Any, *, name: str) -> Any:
    x = layers.BatchNormalization(momentum=0.98, epsilon=1e-3, name=f"{name}_norm")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _residual_block(x: Any, width: int, strides: int, squeeze: int, *, name: str) -> Any:
    """norm, relu, conv, norm, relu, conv, plus the input (projected where the shape changes)."""
    active = _norm_relu(x, name=f"{name}_a")
    same_shape = strides == 1 and x.shape[-1] == width
    shortcut = x
    if not same_shape:
        # The pool first: a strided 1x1 convolution would drop three of four pixels unseen.
        pooled = active
        if strides > 1:
            pooled = layers.AveragePooling2D(strides, padding="same", name=f"{name}_pool")(active)
        shortcut = _conv(width, 1, name=f"{name}_project")(pooled)
    y = _conv(width, 3, strides=strides, name=f"{name}_conv1")(active)
    y = _conv(width, 3, name=f"{name}_conv2")(_norm_relu(y, name=f"{name}_b"))
    if squeeze:
        y = _weigh_channels(y, max(4, width // squeeze), name=name)
    return layers.Add(name=f"{name}_add")([y, shortcut])


def _weigh_channels(x: Any, bottleneck: int, *, name: str) -> Any:
    """Each channel times a factor from 0 to 1 that all channels' means decide together."""
    w = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    w = layers.Dense(bottleneck, activation="relu", name=f"{name}_squeezed")(w)
    w = layers.Dense(x.shape[-1], activation="sigmoid", name=f"{name}_excite")(w)
    return layers.Multiply(name=f"{name}_weighed")([x, w])


KNOWN: Final[Mapping[str, Callable[[Mapping[str, Any]], keras.Model]]] = {
    "preact-resnet": preactivation_resnet,
    "mirrored": mirrored,
    "committee": committee,
    "adapted": adapted,
    "sentinel": sentinel,
}
"""Every architecture by the name that a card uses for it."""


def build(name: str, parameters: Mapping[str, Any]) -> keras.Model:
    """The network `name`, freshly initialised under Keras's current dtype policy.

    Raises:
        BundleError: there is no such architecture, or its parameters do not fit.
    """
    try:
        architecture = KNOWN[name]
    except KeyError:
        raise BundleError(
            f"there is no network {name!r} in this version; known are {sorted(KNOWN)}. "
            "Use the version of Atelier that made the bundle, or name a known network."
        ) from None
    return architecture(parameters)


def side_by_side(classifier: keras.Model, sentinel: keras.Model) -> keras.Model:
    """Both networks as one, which gives the classifier's outputs and the sentinel's logit for the
    same images.
    """
    return keras.Model(classifier.input, [*classifier.outputs, sentinel(classifier.input)])


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Layers made inside have the dtype policy `name`; the one before is put back after."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def fastest_dtype_policy() -> str:
    """`mixed_bfloat16` where the machine multiplies in bfloat16, `float32` elsewhere.

    Emulated, it is three times slower than float32 (seen: 255 against 779 images/s). What a
    processor does is read from /proc/cpuinfo; where there is none, it is taken for one without.
    """
    if keras.distribution.list_devices("gpu") or keras.distribution.list_devices("tpu"):
        return "mixed_bfloat16"
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "float32"
    flags = set(described.split())
    return "mixed_bfloat16" if flags & {"avx512_bf16", "amx_bf16", "bf16"} else "float32"


def compiles_for_itself() -> bool:
    """What to set `jit_compile` to.

    JAX is nothing without its compiler. For TensorFlow's networks of this size XLA on a CPU is a
    fifth slower than the backend's own convolutions (2,450 against 3,000 images/s on two cores).
    """
    return bool(keras.backend.backend() == "jax")
