"""Photos with labels, decoded: what is kept, what is left out, and what `find_source` finds."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from model_training.datasets.deliveries import list_folder
from model_training.datasets.files import LabelledFile
from model_training.datasets.labelled import LabelledImages, Merged
from model_training.datasets.photos import DecodedPhotos, Decoding, decode_photos
from model_training.datasets.sources import PhotoOptions, find_source
from tagging.errors import TrainingDataError
from tagging.images.decode import decode_image
from tagging.images.model_input import to_model_input
from tagging.images.rejection import ImageLimits
from tagging.model_card import InputSpec

QUIET = Console(quiet=True)
SPEC = InputSpec(kind="photo", height=32, width=32, channels=3)


def photo(number: int) -> bytes:
    """A PNG of its own, taller than wide."""
    pixels = np.random.default_rng(number).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((40, 60), Image.Resampling.NEAREST).save(stream, "PNG")
    return stream.getvalue()


def write_photos(root: Path, folder: str, numbers: Sequence[int]) -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (root / folder / f"{number}.png").write_bytes(photo(number))
    return root


def load(data: Path, cache: Path, console: Console = QUIET, **options: object) -> LabelledImages:
    return find_source(
        str(data),
        data_dir=None,
        cache_dir=cache,
        console=console,
        options=PhotoOptions(**{"image_size": 32, "min_per_class": 2, **options}),  # type: ignore[arg-type]
    ).load()


def named(data: LabelledImages) -> list[str]:
    return [data.categories[label].name for label in data.labels.tolist()]


class TestFolderPerClass:
    def test_pixels_labels_and_parents(self, tmp_path: Path) -> None:
        shop = write_photos(tmp_path / "shop", "apparel/shirts", range(3))
        write_photos(shop, "hats", range(3, 5))
        data = load(shop, tmp_path / "cache")
        assert named(data) == ["shirts"] * 3 + ["hats"] * 2
        assert [(c.name, c.parent) for c in data.categories] == [
            ("hats", None),
            ("shirts", "apparel"),
        ]
        assert [(c.name, c.parent) for c in data.parents] == [("apparel", None)]
        assert data.spec == SPEC
        for number, pixels in enumerate(data.images):
            served = to_model_input(decode_image(photo(number), ImageLimits()), SPEC)
            assert (pixels == served).all()
        assert data.products is not None
        assert len(set(data.products.tolist())) == 5
        assert len(set(data.digests)) == 5
        assert data.facts() == {
            "options": {
                "label": None,
                "parents": [],
                "min_per_class": 2,
                "input": "photo",
                "image_size": 32,
            },
            "merged": [],
            "left_out": 0,
        }
        assert PhotoOptions.from_dict(data.options).spec == SPEC

    def test_grey_cut_outs(self, tmp_path: Path) -> None:
        shop = write_photos(write_photos(tmp_path / "shop", "a", [1, 2]), "b", [3, 4])
        data = load(shop, tmp_path / "cache", input="fashion-mnist")
        assert data.images.shape == (4, 28, 28, 1)
        assert data.spec == InputSpec(kind="fashion-mnist", height=28, width=28, channels=1)

    def test_small_classes_are_merged_and_told(self, tmp_path: Path) -> None:
        shop = write_photos(tmp_path / "shop", "apparel/shirts", range(4))
        write_photos(shop, "apparel/skirts", range(4, 6))
        write_photos(shop, "apparel/capes", [6])
        write_photos(shop, "hats", [7])
        data = load(shop, tmp_path / "cache", min_per_class=3)
        assert [c.name for c in data.categories] == ["apparel (other)", "other", "shirts"]
        assert named(data).count("apparel (other)") == 3
        assert data.merged == (
            Merged(category="capes", images=1, into="apparel (other)"),
            Merged(category="hats", images=1, into="other"),
            Merged(category="skirts", images=2, into="apparel (other)"),
        )
        assert {"category": "hats", "images": 1, "into": "other"} in data.facts()["merged"]

    def test_broken_and_contradicting_photos_are_left_out_with_the_reason(
        self, tmp_path: Path
    ) -> None:
        shop = write_photos(write_photos(tmp_path / "shop", "a", range(3)), "b", range(3, 6))
        (shop / "a/broken.png").write_bytes(photo(9)[:-200])
        (shop / "b/text.jpg").write_text("no picture")
        write_photos(shop, "a", [7])
        write_photos(shop, "b", [7])
        data = load(shop, tmp_path / "cache")
        assert named(data) == ["a"] * 3 + ["b"] * 3
        told = {one.where: one.why for one in data.left_out}
        assert told.keys() == {"a/broken.png", "b/text.jpg", "a/7.png", "b/7.png"}
        assert told["a/broken.png"].startswith("unreadable: ")
        assert told["b/text.jpg"].startswith("unsupported_format: ")
        assert "the same photo stands under 'a' and 'b'" in told["a/7.png"]
        assert data.facts()["left_out"] == 4

    def test_broken_photos_do_not_count_for_the_size_of_a_class(self, tmp_path: Path) -> None:
        shop = write_photos(write_photos(tmp_path / "shop", "a", range(3)), "b", range(3, 6))
        write_photos(shop, "c", [6])
        (shop / "c/broken.png").write_bytes(photo(9)[:-200])
        assert load(shop, tmp_path / "cache").merged == (
            Merged(category="c", images=1, into="other"),
        )

    def test_nothing_that_can_be_used_is_an_error(self, tmp_path: Path) -> None:
        shop = write_photos(write_photos(tmp_path / "shop", "a", [1]), "b", [1])
        with pytest.raises(TrainingDataError, match=r"no photo that can be used \(2 left out: "):
            load(shop, tmp_path / "cache")


class TestManifest:
    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    def test_label_and_parents_from_columns(self, tmp_path: Path, form: str) -> None:
        shop = write_photos(tmp_path / "shop", "images", range(6))
        rows = [
            {"sku": f"p{i // 2}", "image": f"images/{i}.png", "kind": kind, "group": "Apparel"}
            for i, kind in enumerate(["Shirt"] * 4 + ["Dress"] * 2)
        ]
        manifest = shop / f"products.{form}"
        if form == "jsonl":
            manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            manifest.write_text(
                "\n".join(",".join(row) for row in ([*rows[0]], *(r.values() for r in rows)))
            )
        data = load(manifest, tmp_path / "cache", label="kind", parents=("group",))
        assert named(data) == ["Shirt"] * 4 + ["Dress"] * 2
        assert {c.parent for c in data.categories} == {"Apparel"}
        assert data.products is not None
        assert data.products.tolist() == [0, 0, 1, 1, 2, 2]
        assert list(data.sources) == [manifest.name, "images"]
        whole = load(shop, tmp_path / "cache", label="kind", parents=("group",))
        assert named(whole) == named(data)
        assert whole.sources == data.sources

    def test_slips_are_told(self, tmp_path: Path) -> None:
        shop = write_photos(tmp_path / "shop", "images", range(13))
        rows = [f"{i},images/{i}.png,Hat,{'Top' if i else 'Tpo'}" for i in range(11)]
        rows += [f"{i},images/{i}.png,Dress,Top" for i in range(11, 13)]
        (shop / "a.csv").write_text("\n".join(["sku,image,kind,group", *rows]))
        console = Console(record=True, quiet=False, file=io.StringIO(), width=200)
        data = load(shop / "a.csv", tmp_path / "c", console, label="kind", parents=("group",))
        assert {c.parent for c in data.categories} == {"Top"}
        assert "note: 'Hat' belongs to 'Top' in 10 images" in console.export_text()


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"min_per_class": 0}, "--min-per-class must be at least 1, got 0"),
            ({"image_size": 8}, "--image-size must be 16 to 512, got 8"),
            ({"parents": ("a", "b")}, "--parents a,b needs --label"),
        ],
    )
    def test_options(self, options: dict[str, object], message: str) -> None:
        with pytest.raises(TrainingDataError, match=message):
            PhotoOptions(**options)  # type: ignore[arg-type]

    def test_places(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("sku,image,kind\n")
        (tmp_path / "a.zip").write_bytes(b"PK\x03\x04")
        (tmp_path / "two").mkdir()
        for name in ("a.csv", "b.csv"):
            (tmp_path / "two" / name).write_text("sku,image,kind\n")
        for data, options, message in (
            ("a.csv", {}, "say with --label which of its columns"),
            ("a.zip", {}, "an existing folder"),
            ("none", {"label": "kind"}, "an existing folder"),
            ("two", {"label": "kind"}, "has 2 manifests at its top"),
        ):
            with pytest.raises(TrainingDataError, match=message):
                load(tmp_path / data, tmp_path / "cache", **options)
        for wrong in (PhotoOptions(), PhotoOptions(label="kind")):
            with pytest.raises(TrainingDataError, match="reviews need a retailer"):
                find_source(
                    "reviews", data_dir=None, cache_dir=tmp_path, console=QUIET, options=wrong
                )

    def test_photos_have_no_test_set(self, tmp_path: Path) -> None:
        shop = write_photos(tmp_path / "shop", "a", [1])
        source = find_source(str(shop), data_dir=None, cache_dir=tmp_path, console=QUIET)
        with pytest.raises(TrainingDataError, match=r"shop \(.*shop\) has no test set"):
            source.load_test()


Files = tuple[LabelledFile, ...]


class TestCache:
    """Of files that are away nothing can be decoded: what is there then was kept."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> Files:
        root = write_photos(write_photos(tmp_path / "shop", "a", range(3)), "b", range(3, 5))
        (root / "b/broken.png").write_bytes(photo(9)[:-200])
        return list_folder(root).files

    @pytest.fixture
    def cache(self, tmp_path: Path) -> Path:
        return tmp_path / "cache"

    def test_a_second_load_decodes_nothing(self, files: Files, cache: Path) -> None:
        first = decoded(files, cache)
        assert len(first.row_of) == 5
        assert len(first.failures) == 1
        remove(files)
        again = decoded(files, cache)
        assert again.row_of == first.row_of
        assert again.failures == first.failures
        assert (again.pixels == first.pixels).all()

    def test_another_input_form_is_decoded_anew(self, files: Files, cache: Path) -> None:
        decoded(files, cache)
        small = InputSpec(kind="photo", height=16, width=16, channels=3)
        assert decoded(files, cache, spec=small).pixels.shape == (6, 16, 16, 3)
        assert len(list(cache.glob("*.npy"))) == 2

    @pytest.mark.parametrize(
        ("ending", "content"),
        [
            ("npy", b""),
            ("npy", b"\x93NUMPY"),
            ("npy", None),
            ("json", b""),
            ("json", b"[]"),
            ("json", b'{"failures": 3}'),
            ("json", b"\xff"),
        ],
    )
    def test_what_is_damaged_is_made_anew(
        self, files: Files, cache: Path, ending: str, content: bytes | None
    ) -> None:
        """None: the last 100 bytes are missing."""
        first = decoded(files, cache)
        pixels = np.array(first.pixels)
        (kept,) = cache.glob(f"*.{ending}")
        kept.write_bytes(kept.read_bytes()[:-100] if content is None else content)
        console = Console(record=True, file=io.StringIO(), width=500)
        again = decoded(files, cache, console)
        assert "cannot be read" in console.export_text()
        assert (again.pixels == pixels).all()
        assert again.row_of == first.row_of
        remove(files)
        assert decoded(files, cache).row_of == first.row_of

    def test_pixels_of_another_shape_are_made_anew(self, files: Files, cache: Path) -> None:
        pixels = np.array(decoded(files, cache).pixels)
        (kept,) = cache.glob("*.npy")
        np.save(kept, pixels[:, :16])
        assert (decoded(files, cache).pixels == pixels).all()

    def test_a_run_that_was_cut_off_before_the_index_counts_for_nothing(
        self, files: Files, cache: Path
    ) -> None:
        first = decoded(files, cache)
        (index,) = cache.glob("*.json")
        index.unlink()
        remove(files[:1])
        again = decoded(files, cache)
        assert set(first.row_of) - set(again.row_of) == {files[0].sha256}

    def test_an_old_index_does_not_speak_for_new_pixels(self, files: Files, cache: Path) -> None:
        decoded(files, cache)
        (kept,) = cache.glob("*.npy")
        kept.write_bytes(b"")
        remove(files[:1])
        for _ in range(2):
            assert files[0].sha256 not in decoded(files, cache).row_of

    def test_a_file_that_is_away_may_come_back(self, files: Files, cache: Path) -> None:
        content = files[0].path.read_bytes()
        remove(files[:1])
        away = decoded(files, cache)
        assert away.failures[files[0].sha256].startswith("missing: ")
        files[0].path.write_bytes(content)
        assert files[0].sha256 in decoded(files, cache).row_of

    def test_so_may_one_that_its_disk_does_not_give(self, files: Files, cache: Path) -> None:
        """Here, because its path leads through a file."""
        away = replace(files[0], path=files[1].path / "below")
        failures = decoded((away, *files[1:]), cache).failures
        assert failures[away.sha256] == f"missing: {away.path}: Not a directory"
        assert files[0].sha256 in decoded(files, cache).row_of


def decoded(
    files: Files, cache: Path, console: Console = QUIET, spec: InputSpec = SPEC
) -> DecodedPhotos:
    decoding = Decoding(cache_dir=cache, processes=1, limits=ImageLimits())
    return decode_photos(files, spec, decoding, console=console)


def remove(files: Files) -> None:
    for file in files:
        file.path.unlink()
