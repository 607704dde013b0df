"""Reading labelled images: idx, CSV, and the download."""

from __future__ import annotations

import gzip
import hashlib
import stat
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from model_training.datasets.download import download_fashion_mnist
from model_training.datasets.fashion_mnist import (
    CATEGORIES,
    MD5,
    find_folder,
    holds_training_set,
    load_csv,
    load_test_set,
    load_training_set,
)
from model_training.datasets.idx import read_idx, write_idx
from model_training.datasets.labelled import LabelledImages
from model_training.datasets.pixel_csv import is_pixel_csv
from model_training.datasets.sources import PhotoOptions, find_source
from tagging.errors import TrainingDataError

QUIET = Console(quiet=True)


def one_based_header(pixels: int = 784) -> str:
    return ",".join(["label", *(f"pixel{i}" for i in range(1, pixels + 1))])


def zero_based_header(pixels: int = 784) -> str:
    return ",".join(["label", *(f"pixel{i}" for i in range(pixels))])


def line(label: int, **pixels: int) -> str:
    """A CSV line that is 0 but for the given places: `p31=7` is the 32nd pixel."""
    values = [0] * 784
    for place, value in pixels.items():
        values[int(place[1:])] = value
    return ",".join(map(str, [label, *values]))


def write_csv(path: Path, header: str, *lines: str) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


class TestIdx:
    def test_what_was_written_is_read(self, tmp_path: Path) -> None:
        values = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
        write_idx(tmp_path / "a.gz", values)
        found, md5 = read_idx(tmp_path / "a.gz", dimensions=3)
        assert (found == values).all()
        assert md5 == hashlib.md5((tmp_path / "a.gz").read_bytes()).hexdigest()

    def test_another_checksum_is_refused(self, tmp_path: Path) -> None:
        write_idx(tmp_path / "a.gz", np.zeros((2, 2, 2), np.uint8))
        with pytest.raises(TrainingDataError, match="damaged or altered"):
            read_idx(tmp_path / "a.gz", dimensions=3, md5="0" * 32)

    def test_labels_in_place_of_images_are_refused(self, tmp_path: Path) -> None:
        write_idx(tmp_path / "a.gz", np.zeros(5, np.uint8))
        with pytest.raises(TrainingDataError, match="swapped"):
            read_idx(tmp_path / "a.gz", dimensions=3)

    def test_a_file_that_is_cut_off_is_refused(self, tmp_path: Path) -> None:
        write_idx(tmp_path / "a.gz", np.zeros((20, 20, 20), np.uint8))
        whole = (tmp_path / "a.gz").read_bytes()
        (tmp_path / "a.gz").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(TrainingDataError, match="gzip"):
            read_idx(tmp_path / "a.gz", dimensions=3)

    def test_values_that_do_not_fill_the_shape_are_refused(self, tmp_path: Path) -> None:
        write_idx(tmp_path / "a.gz", np.zeros((4, 4), np.uint8))
        raw = gzip.decompress((tmp_path / "a.gz").read_bytes())
        (tmp_path / "a.gz").write_bytes(gzip.compress(raw[:-1]))
        with pytest.raises(TrainingDataError, match=r"announces \(4, 4\)"):
            read_idx(tmp_path / "a.gz", dimensions=2)

    def test_a_missing_file_says_how_to_give_one(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingDataError, match="ATELIER_DATA_DIR"):
            read_idx(tmp_path / "none.gz", dimensions=3)


class TestCsv:
    def test_pixel31_of_a_header_from_0_is_row_1_column_3(self, tmp_path: Path) -> None:
        """The published text: pixel31 is the fourth column from the left, the second row."""
        header = zero_based_header()
        column = header.split(",").index("pixel31")
        values = line(2, p31=200).split(",")
        assert values[column] == "200"
        data = load_csv(write_csv(tmp_path / "a.csv", header, ",".join(values)))
        assert data.images.shape == (1, 28, 28, 1)
        assert data.images[0, 1, 3, 0] == 200
        assert data.images.sum() == 200

    def test_in_a_header_from_1_the_order_decides(self, tmp_path: Path) -> None:
        """The same columns numbered from 1: row 1, column 3 stands under the name pixel32."""
        header = one_based_header()
        values = line(2, p31=200).split(",")
        assert header.split(",")[values.index("200")] == "pixel32"
        data = load_csv(write_csv(tmp_path / "a.csv", header, ",".join(values)))
        assert data.images[0, 1, 3, 0] == 200

    def test_corners_and_labels(self, tmp_path: Path) -> None:
        path = write_csv(
            tmp_path / "a.csv", one_based_header(), line(9, p0=1, p27=2, p756=3, p783=255), line(0)
        )
        data = load_csv(path)
        corners = [data.images[0, r, c, 0] for r in (0, 27) for c in (0, 27)]
        assert corners == [1, 2, 3, 255]
        assert data.labels.tolist() == [9, 0]
        assert data.sources == {"a.csv": hashlib.md5(path.read_bytes()).hexdigest()}

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ("1,2,3", r"line 3: expected 785 columns .* got 3"),
            (line(10), r"line 3: label 10 is none of 0 to 9"),
            (line(-1), r"line 3: label -1"),
            (line(1, p0=256), r"line 3: the value 256 in column 2 is outside 0 to 255"),
            (line(1, p783=-1), r"line 3: the value -1 in column 785"),
            (line(1).replace("1,", "x,", 1), r"line 3: not a whole number"),
            (line(1).replace("1,", "1.5,", 1), r"line 3: not a whole number"),
        ],
    )
    def test_a_bad_line_is_named(self, tmp_path: Path, bad: str, message: str) -> None:
        path = write_csv(tmp_path / "a.csv", one_based_header(), line(0), bad, line(0))
        with pytest.raises(TrainingDataError, match=message):
            load_csv(path)

    @pytest.mark.parametrize(
        "header", ["", "label,pixel1,pixel2", one_based_header(783), line(0)], ids=range(4)
    )
    def test_another_header_is_refused(self, tmp_path: Path, header: str) -> None:
        with pytest.raises(TrainingDataError, match="line 1: the header must be"):
            load_csv(write_csv(tmp_path / "a.csv", header, line(0)))

    def test_no_images_and_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingDataError, match="no images"):
            load_csv(write_csv(tmp_path / "a.csv", one_based_header()))
        with pytest.raises(TrainingDataError, match="does not exist"):
            load_csv(tmp_path / "b.csv")

    def test_bytes_that_are_no_text_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00label")
        with pytest.raises(TrainingDataError, match="no UTF-8 CSV"):
            load_csv(tmp_path / "a.csv")


class TestWhatAFirstLineIs:
    @pytest.mark.parametrize(
        "first",
        [
            one_based_header(),
            zero_based_header().upper(),
            "\ufeff" + one_based_header(),
            ",".join(f'"{name}"' for name in one_based_header().split(",")),
            "label,pixel1,pixel2",  # too few, which `read_pixel_csv` says better than a manifest
            line(3, p0=255),
        ],
        ids=range(6),
    )
    def test_labelled_pixels(self, tmp_path: Path, first: str) -> None:
        assert is_pixel_csv(write_csv(tmp_path / "a.csv", first, line(0)))

    @pytest.mark.parametrize(
        "first",
        [
            "",
            "label",
            "sku,image,article_type",
            "label,sku,image",
            "label,pixel1,colour",
            "label;pixel1;pixel2",
            "1,2,3",
            line(3).replace("3,", "sku,", 1),
            ",".join(["sku", "image", *(f"pixel{i}" for i in range(783))]),
            '{"sku": "1", "image": "1.jpg"}',
            '"never closed',
        ],
        ids=range(11),
    )
    def test_something_else(self, tmp_path: Path, first: str) -> None:
        assert not is_pixel_csv(write_csv(tmp_path / "a.csv", first, line(0)))

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(one_based_header().encode("utf-16"))
        assert not is_pixel_csv(tmp_path / "a.csv")
        (tmp_path / "a.csv").write_bytes(bytes(range(256)) * 1000)
        assert not is_pixel_csv(tmp_path / "a.csv")

    def test_only_the_beginning_is_read(self, tmp_path: Path) -> None:
        """A file that goes on for a million million bytes."""
        with (tmp_path / "a.csv").open("wb") as stream:
            stream.write(one_based_header().encode() + b"\n")
            stream.truncate(10**12)
        assert is_pixel_csv(tmp_path / "a.csv")

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingDataError, match=r"a\.csv cannot be read"):
            is_pixel_csv(tmp_path / "a.csv")


class TestPlaces:
    def test_a_folder_and_a_file_are_known_by_what_they_hold(self, tmp_path: Path) -> None:
        """No ending decides; and the folder need not be called `fashion-mnist`."""
        folder = tmp_path / "mine"
        folder.mkdir()
        assert not holds_training_set(folder)
        write_csv(folder / "fashion-mnist_train.csv", one_based_header(), line(4))
        assert holds_training_set(folder)
        assert not holds_training_set(tmp_path)
        pixels = write_csv(tmp_path / "pixels.txt", one_based_header(), line(6))
        for data, label in ((folder, 4), (pixels, 6)):
            source = find_source(str(data), data_dir=None, cache_dir=tmp_path, console=QUIET)
            assert source.load().labels.tolist() == [label]

    def test_a_folder_with_the_idx_form(self, tmp_path: Path) -> None:
        write_idx(tmp_path / "train-images-idx3-ubyte.gz", np.zeros((2, 28, 28), np.uint8))
        assert holds_training_set(tmp_path)

    def test_a_label_is_refused_where_the_set_has_its_own(self, tmp_path: Path) -> None:
        path = write_csv(tmp_path / "a.csv", one_based_header(), line(4))
        with pytest.raises(TrainingDataError, match="has its own labels; leave out --label 'x'"):
            find_source(
                str(path),
                data_dir=None,
                cache_dir=tmp_path,
                console=QUIET,
                options=PhotoOptions(label="x"),
            )

    def test_a_folder_with_the_csv_form(self, tmp_path: Path) -> None:
        (tmp_path / "fashion-mnist").mkdir()
        write_csv(
            tmp_path / "fashion-mnist" / "fashion-mnist_train.csv", one_based_header(), line(4)
        )
        write_csv(
            tmp_path / "fashion-mnist" / "fashion-mnist_test.csv", one_based_header(), line(5)
        )
        source = find_source("fashion-mnist", data_dir=tmp_path, cache_dir=tmp_path, console=QUIET)
        assert source.load().labels.tolist() == [4]
        assert source.load_test().labels.tolist() == [5]

    def test_a_csv_has_no_test_set(self, tmp_path: Path) -> None:
        path = write_csv(tmp_path / "mine.csv", one_based_header(), line(4))
        source = find_source(str(path), data_dir=None, cache_dir=tmp_path, console=QUIET)
        assert len(source.load()) == 1
        with pytest.raises(TrainingDataError, match="no test set"):
            source.load_test()

    def test_an_unknown_name_and_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingDataError, match="no data 'cifar'"):
            find_source("cifar", data_dir=tmp_path, cache_dir=tmp_path, console=QUIET)
        with pytest.raises(TrainingDataError, match="ATELIER_DATA_DIR"):
            find_source("fashion-mnist", data_dir=tmp_path, cache_dir=tmp_path, console=QUIET)

    def test_altered_published_files_are_refused(self, tmp_path: Path) -> None:
        write_idx(tmp_path / "train-images-idx3-ubyte.gz", np.zeros((2, 28, 28), np.uint8))
        with pytest.raises(TrainingDataError, match=MD5["train-images-idx3-ubyte.gz"]):
            load_training_set(find_folder(tmp_path))


class TestLabelledImages:
    def test_images_and_labels_must_be_as_many(self) -> None:
        with pytest.raises(TrainingDataError, match="2 images but 1 labels"):
            LabelledImages(
                images=np.zeros((2, 4, 4, 1), np.uint8),
                labels=np.zeros(1, np.int64),
                categories=CATEGORIES,
            )

    def test_a_label_needs_a_category(self) -> None:
        with pytest.raises(TrainingDataError, match="10 categories"):
            LabelledImages(
                images=np.zeros((1, 4, 4, 1), np.uint8),
                labels=np.array([10]),
                categories=CATEGORIES,
            )


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A local http server, and the folder that it serves."""
    root = tmp_path / "served"
    root.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=root)) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", root
        httpd.shutdown()
        thread.join()


class TestDownload:
    def test_files_with_the_right_checksum_are_kept(
        self, server: tuple[str, Path], tmp_path: Path
    ) -> None:
        url, root = server
        (root / "a.gz").write_bytes(b"one")
        checksums = {"a.gz": hashlib.md5(b"one").hexdigest()}
        target = tmp_path / "cache" / "set"
        download_fashion_mnist(target, console=QUIET, base_url=url, checksums=checksums)
        assert (target / "a.gz").read_bytes() == b"one"
        # For this account alone, as everything in the data folder.
        assert stat.S_IMODE((target / "a.gz").stat().st_mode) == 0o600
        assert stat.S_IMODE(target.parent.stat().st_mode) == 0o700
        (root / "a.gz").unlink()  # a second call has no need of the server
        download_fashion_mnist(target, console=QUIET, base_url=url + "/", checksums=checksums)

    def test_another_checksum_leaves_nothing_behind(
        self, server: tuple[str, Path], tmp_path: Path
    ) -> None:
        url, root = server
        (root / "a.gz").write_bytes(b"something else")
        target = tmp_path / "cache"
        with pytest.raises(TrainingDataError, match="Nothing was kept"):
            download_fashion_mnist(
                target, console=QUIET, base_url=url, checksums={"a.gz": "0" * 32}
            )
        assert list(target.iterdir()) == []

    def test_a_missing_file_and_a_dead_server_say_what_to_do(
        self, server: tuple[str, Path], tmp_path: Path
    ) -> None:
        url, _ = server
        for address in (url, "http://127.0.0.1:9"):
            with pytest.raises(TrainingDataError, match="without internet"):
                download_fashion_mnist(
                    tmp_path / "cache",
                    console=QUIET,
                    base_url=address,
                    checksums={"none.gz": "0" * 32},
                )

    def test_only_http_is_taken(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingDataError, match="only http and https"):
            download_fashion_mnist(tmp_path, console=QUIET, base_url=tmp_path.as_uri())


def test_the_published_files(data_dir: Path) -> None:
    folder = find_folder(data_dir)
    training, test = load_training_set(folder), load_test_set(folder)
    assert training.images.shape == (60_000, 28, 28, 1)
    assert test.images.shape == (10_000, 28, 28, 1)
    assert np.bincount(training.labels).tolist() == [6_000] * 10
    assert [c.name for c in training.categories][:2] == ["T-shirt/top", "Trouser"]
