"""What file names say: pictures, noise, skus."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagging.catalog.naming import (
    is_image_name,
    is_noise,
    nfc,
    nfd,
    product_names,
    skip_reason,
    sku_problem,
)
from tagging.domain import FailureCode


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("a.jpg", True),
        ("a.JPEG", True),
        ("a.jpe", True),
        ("a.jfif", True),
        ("a.tif", True),
        ("a.b.avif", True),
        ("a.jpg.txt", False),
        ("jpg", False),
        ("a.", False),
        ("a.svg", False),
        ("a.jpg ", False),
    ],
)
def test_image_names(name: str, image: bool) -> None:
    assert is_image_name(name) is image


@pytest.mark.parametrize(
    "name", [".DS_Store", "._a.jpg", ".hidden", "__MACOSX", "Thumbs.db", "THUMBS.DB", "desktop.ini"]
)
def test_noise(name: str) -> None:
    assert is_noise(name)


def test_only_noise_is_noise() -> None:
    assert not is_noise("a.jpg")


@pytest.mark.parametrize(
    ("names", "products"),
    [
        (["a.jpg", "b.png"], ["a", "b"]),
        (["a.jpg", "a.png"], ["a.jpg", "a.png"]),
        (["a.jpg", "a.JPG"], ["a.jpg", "a.JPG"]),
        (["a.jpg", "a.png", "a.jpg.gif"], ["a.jpg", "a.png", "a.jpg.gif"]),
        (
            ["a.jpg", "a.png", "a.jpg.gif", "a.jpg.gif.bmp"],
            ["a.jpg", "a.png", "a.jpg.gif", "a.jpg.gif.bmp"],
        ),
        (["a.b.jpg", "a.c.jpg"], ["a.b", "a.c"]),
        (["e\u0301.jpg"], ["\u00e9"]),
        (["e\u0301.jpg", "\u00e9.png"], ["\u00e9.jpg", "\u00e9.png"]),
        (["\u00e9.jpg", "e\u0301.jpg"], ["\u00e9", None]),
    ],
)
def test_product_names(names: list[str], products: list[str | None]) -> None:
    assert list(product_names(names).values()) == products


FILE_NAMES = st.lists(
    st.text(alphabet="ae\u0301\u00e9.", min_size=1, max_size=4).flatmap(
        lambda stem: st.sampled_from([".jpg", ".png", ".jpg.png", ".png.jpg"]).map(stem.__add__)
    ),
    unique=True,
)


@settings(deadline=None)
@given(FILE_NAMES)
def test_no_two_files_share_a_product_name(names: list[str]) -> None:
    products = product_names(names)
    given_names = [part for part in products.values() if part is not None]
    assert len(set(given_names)) == len(given_names)
    assert len(given_names) == len({unicodedata.normalize("NFC", name) for name in names})
    assert products.keys() == set(names)


@settings(deadline=None)
@given(FILE_NAMES.flatmap(lambda names: st.tuples(st.just(names), st.permutations(names))))
def test_product_names_do_not_depend_on_order(orders: tuple[list[str], list[str]]) -> None:
    first, second = (
        {unicodedata.normalize("NFC", n): p for n, p in product_names(o).items() if p is not None}
        for o in orders
    )
    assert first == second


@pytest.mark.parametrize(
    ("sku", "says"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("x" * 201, "201 characters"),
        ("a\nb", "control"),
        ("a\x00", "control"),
        ("a\x7fb", "control"),
        ("a\x85b", "control"),
        ("a\u2028b", "control"),
        ("a\ud800", "control"),
    ],
)
def test_bad_skus(sku: str, says: str) -> None:
    problem = sku_problem(sku)
    assert problem is not None
    assert says in problem


@pytest.mark.parametrize("sku", ["1", "x" * 200, "Größe 38/½", "商品", "a\u200db", "\u00a0a"])
def test_good_skus(sku: str) -> None:
    assert sku_problem(sku) is None


def test_a_manifest_among_images_says_how_to_read_it() -> None:
    for in_archive, says in ((False, "atelier ingest 'sub/p.csv'"), (True, "top of the archive")):
        code, why = skip_reason("sub/p.csv", in_archive=in_archive)
        assert code is FailureCode.NESTED
        assert says in why


def test_names_are_compared_in_one_form() -> None:
    assert nfc("u\u0308ber") == "über"
    assert nfd("über") == "u\u0308ber"
    thirty = "a" + "\u0323" * 30
    assert nfd(nfc(thirty)) == thirty


def test_marks_without_end_are_parted_and_not_sorted() -> None:
    """Python takes the square of their number, and lets nobody else run meanwhile: of a million
    of them, half an hour.
    """
    for normal in (nfc, nfd):
        found = normal("a" + "\u0301" * 500_000 + "\u0323" * 500_000)
        assert normal(found) == found
        assert max(map(len, found.split("\u034f"))) <= 32


@given(st.text(st.sampled_from("aü\u0301\u0323\u034f한\u1100\u1161"), max_size=80))
def test_what_was_normal_stays_so(text: str) -> None:
    assert nfc(nfc(text)) == nfc(text)
    if len(text) <= 30:
        assert nfc(text) == unicodedata.normalize("NFC", text)
