"""Labelled files from a folder per class and from manifests; nothing is decoded here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from model_training.datasets.deliveries import list_folder, list_manifest
from model_training.datasets.files import Listing
from tagging.errors import DeliveryError, TrainingDataError


def write_files(root: Path, *names: str) -> Path:
    """Files called like photos; the content of each is its name."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def labels(listing: Listing) -> dict[str, tuple[str, ...]]:
    """Name -> its parents and its label."""
    return {file.name: (*file.parents, file.label) for file in listing.files}


class TestFolder:
    def test_folders_are_classes_and_those_around_them_their_parents(self, tmp_path: Path) -> None:
        root = write_files(
            tmp_path / "shop",
            "apparel/topwear/shirts/1.jpg",
            "apparel/topwear/shirts/2.png",
            "apparel/bottomwear/jeans/1.jpg",
            "hats/1.webp",
        )
        listing = list_folder(root)
        assert labels(listing) == {
            "apparel/topwear/shirts/1.jpg": ("apparel", "topwear", "shirts"),
            "apparel/topwear/shirts/2.png": ("apparel", "topwear", "shirts"),
            "apparel/bottomwear/jeans/1.jpg": ("apparel", "bottomwear", "jeans"),
            "hats/1.webp": ("hats",),
        }
        assert listing.left_out == ()
        assert len({file.product for file in listing.files}) == 4
        for file in listing.files:
            assert file.path == root.resolve() / file.name
            assert file.sha256 == hashlib.sha256(file.name.encode()).hexdigest()

    def test_the_source_stands_for_names_and_bytes(self, tmp_path: Path) -> None:
        root = write_files(tmp_path / "shop", "a/1.jpg", "b/1.jpg")
        first = list_folder(root).sources
        assert list(first) == ["shop"]
        assert list_folder(root).sources == first
        (root / "a/1.jpg").write_text("else")
        second = list_folder(root).sources
        (root / "a/1.jpg").rename(root / "b/2.jpg")
        write_files(root, "a/9.jpg")
        assert len({first["shop"], second["shop"], list_folder(root).sources["shop"]}) == 3

    def test_folders_of_one_name_are_categories_of_their_own(self, tmp_path: Path) -> None:
        root = write_files(tmp_path, "men/shirts/1.jpg", "women/shirts/1.jpg", "women/hats/1.jpg")
        assert labels(list_folder(root)) == {
            "men/shirts/1.jpg": ("men", "men / shirts"),
            "women/shirts/1.jpg": ("women", "women / shirts"),
            "women/hats/1.jpg": ("women", "hats"),
        }

    def test_what_stands_in_no_folder_and_what_is_no_photo_is_left_out(
        self, tmp_path: Path
    ) -> None:
        root = write_files(tmp_path, "a/1.jpg", "b/1.jpg", "3.jpg", "b/readme.txt")
        listing = list_folder(root)
        assert sorted(labels(listing)) == ["a/1.jpg", "b/1.jpg"]
        told = {one.where: one.why for one in listing.left_out}
        assert told.keys() == {"3", "b/readme.txt"}
        assert told["3"] == "it stands in no folder that names its class"
        assert "a .txt file" in told["b/readme.txt"]

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ((), r"in 0 folder\(s\)\. Make"),
            (("1.jpg", "2.jpg"), r"in 0 folder\(s\)\. Make"),
            (("a/1.jpg", "a/2.jpg"), r"in 1 folder\(s\) \('a'\)\. Make"),
            (
                ("images/1.jpg", "products.csv"),
                r"say with --label .* is the class\. 'products\.csv' stands at its top\.",
            ),
        ],
    )
    def test_fewer_than_two_classes_are_refused(
        self, tmp_path: Path, names: tuple[str, ...], message: str
    ) -> None:
        with pytest.raises(TrainingDataError, match=message):
            list_folder(write_files(tmp_path, *names))


ROWS = [
    {"sku": "1", "image": "1.jpg", "Article_Type": "Shirts", "master": "Apparel", "sub": "Topwear"},
    {"sku": "2", "image": "2.jpg|3.jpg", "Article_Type": "Jeans", "master": "Apparel", "sub": ""},
    {"sku": "3", "image": "4.jpg", "Article_Type": "", "master": "Apparel", "sub": "Topwear"},
    {"sku": "4", "image": "away.jpg", "Article_Type": "Hats", "master": "Apparel", "sub": "Top"},
]


@pytest.fixture(params=["products.csv", "products.tsv", "products.jsonl"])
def manifest(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """`ROWS` as a manifest with its images beside it."""
    write_files(tmp_path, *(f"{i}.jpg" for i in range(1, 5)))
    path: Path = tmp_path / request.param
    if path.suffix == ".jsonl":
        lines = [json.dumps(row) for row in ROWS]
    else:
        mark = "," if path.suffix == ".csv" else "\t"
        lines = [mark.join(row) for row in ([*ROWS[0]], *(row.values() for row in ROWS))]
    path.write_text("\n".join(lines) + "\n")
    return path


class TestManifest:
    def test_any_column_is_the_label_and_any_others_its_parents(self, manifest: Path) -> None:
        listing = list_manifest(manifest, label="article_type", parents=("master", "sub"))
        assert labels(listing) == {
            "1.jpg": ("Apparel", "Topwear", "Shirts"),
            "2.jpg": ("Apparel", "Jeans"),
            "3.jpg": ("Apparel", "Jeans"),
        }
        assert [file.product for file in listing.files] == ["1", "2", "2"]
        assert labels(list_manifest(manifest, label=" SUB ")) == {
            "1.jpg": ("Topwear",),
            "4.jpg": ("Topwear",),
        }

    def test_what_cannot_be_used_is_left_out_with_its_line(self, manifest: Path) -> None:
        listing = list_manifest(manifest, label="article_type")
        empty, away = listing.left_out
        line = 3 if manifest.suffix == ".jsonl" else 4
        assert (empty.where, empty.why) == ("3", f"line {line}: its column 'article_type' is empty")
        assert "away.jpg" in away.where
        assert "away.jpg" in away.why

    def test_the_sources_are_the_manifest_and_the_images(self, manifest: Path) -> None:
        sources = list_manifest(manifest, label="article_type").sources
        assert sources[manifest.name] == hashlib.md5(manifest.read_bytes()).hexdigest()
        (manifest.parent / "1.jpg").write_text("else")
        again = list_manifest(manifest, label="article_type").sources
        assert again[manifest.name] == sources[manifest.name]
        assert again["images"] != sources["images"]

    def test_a_column_that_is_not_there_is_named_beside_those_that_are(
        self, manifest: Path
    ) -> None:
        with pytest.raises(TrainingDataError) as error:
            list_manifest(manifest, label="colour", parents=("sub", "season"))
        assert "has a value in the column 'season', 'colour'" in str(error.value)
        assert "'article_type', 'master', 'sub'" in str(error.value)

    def test_where_no_row_can_be_used_the_first_reason_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("sku,image,kind\n1,none.jpg,Hat\n")
        with pytest.raises(TrainingDataError, match=r"cannot be used: .*none\.jpg"):
            list_manifest(tmp_path / "a.csv", label="kind")

    def test_what_is_no_manifest_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("kind,colour\nHat,red\n")
        with pytest.raises(DeliveryError, match="no column sku"):
            list_manifest(tmp_path / "a.csv", label="kind")
