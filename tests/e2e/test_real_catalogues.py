"""Real data through real processes: what a catalogue team would hand over.

ATELIER_TEST_IMAGES=10000 takes all of Fashion-MNIST's test images; the default is a tenth.
"""

from __future__ import annotations

import gzip
import os
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tagging.domain import PRODUCT_FAILURES, Status, softmax_log_probs
from tagging.images.content import allowed_formats
from tagging.images.rejection import ImageLimits
from tests.processes import Place

IMAGES = int(os.environ.get("ATELIER_TEST_IMAGES", "1000"))


def read_test_images(data_dir: Path, count: int) -> npt.NDArray[np.uint8]:
    """The first `count` Fashion-MNIST test images, (count, 28, 28) uint8. No label is read."""
    path = data_dir / "fashion-mnist" / "t10k-images-idx3-ubyte.gz"
    with gzip.open(path) as stream:
        raw = stream.read()
    return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)[:count]


@pytest.mark.timeout(900)
def test_the_test_images_get_exactly_what_the_bundle_says_in_process(
    place: Place, data_dir: Path, tmp_path: Path
) -> None:
    del place.environment["ATELIER_CLASSIFY_SHAPES"]  # the usual ones
    images = read_test_images(data_dir, IMAGES)
    folder = tmp_path / "pngs"
    folder.mkdir()
    for number, pixels in enumerate(images):
        Image.fromarray(pixels).save(folder / f"{number:05}.png", compress_level=1)
    if "ATELIER_BROKER_URL" in place.environment:
        with place.started("worker") as one, place.started("worker") as two:
            done = place.run_json("ingest", str(folder), "--wait", timeout_s=600)
            assert place.scalar("SELECT count(DISTINCT lease_worker) FROM batches") == 2
            for worker in (one, two):
                assert "Traceback" not in worker.text()
    else:
        done = place.run_json("tag", str(folder), timeout_s=600)
    assert done["products"] == sum(done["by_status"].values()) == IMAGES
    assert done["by_status"]["queued"] == done["by_status"]["failed"] == 0

    from model_training.bundle import load_network
    from model_training.predict import in_batches
    from worker.bootstrap import DEFAULT_BUNDLE

    card, network = load_network(DEFAULT_BUNDLE)
    logits, _ = in_batches(network.answer, images[..., np.newaxis])
    probabilities = np.exp(softmax_log_probs(logits, card.temperature))  # (n, 10)
    names = card.category_names
    rows = place.export()
    differing = 0
    for number, expected in enumerate(probabilities):
        row = rows[f"{number:05}"]
        best = names[int(expected.argmax())]
        differing += row["top_k"][0]["category"] != best
        # Where only a parent is sure enough, it is what is suggested, and a person decides.
        if row["suggestion"] != best:
            assert row["suggestion"] in card.taxonomy.ancestors(best), row
            assert (row["status"], row["category"]) == ("needs_review", None), row
        found = {top["category"]: top["confidence"] for top in row["top_k"]}
        for name, confidence in found.items():
            assert abs(confidence - expected[names.index(name)]) <= 1e-4, row
    assert differing == 0


def test_the_studio_catalogue_is_tagged_whole_and_a_second_time_left_alone(
    embedded: Place, data_dir: Path
) -> None:
    del embedded.environment["ATELIER_CLASSIFY_SHAPES"]  # the usual ones
    manifest = str(data_dir / "studio-catalog" / "products.csv")
    done = embedded.run_json("tag", manifest, "--retailer", "studio")
    assert (done["products"], done["rejected"]) == (5600, [])
    counts = done["by_status"]
    assert sum(counts.values()) == 5600
    assert counts["queued"] == 0
    predictions = embedded.scalar("SELECT count(*) FROM predictions")
    batches = embedded.scalar("SELECT count(*) FROM batches")
    failed = embedded.scalar(
        "SELECT count(*) FROM products WHERE status = 'failed' "
        "AND (failure_code IS NULL OR failure_detail IS NULL)"
    )
    assert failed == 0
    again = embedded.run_json("tag", manifest, "--retailer", "studio")
    assert (again["unchanged"], again["enqueued"]) == (5600, 0)
    assert embedded.scalar("SELECT count(*) FROM predictions") == predictions
    assert embedded.scalar("SELECT count(*) FROM batches") == batches
    rows = embedded.export()
    assert rows["10000"]["title"] == "Palm Tree Girls Sp Jace Sko White Skirts"


def loads_in_plain_pillow(path: Path) -> bool:
    """Whether an allowed format's first frame opens and fully loads within the bounds."""
    limits = ImageLimits()
    if path.stat().st_size > limits.max_bytes:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=allowed_formats()) as image:
                if image.width * image.height > limits.max_pixels:
                    return False
                image.load()
        # Pillow's plugins raise what they like on broken files; any of it means "does not load".
        except Exception:
            return False
    return True


def test_odd_images_end_with_a_tag_or_a_reason_and_no_worker_dies(
    embedded: Place, data_dir: Path
) -> None:
    source = data_dir / "odd-images"
    files = sorted(path for path in source.rglob("*") if path.is_file())
    # Each file is a product of its own, whatever its name ends with.
    lines = "".join(
        f'{{"sku": "{number}", "image": "{path.relative_to(source)}"}}\n'
        for number, path in enumerate(files)
    )
    manifest = embedded.home.parent / "odd.jsonl"
    linked = embedded.home.parent
    import shutil

    shutil.copytree(source, linked / "odd")
    manifest.write_text(lines.replace('"image": "', '"image": "odd/'))
    done = embedded.run_json("tag", str(manifest))
    assert done["by_status"]["queued"] == 0
    rows = embedded.export()
    refused = []
    for number, path in enumerate(files):
        row = rows.get(str(number))
        if row is None:  # rejected at the door: an empty file, say
            assert not loads_in_plain_pillow(path), path
            continue
        if row["status"] == Status.FAILED:
            assert row["failure_code"] in PRODUCT_FAILURES
            assert len(row["failure_detail"]) > 20
            if loads_in_plain_pillow(path):
                refused.append((path.name, row["failure_code"]))
        else:
            assert row["suggestion"] is not None
    assert refused == []
    log = (embedded.home / "worker.log").read_text()
    assert "batch_taken_back" not in log
    assert log.count("ready ") == 1, "the worker died and was started again"
