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


COMMITTEE: dict[str, Any] = {
    "members": [
        {"of": "preact-resnet", "parameters": SMALL, "temperature": 0.5},
        {
            "of": "mirrored",
            "parameters": {"of": "preact-resnet", "parameters": SMALL},
            "temperature": 2.0,
        },
    ]
}


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def test_a_committee_gives_the_mean_of_its_members_probabilities() -> None:
    from model_training.networks import build, sitting_together

    members = [build(m["of"], m["parameters"]) for m in COMMITTEE["members"]]
    alone = [member.predict_on_batch(pictures()) for member in members]
    together = sitting_together(members, [0.5, 2.0]).predict_on_batch(pictures())
    expected = (softmax(alone[0] / 0.5) + softmax(alone[1] / 2.0)) / 2
    np.testing.assert_allclose(softmax(together), expected, atol=1e-6)


def test_what_no_member_holds_possible_has_a_finite_logit() -> None:
    from model_training.networks import build, sitting_together

    members = [build("preact-resnet", SMALL) for _ in range(2)]
    for member in members:
        head = member.get_layer("logits")
        head.set_weights([head.get_weights()[0] * 0, np.array([0, 500, 0, 0])])
    logits = sitting_together(members, [1.0, 1.0]).predict_on_batch(pictures())
    assert np.isfinite(logits).all()
    assert (logits.argmax(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("name", "parameters", "features"),
    [
        ("preact-resnet", SMALL, 3 * (8 + 8)),
        ("mirrored", {"of": "preact-resnet", "parameters": SMALL}, 3 * (8 + 8)),
        ("committee", COMMITTEE, 2 * 3 * (8 + 8)),
    ],
)
def test_features_come_beside_the_same_logits(
    name: str, parameters: dict[str, Any], features: int
) -> None:
    from model_training.networks import build, with_features

    network = build(name, parameters)
    logits, seen = with_features(network, name, parameters).predict_on_batch(pictures())
    np.testing.assert_allclose(logits, network.predict_on_batch(pictures()), atol=1e-5)
    assert seen.shape == (5, features)
    assert (seen.std(axis=0) > 0).any()


def test_features_say_where_in_the_picture_a_thing_is() -> None:
    from model_training.networks import build, with_features

    plain = SMALL | {"squeeze": 0}  # a squeeze tells every place of every other
    network = with_features(build("preact-resnet", plain), "preact-resnet", plain)
    picture = pictures(1)
    changed = picture.copy()
    changed[:, 10:] = 255 - changed[:, 10:]  # the lowest of 12 rows
    (_, before), (_, after) = network.predict_on_batch(picture), network.predict_on_batch(changed)
    moved = np.abs(after - before)[0].reshape(6, 8).max(axis=1)  # two layers, three thirds each
    assert moved[2] > 0
    assert moved[0] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("of", "parameters"), [("preact-resnet", SMALL), ("committee", COMMITTEE)])
def test_fresh_adapted_networks_adjust_nothing_and_take_weights_back(
    of: str, parameters: dict[str, Any], tmp_path: Any
) -> None:
    from model_training.networks import build, with_adjustment, with_features

    base = build(of, parameters)
    one = with_adjustment(with_features(base, of, parameters), 2.0)
    np.testing.assert_allclose(
        softmax(one.predict_on_batch(pictures())),
        softmax(base.predict_on_batch(pictures()) / 2),
        atol=1e-6,
    )
    kernel, bias = one.get_layer("adjust").get_weights()
    one.get_layer("adjust").set_weights([kernel + 0.01, bias + np.arange(4)])
    one.save_weights(tmp_path / "w.weights.h5")
    two = build("adapted", {"of": of, "parameters": parameters, "temperature": 2.0})
    two.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_allclose(
        one.predict_on_batch(pictures()), two.predict_on_batch(pictures()), atol=1e-6
    )


def test_an_adapted_network_is_not_adapted_again() -> None:
    from model_training.networks import build, with_features

    told = {"of": "preact-resnet", "parameters": SMALL, "temperature": 1.0}
    with pytest.raises(BundleError, match="'adapted' cannot be adapted"):
        with_features(build("adapted", told), "adapted", told)


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
        ("committee", {"members": COMMITTEE["members"][:1]}, "do not fit 'committee'"),
        (
            "adapted",
            {"of": "preact-resnet", "parameters": SMALL, "temperature": 0},
            "do not fit 'adapted'",
        ),
        ("mirrored", {"of": "preact-resnet"}, "do not fit 'mirrored'"),
        ("sentinel", {"input_shape": [12, 8, 3], "widths": [4]}, "need one entry per stage"),
        ("sentinel", {"input_shape": [12, 8, 3], "depth": 2}, "do not fit 'sentinel'"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, parameters: dict[str, Any], message: str) -> None:
    from model_training.networks import build

    with pytest.raises(BundleError, match=message):
        build(name, parameters)


@pytest.mark.parametrize(
    ("name", "parameters", "width"),
    [
        ("preact-resnet", SMALL, 8),
        ("mirrored", {"of": "preact-resnet", "parameters": SMALL}, 8),
        ("committee", COMMITTEE, 2 * 8),
        (
            "adapted",
            {"of": "preact-resnet", "parameters": SMALL, "temperature": 2.0},
            3 * (8 + 8),
        ),
    ],
)
def test_what_the_head_sees_comes_beside_the_same_logits(
    name: str, parameters: dict[str, Any], width: int
) -> None:
    from model_training.networks import build, with_head

    network = build(name, parameters)
    logits, seen = with_head(network, name, parameters).predict_on_batch(pictures())
    np.testing.assert_allclose(logits, network.predict_on_batch(pictures()), atol=1e-5)
    assert seen.shape == (5, width)
    assert (seen.std(axis=0) > 0).any()


def test_a_sentinel_sees_nothing_to_compare_by() -> None:
    from model_training.networks import build, with_head

    told = {"input_shape": (12, 12, 1), "stem": 4, "widths": [4], "blocks": [1]}
    with pytest.raises(BundleError, match="'sentinel' sees nothing"):
        with_head(build("sentinel", told), "sentinel", told)
