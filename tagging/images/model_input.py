"""Pixels -> the array that the network eats. Training and serving both come through here.

The functions are pure: the same picture and the same spec give the same bytes, on any machine with
the same Pillow. Whoever changes what a function here (or in `decode`, `colour`) makes of a picture
raises `PREPROCESSING_VERSION`: predictions are kept by it, and a bundle is only good for the one
that it was trained with. Mending what comes out wrong of a kind that was never trained on does not.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

PREPROCESSING_VERSION: Final = "1"

_DETAIL: Final = {"fashion-mnist": 4, "photo": 2}
"""How many times finer than the model's own edge a picture is kept until the last resize. Twice is
what a filter that averages needs (measured at 128 x 128: 0.5 of 255 mean difference from the full
scale); trimming enlarges what is left, hence twice that again."""

BACKGROUND_TOLERANCE: Final = 0.05
"""Zalando trimmed what lies within 5 % of the full range of the corner's colour."""

_EDGE_FILTER: Final = ImageFilter.UnsharpMask(radius=1, percent=50, threshold=0)


class ModelInput(Protocol):
    """The part of a card's `InputSpec` that is read here.

    A protocol, so that the decoder child need not import pydantic to describe an input.
    """

    @property
    def kind(self) -> str: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def channels(self) -> int: ...


def detail_edge(spec: ModelInput) -> int:
    """The longest edge, in pixels, below which a picture must not be reduced before its last step.

    Raises:
        ValueError: this version knows no preprocessing of `spec.kind`.
    """
    if spec.kind not in _DETAIL:
        raise ValueError(
            f"no preprocessing of kind {spec.kind!r} in this version; "
            f"known are {', '.join(map(repr, _DETAIL))}."
        )
    return _DETAIL[spec.kind] * max(spec.height, spec.width)


def to_model_input(image: Image.Image, spec: ModelInput) -> npt.NDArray[np.uint8]:
    """The network's input for one upright picture, as `tagging.images.decode` makes it.

    Args:
        image: mode "L" or "RGB", sRGB, 8 bits a channel, any size (even 0 x 0: all background).
        spec: the input spec of the model's card.

    Returns:
        (height, width, channels) uint8, 0 to 255; a fresh array.

    Raises:
        ValueError: `spec.kind` or the picture's mode is none of those above.
    """
    if image.mode not in ("L", "RGB"):
        raise ValueError(
            f"to_model_input needs a picture of mode L or RGB, got {image.mode!r}. "
            "Read it with tagging.images.decode.decode_image."
        )
    edge = detail_edge(spec)
    if spec.kind == "fashion-mnist":
        grey = _fashion_mnist_pixels(image, spec, edge)
        return np.repeat(grey[:, :, np.newaxis], spec.channels, axis=2)  # (h, w, c)
    return _photo_pixels(image, spec, edge)


def _fashion_mnist_pixels(image: Image.Image, spec: ModelInput, edge: int) -> npt.NDArray[np.uint8]:
    """A picture by the steps that Zalando made Fashion-MNIST with; (height, width) uint8.

    Xiao, Rasul, Vollgraf 2017, "Fashion-MNIST", section 2: trim, longest edge to 28 by subsampling,
    sharpen, extend to 28 x 28 around the centre, negate, grey. Zalando's pictures were all shot on
    white; a retailer's are not, so the steps are adapted where they would rely on that:

    1. *Already in the model's own form* (mode L, exactly this size, border darker than the middle
       of the range on average; true of all 70,000): returned bit for bit. Trimming or scaling it
       again would only blur what the model was trained on.
    2. *Grey*: ITU-R 601 luma. Colour is not in the set.
    3. *Negate against the ground*: see `_against_ground`. First, not last as in the paper, so that
       everything after it works on "0 is ground", whatever the ground was.
    4. *Trim*: see `_product_box`.
    5. *Longest edge to 28 by area-averaging* (BOX). Zalando skipped rows and columns, which aliases
       (a pin-stripe appears or not by one pixel's luck), then sharpened. The exact mean over each
       output pixel's area has no aliasing and no ringing, and is the fastest.
    6. *Sharpen mildly*: Zalando used a Gaussian of radius and deviation 1.0. Measured on shop
       photos of t-shirts, shoes, bags and sandals, the energy of the Laplacian over the variance is
       1.0, 0.8, 1.0, 0.9 without (0.9 to 1.0 with LANCZOS); in Fashion-MNIST 1.3, 1.8, 1.6, 3.1.
       Half of the Gaussian's unsharp mask gives 1.6, 1.4, 1.7, 1.5; all of it overshoots (2.1).
    7. *Centre on black*.
    """
    width, height = spec.width, spec.height
    if image.mode == "L" and image.size == (width, height):
        pixels = np.array(image)  # (height, width) uint8, a copy
        if _border(pixels).mean() < 128:
            return pixels
    canvas = np.zeros((height, width), dtype=np.uint8)
    if 0 in image.size:
        return canvas
    grey = _coarse(image, edge).convert("L")
    values = _against_ground(grey)
    box = _product_box(np.asarray(values))
    product = _scaled(values, box, spec, Image.Resampling.BOX).filter(_EDGE_FILTER)
    top, left = (height - product.height) // 2, (width - product.width) // 2
    canvas[top : top + product.height, left : left + product.width] = np.asarray(product)
    return canvas


def _photo_pixels(image: Image.Image, spec: ModelInput, edge: int) -> npt.NDArray[np.uint8]:
    """Letterboxed on white; (h, w, c) uint8.

    Letterbox, not centre crop: shop photos are tall, and a crop cuts off the very parts that tell
    a dress from a top, or boots from shoes. White, because that is the ground of most shop photos
    and the colour that transparent pixels get, so the seam is invisible where it can be. BILINEAR
    (in Pillow a triangle as wide as the reduction asks, so without aliasing): of its filters the
    one that differs least when a JPEG was decoded at reduced scale.
    """
    mode = "L" if spec.channels == 1 else "RGB"
    canvas = Image.new(mode, (spec.width, spec.height), "white")
    if 0 not in image.size:
        picture = _coarse(image, edge).convert(mode)
        whole = (0, 0, picture.width, picture.height)
        scaled = _scaled(picture, whole, spec, Image.Resampling.BILINEAR)
        canvas.paste(scaled, ((spec.width - scaled.width) // 2, (spec.height - scaled.height) // 2))
    return np.array(canvas).reshape(spec.height, spec.width, spec.channels)


def _coarse(image: Image.Image, edge: int) -> Image.Image:
    """`image` averaged down by a whole factor, its longest edge still at least `edge`.

    Keeps time and memory of the later steps in hand: a 50-megapixel picture would otherwise be
    copied several times at full size to end as 28 x 28.
    """
    factor = max(image.size) // edge
    return image.reduce(factor) if factor > 1 else image


def _border(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The outermost pixels of (h, w), each once or (corners, single rows) twice; (n,) uint8."""
    return np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))


def _against_ground(grey: Image.Image) -> Image.Image:
    """Mode L -> mode L: how far each pixel is from the ground, 0 to 255.

    The ground b is the median of the border: it stays right while the garment (a sleeve, a hem)
    touches less than half of it, where Zalando's corner pixel or a mean would not. Then
    value = |g - b| * 255 / max(b, 255 - b): plain negation on white (b = 255), identity on black
    (b = 0, so a product on black isn't negated), and on a tinted ground both darker and lighter
    garments rise from 0, which a negation alone would push under the ground.
    """
    ground = float(np.median(_border(np.asarray(grey))))
    distance = np.abs(np.arange(256) - ground) * (255.0 / max(ground, 255.0 - ground))  # (256,)
    return grey.point([round(value) for value in distance.tolist()])


def _product_box(values: npt.NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what rises from the ground.

    `values`: (h, w) uint8, 0 is ground. A pixel counts if it differs by more than 5 % of the range
    and at least two of its eight neighbours do: a speck of dust or of JPEG noise, one or two pixels
    large, would otherwise keep the box at the whole picture, while a strap or a heel one pixel
    wide still counts. Where only specks rise, they are the product. Where nothing rises, the whole
    picture stays: as good as all dark, which the classifier flags as strange.
    """
    rises = values > BACKGROUND_TOLERANCE * 255  # (h, w) bool
    if not rises.any():
        return 0, 0, values.shape[1], values.shape[0]
    padded = np.pad(rises, 1).astype(np.uint8)  # (h + 2, w + 2)
    across = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    around = across[:-2] + across[1:-1] + across[2:]  # (h, w), itself included
    solid = rises & (around >= 3)
    if not solid.any():
        solid = rises
    rows = np.flatnonzero(solid.any(axis=1))
    columns = np.flatnonzero(solid.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _scaled(
    image: Image.Image,
    box: tuple[int, int, int, int],
    spec: ModelInput,
    shrink: Image.Resampling,
) -> Image.Image:
    """The part `box` of `image` in its own proportions, as large as fits the spec's input.

    Enlarging is BILINEAR: area-averaging would only repeat pixels.
    """
    across, down = box[2] - box[0], box[3] - box[1]
    scale = min(spec.width / across, spec.height / down)
    size = (
        min(spec.width, max(1, round(across * scale))),
        min(spec.height, max(1, round(down * scale))),
    )
    return image.resize(size, shrink if scale <= 1 else Image.Resampling.BILINEAR, box=box)
