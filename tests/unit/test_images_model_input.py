"""Pixels -> model input: the set's own pictures bit for bit, polarity, trimming, letterbox."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from tagging.images.model_input import detail_edge, to_model_input
from tagging.model_card import InputSpec

GREY28 = InputSpec(kind="fashion-mnist", height=28, width=28, channels=1)
PHOTO = InputSpec(kind="photo", height=48, width=32, channels=3)

Pixels = npt.NDArray[np.uint8]


def fashion(pixels: Pixels) -> Pixels:
    return to_model_input(Image.fromarray(pixels), GREY28)[:, :, 0]


def shirt_on(ground: int, garment: int, *, size: int = 120) -> Pixels:
    """A tall rectangle off the centre; (size, size) uint8."""
    pixels = np.full((size, size), ground, dtype=np.uint8)
    pixels[10:90, 30:70] = garment
    return pixels


@given(hnp.arrays(np.uint8, (28, 28)))
@settings(max_examples=50)
def test_a_picture_in_the_models_own_form_passes_bit_for_bit(pixels: Pixels) -> None:
    pixels[[0, -1], :] = pixels[:, [0, -1]] = 3  # a dark border
    np.testing.assert_array_equal(fashion(pixels), pixels)


def test_all_real_test_pictures_pass_bit_for_bit(data_dir: Path) -> None:
    [path] = (data_dir / "fashion-mnist").glob("t10k-images*")
    raw = path.read_bytes()
    raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    pictures = np.frombuffer(raw, dtype=np.uint8, offset=16).reshape(-1, 28, 28)
    assert len(pictures) == 10_000
    passed = np.stack([fashion(picture) for picture in pictures])
    np.testing.assert_array_equal(passed, pictures)


def test_the_answer_is_a_copy() -> None:
    pixels = np.zeros((28, 28), dtype=np.uint8)
    fashion(pixels)[:] = 9
    assert pixels.max() == 0


def test_a_28x28_photo_with_a_bright_border_is_processed() -> None:
    pixels = shirt_on(255, 0, size=28)
    assert fashion(pixels)[0, 0] == 0


@pytest.mark.parametrize(
    ("ground", "garment", "value"),
    [
        (255, 55, 200),  # on white: plain negation
        (0, 200, 200),  # on black: as it is, not negated again
        (200, 0, 255),  # darker than a tinted ground
        (128, 255, 253),  # lighter than a tinted ground: 127 * 255 / 128
        (200, 255, 70),  # 55 * 255 / 200
    ],
)
def test_the_garment_rises_from_a_black_ground_whatever_the_ground_was(
    ground: int, garment: int, value: int
) -> None:
    result = fashion(shirt_on(ground, garment))
    # 80 x 40 of product: 28 high, 14 wide, centred, nothing left of the ground.
    assert (result[:, 7:21] == value).all()
    assert (result[:, :7] == 0).all()
    assert (result[:, 21:] == 0).all()


def test_colour_becomes_luma() -> None:
    pixels = np.full((64, 64, 3), 255, dtype=np.uint8)
    pixels[16:48, 16:48] = (255, 0, 0)
    result = fashion(pixels)
    assert result[14, 14] == 255 - 76  # ITU-R 601: 0.299 * 255


def test_specks_and_compression_noise_do_not_widen_the_box() -> None:
    clean = shirt_on(255, 20)
    noisy = clean.copy()
    noisy[clean == 255] -= (
        np.random.default_rng(1).integers(0, 10, (clean == 255).sum()).astype(np.uint8)
    )
    noisy[2, 5] = noisy[115, 110] = noisy[116, 110] = 0  # dust, one and two pixels large
    difference = np.abs(fashion(noisy).astype(int) - fashion(clean))
    assert difference.max() <= 12


def test_a_thin_strap_stays_in_the_box() -> None:
    pixels = np.full((100, 100), 255, dtype=np.uint8)
    pixels[50:90, 20:80] = 0
    pixels[10:50, 50] = 0
    with_strap = fashion(pixels)
    assert with_strap[:5].max() > 0
    assert with_strap[:5].mean() < 30


def test_a_garment_that_touches_part_of_the_border_leaves_the_ground_alone() -> None:
    pixels = np.full((100, 100), 255, dtype=np.uint8)
    pixels[:, 30:70] = 30  # cut off above and below: 20 % of the border
    result = fashion(pixels)
    assert result[14, 14] == 225
    assert result[0, 0] == 0


@pytest.mark.parametrize("ground", [0, 97, 255])
def test_nothing_but_ground_is_all_dark(ground: int) -> None:
    assert fashion(np.full((60, 90), ground, dtype=np.uint8)).max() == 0


def test_the_longest_edge_fills_the_input_and_proportions_stay() -> None:
    pixels = np.full((100, 200), 255, dtype=np.uint8)
    pixels[40:60, 20:180] = 0  # 160 x 20
    result = fashion(pixels)
    rows = np.flatnonzero(result.max(axis=1) > 100)
    columns = np.flatnonzero(result.max(axis=0) > 100)
    assert (len(columns), len(rows)) == (28, 4)
    assert rows[0] == 12


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 300), st.integers(1, 40), st.just(3))),
    st.sampled_from([GREY28, PHOTO]),
)
@settings(max_examples=60, deadline=None)
def test_any_picture_of_any_shape_gives_the_announced_array(
    pixels: Pixels, spec: InputSpec
) -> None:
    result = to_model_input(Image.fromarray(pixels), spec)
    assert result.shape == (spec.height, spec.width, spec.channels)
    assert result.dtype == np.uint8


@pytest.mark.parametrize("spec", [GREY28, PHOTO])
def test_a_picture_without_pixels_is_ground(spec: InputSpec) -> None:
    result = to_model_input(Image.new("RGB", (0, 5)), spec)
    assert np.unique(result).tolist() == [0 if spec is GREY28 else 255]


def test_a_grey_model_with_three_channels_gets_three_equal_ones() -> None:
    spec = InputSpec(kind="fashion-mnist", height=28, width=28, channels=3)
    result = to_model_input(Image.fromarray(shirt_on(255, 0)), spec)
    np.testing.assert_array_equal(result[:, :, 0], result[:, :, 2])


def test_a_photo_is_letterboxed_on_white() -> None:
    picture = Image.new("RGB", (200, 100), (10, 20, 30))
    result = to_model_input(picture, PHOTO)  # 32 wide: 16 high, in the middle of 48
    assert (result[16:32] == (10, 20, 30)).all()
    assert (result[:16] == 255).all()
    assert (result[32:] == 255).all()


def test_what_is_not_known_is_refused_with_what_is() -> None:
    with pytest.raises(ValueError, match="needs a picture of mode L or RGB, got 'CMYK'"):
        to_model_input(Image.new("CMYK", (5, 5)), GREY28)
    unknown = GREY28.model_copy(update={"kind": "sketch"})
    with pytest.raises(ValueError, match="known are 'fashion-mnist', 'photo'"):
        to_model_input(Image.new("L", (5, 5)), unknown)


def test_detail_is_kept_until_the_last_step() -> None:
    assert detail_edge(GREY28) == 112
    assert detail_edge(PHOTO) == 96
