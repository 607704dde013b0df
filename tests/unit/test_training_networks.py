"""Architectures: what they give, what they refuse, and what a mirror changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tagging.errors import BundleError

# Keras 3.15 reads its own variables with numpy's old protocol; nothing of ours to mend.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

SMALL: dict[str, Any] = {
    "input_shape": [12, 8, 3],
    "categories": 4,
    "stem": 4,
    "widths": [4, 8],
    "blocks": [1, 1],
    "squeeze": 2,
}


def pictures(n: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 12, 8, 3), dtype=np.uint8)


def test_a_mirror_is_the_mean_of_both_views() -> None:
    from model_training.networks import build, seen_in_a_mirror

    core = build("preact-resnet", SMALL)
    both = seen_in_a_mirror(core)
    images = pictures()
    one, other = core.predict_on_batch(images), core.predict_on_batch(images[:, :, ::-1])
    np.testing.assert_allclose(both.predict_on_batch(images), (one + other) / 2, atol=1e-5)
    # So that the picture and its mirror image get the very same answer.
    np.testing.assert_allclose(
        both.predict_on_batch(images), both.predict_on_batch(images[:, :, ::-1]), atol=1e-5
    )


def test_a_mirrored_network_is_built_from_its_card_and_takes_the_same_weights(
    tmp_path: Any,
) -> None:
    from model_training.networks import build, seen_in_a_mirror

    one = seen_in_a_mirror(build("preact-resnet", SMALL))
    one.save_weights(tmp_path / "w.weights.h5")
    two = build("mirrored", {"of": "preact-resnet", "parameters": SMALL})
    two.load_weights(tmp_path / "w.weights.h5")
    images = pictures()
    np.testing.assert_allclose(one.predict_on_batch(images), two.predict_on_batch(images))


def test_a_step_reduces_what_the_blocks_see() -> None:
    from model_training.networks import build

    wide = build("preact-resnet", SMALL | {"step": 2})
    assert wide.get_layer("stem").output.shape[1:3] == (6, 4)
    assert wide.output_shape == (None, 4)


def test_the_sentinel_gives_one_number() -> None:
    from model_training.networks import build

    sentinel = build(
        "sentinel", {"input_shape": [12, 8, 3], "stem": 4, "widths": [4], "blocks": [1]}
    )
    assert sentinel.predict_on_batch(pictures()).shape == (5, 1)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("preact-resnet", SMALL | {"widths": [4]}, "need one entry per stage"),
        ("preact-resnet", SMALL | {"step": 0}, "do not fit 'preact-resnet'"),
        ("mirrored", {"of": "none", "parameters": {}}, "there is no network 'none'"),
        ("mirrored", {"of": "preact-resnet"}, "do not fit 'mirrored'"),
        ("sentinel", {"input_shape": [12, 8, 3], "widths": [4]}, "need one entry per stage"),
        ("sentinel", {"input_shape": [12, 8, 3], "depth": 2}, "do not fit 'sentinel'"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, parameters: dict[str, Any], message: str) -> None:
    from model_training.networks import build

    with pytest.raises(BundleError, match=message):
        build(name, parameters)
