"""A whole small run: train, cut off, resume, bundle, load, evaluate. On the default backend."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from model_training.augment import Augmentation
from model_training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from model_training.commands import (
    Origin,
    read_meaning,
    run_adapt,
    run_combine,
    run_evaluate,
    run_train,
)
from model_training.configuration import SentinelConfig, TrainingConfig
from model_training.datasets.fashion_mnist import CATEGORIES
from model_training.datasets.sources import PhotoOptions
from tagging.errors import BundleError, TrainingDataError
from tagging.model_card import CARD_NAME, ModelCard, card_fingerprint, read_bundle

# Keras 3.15 reads its own variables with numpy's old protocol; nothing of ours to mend.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

QUIET = Console(quiet=True)

TINY = TrainingConfig(
    parameters={"stem": 4, "widths": [4, 8], "blocks": [1, 1]},
    batch_size=32,
    epochs=2,
    peak_learning_rate=1e-2,
    dtype_policy="float32",
    seed=7,
    mixup=0.0,
    augmentation=Augmentation(shift=1, tone=0, erase=0),
)


def blotches(n: int, seed: int) -> list[str]:
    """CSV lines of pictures that are easy to tell apart: the brighter, the higher the label."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(n):
        label = i % 10
        lit = rng.integers(0, 2, (7, 7)).repeat(4, axis=0).repeat(4, axis=1)
        picture = lit * (30 + 23 * label)
        lines.append(",".join(map(str, [label, *picture.ravel().tolist()])))
    return lines


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in Fashion-MNIST's CSV form: 360 to train from, 40 to test on."""
    folder = tmp_path_factory.mktemp("data") / "fashion-mnist"
    folder.mkdir()
    header = ",".join(["label", *(f"pixel{i}" for i in range(1, 785))])
    for name, n, seed in (("train", 360, 0), ("test", 40, 1)):
        text = "\n".join([header, *blotches(n, seed)]) + "\n"
        (folder / f"fashion-mnist_{name}.csv").write_text(text, encoding="utf-8")
    return folder.parent


QUICK = SentinelConfig(
    parameters={"stem": 4, "widths": [4], "blocks": [1]}, rounds=1, steps=3, batch_size=16, pool=40
)


@pytest.fixture(scope="module", autouse=True)
def _once() -> Iterator[None]:
    """What takes longest of so small a training is done once for the same input, as by the same
    seed it comes out the same: the sentinel, and the (few) drawings that it is measured on.
    """
    from model_training import outsiders, sentinel

    def remembering(function: Callable[..., Any]) -> Callable[..., Any]:
        found: dict[str, Any] = {}

        @functools.wraps(function)
        def asked(*given: Any, **named: Any) -> Any:
            key = "|".join(
                hashlib.sha256(one).hexdigest() if isinstance(one, np.ndarray) else repr(one)
                for one in (*given, *(value for name, value in named.items() if name != "console"))
            )
            if key not in found:
                found[key] = function(*given, **named)
            return found[key]

        return asked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outsiders, "DRAWN", 20)
        patch.setattr(sentinel, "train_sentinel", remembering(sentinel.train_sentinel))
        patch.setattr(outsiders, "drawings", remembering(outsiders.drawings))
        yield


def origin(data: Path, **changes: Any) -> Origin:
    given: dict[str, Any] = {"data": "fashion-mnist", "data_dir": data, "cache_dir": data / "cache"}
    return Origin(**(given | changes))


def train(
    data: Path, out: Path, *, console: Console = QUIET, replace: bool = False, **changes: Any
) -> Path:
    """A tiny training; `changes` are of its configuration, or one of `run_train`'s own."""
    own = {"resume", "limit", "time_budget_s", "teachers"}
    return run_train(
        origin(data),
        out=out,
        configure=lambda _: TINY.changed(**{k: v for k, v in changes.items() if k not in own}),
        sentinel=QUICK,
        console=console,
        replace=replace,
        **{k: v for k, v in changes.items() if k in own},
    )


def evaluate(data: Path, bundle: Path, *, test: bool = False, record: bool = False) -> Any:
    return run_evaluate(bundle, origin(data), test=test, record=record, console=QUIET)


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of one uninterrupted run."""
    return train(data, tmp_path_factory.mktemp("made") / "toy-3")


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy of `made` that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / made.name))


def rewrite_card(bundle: Path, **fields: Any) -> None:
    path = bundle / CARD_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | fields), encoding="utf-8")


def test_the_bundle_says_what_it_was_made_of(made: Path) -> None:
    card = read_bundle(made)
    assert (card.name, card.version) == ("toy", "3")
    assert card.network.parameters["parameters"]["input_shape"] == [28, 28, 1]
    assert card.data["split"]["train"] == 300
    assert card.data["split"]["select"] == card.data["split"]["holdout"] == 30
    assert set(card.data["files_md5"]) == {"fashion-mnist_train.csv"}
    assert card.metrics["holdout"]["images"] == card.acceptance.holdout_n == 30
    assert card.metrics["holdout"]["accepted"] == card.acceptance.holdout_accepted
    assert "test" not in card.metrics
    assert [e["epoch"] for e in card.metrics["training"]["epochs"]] == [1, 2]
    assert {"atelier", "keras", "numpy", "backend"} < set(card.versions)
    assert sorted(p.name for p in made.iterdir()) == sorted([CARD_NAME, *card.files])
    assert not [p for p in made.parent.iterdir() if "partial" in p.name]


def test_the_network_learns(data: Path, tmp_path: Path) -> None:
    card = read_bundle(train(data, tmp_path / "toy-1", epochs=12))
    losses = [epoch["loss"] for epoch in card.metrics["training"]["epochs"]]
    assert losses[-1] < 0.6 * losses[0]
    assert card.metrics["select"]["accuracy"] > 0.3  # by chance: 0.1


def test_the_loaded_network_gives_the_figures_of_its_card(made: Path, data: Path) -> None:
    card, report = read_bundle(made), evaluate(data, made)
    assert set(report) == {"model", "new_images", "select", "holdout", "strange"}
    for part in ("select", "holdout", "strange"):
        assert report[part] == card.metrics[part]


def test_a_run_that_was_cut_off_ends_where_an_uninterrupted_one_does(
    made: Path, data: Path, tmp_path: Path
) -> None:
    class Unplugged(Console):
        """Stands for a power cut in the second epoch: the first one's line is the last sign."""

        def print(self, *objects: Any, **options: Any) -> None:
            if "epoch 1/" in str(objects):
                raise KeyboardInterrupt
            super().print(*objects, **options)

    out = tmp_path / "toy-3"
    with pytest.raises(KeyboardInterrupt):
        train(data, out, console=Unplugged(quiet=True))
    assert not out.exists()
    one, two = read_bundle(made), read_bundle(train(data, out, resume=True))
    for a, b in zip(
        one.metrics["training"]["epochs"], two.metrics["training"]["epochs"], strict=True
    ):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["select_nll"] == pytest.approx(b["select_nll"], rel=1e-3)
    assert one.temperature == pytest.approx(two.temperature, rel=1e-2)


def test_a_time_budget_plans_the_epochs_and_a_resumed_run_keeps_the_plan(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "toy-1"
    card = read_bundle(train(data, out, epochs=50, time_budget_s=0.001))
    assert [e["epoch"] for e in card.metrics["training"]["epochs"]] == [1]
    assert json.loads((tmp_path / "toy-1.run" / "plan.json").read_text()) == {"epochs": 1}
    again = train(data, out, epochs=50, time_budget_s=3600, resume=True, replace=True)
    assert len(read_bundle(again).metrics["training"]["epochs"]) == 1


def test_without_progress_it_stops_and_goes_back_to_the_best_epoch(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter([0.5, 0.6, 0.7, 0.8])
    monkeypatch.setattr("model_training.train.negative_log_likelihood", lambda *_: next(said))
    out = train(data, tmp_path / "toy-1", epochs=40, patience=2)
    history = read_bundle(out).metrics["training"]["epochs"]
    assert [e["select_nll"] for e in history] == [0.5, 0.6, 0.7]
    with np.load(tmp_path / "toy-1.run" / "checkpoint.npz") as checkpoint:
        best = [checkpoint[k] for k in sorted(checkpoint.files) if k.startswith("best_")]
        last = [checkpoint[k] for k in sorted(checkpoint.files) if k.startswith("model_")]
    from model_training.bundle import load_networks

    shipped = load_networks(out)[1].classifier.get_weights()
    for a, b in zip(shipped, best, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(shipped, last, strict=True))


@pytest.mark.heavy
def test_a_loss_that_knows_the_tree_learns_too(data: Path, tmp_path: Path) -> None:
    card = read_bundle(train(data, tmp_path / "toy-1", epochs=12, tree_weight=0.5))
    losses = [epoch["loss"] for epoch in card.metrics["training"]["epochs"]]
    assert losses[-1] < 0.65 * losses[0]
    with pytest.raises(TrainingDataError, match="set tree_weight or label_smoothing to 0"):
        TINY.changed(tree_weight=0.5, label_smoothing=0.1)


def test_the_sentinel_of_a_small_catalogue_is_taught_for_less_long() -> None:
    usual = SentinelConfig(seed=3)
    assert SentinelConfig.for_images(50_000, seed=3) == usual
    assert SentinelConfig.for_images(1_000_000, seed=3) == usual
    half = SentinelConfig.for_images(25_000, seed=3)
    assert half == usual.changed(steps=usual.steps // 2, pool=usual.pool // 2)
    assert SentinelConfig.for_images(100, seed=3) == usual.changed(steps=20, pool=200)


class TestTeachers:
    @pytest.mark.heavy
    def test_a_teacher_changes_what_is_learned_and_the_checkpoint_knows(
        self, made: Path, data: Path, tmp_path: Path
    ) -> None:
        out = train(data, tmp_path / "toy-1", epochs=1, teachers=[made])
        alone = train(data, tmp_path / "alone-1", epochs=1)
        losses = [read_bundle(b).metrics["training"]["epochs"][0]["loss"] for b in (out, alone)]
        assert losses[0] != pytest.approx(losses[1], rel=1e-3)
        with pytest.raises(TrainingDataError, match="another run: teachers differ"):
            train(data, out, epochs=1, resume=True, replace=True)

    def test_the_answers_of_several_are_averaged(self, made: Path) -> None:
        from model_training.bundle import load_networks
        from model_training.teacher import Teachers

        card, networks = load_networks(made)
        sure = card.model_copy(update={"temperature": 0.01})
        images = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 1), dtype=np.uint8)
        one = Teachers([(card, networks.classifier)]).answer(images)
        other = Teachers([(sure, networks.classifier)]).answer(images)
        both = Teachers([(card, networks.classifier), (sure, networks.classifier)]).answer(images)
        assert one.sum(axis=1) == pytest.approx(np.ones(6), abs=1e-5)
        assert both == pytest.approx((one + other) / 2, abs=1e-6)

    def test_one_that_may_know_the_holdout_by_heart_is_refused(
        self, made: Path, data: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(TrainingDataError, match="another division of the data"):
            train(data, tmp_path / "toy-1", epochs=1, limit=120, teachers=[made])

    def test_one_that_tells_other_things_apart_is_refused(
        self, bundle: Path, data: Path, tmp_path: Path
    ) -> None:
        card = json.loads((bundle / CARD_NAME).read_text())
        card["categories"][0]["name"] = "Hat"
        rewrite_card(bundle, categories=card["categories"])
        with pytest.raises(TrainingDataError, match="cannot be used for this: it tells"):
            train(data, tmp_path / "toy-1", epochs=1, teachers=[bundle])

    @pytest.mark.heavy
    def test_a_view_is_put_to_the_teachers_once(
        self, made: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from model_training.teacher import Teachers

        asked: list[np.ndarray] = []
        ask = Teachers._asked

        def counted(self: Teachers, images: np.ndarray) -> np.ndarray:
            asked.append(images)
            return ask(self, images)

        monkeypatch.setattr(Teachers, "_asked", counted)
        train(data, tmp_path / "a-1", epochs=4, teachers=[made], teacher_views=2)
        steps = 300 // 32
        assert len(asked) == 2 * steps
        asked.clear()
        train(data, tmp_path / "b-1", epochs=4, teachers=[made], teacher_views=0)
        assert len(asked) == 4 * steps

    def test_the_card_names_them(self, made: Path, data: Path, tmp_path: Path) -> None:
        from model_training.teacher import classifier_fingerprint

        card = read_bundle(train(data, tmp_path / "toy-1", epochs=1, teachers=[made]))
        (teacher,) = card.metrics["training"]["teachers"]
        assert teacher == {
            "title": "toy:3",
            "classifier": classifier_fingerprint(read_bundle(made)),
        }


class TestCommittees:
    @pytest.mark.heavy
    def test_it_is_calibrated_and_measured_like_any_model(
        self, made: Path, data: Path, tmp_path: Path
    ) -> None:
        other = train(data, tmp_path / "other-1", epochs=1, seed=8)
        out = run_combine([made, other], origin(data), out=tmp_path / "both-1", console=QUIET)
        card = read_bundle(out)
        assert card.title == "both:1"
        assert [(m["title"], m["training"]) for m in card.metrics["training"]["members"]] == [
            ("toy:3", read_bundle(made).metrics["training"]),
            ("other:1", read_bundle(other).metrics["training"]),
        ]
        assert card.out_of_distribution.network == read_bundle(made).out_of_distribution.network
        found = evaluate(data, out)
        assert {k: found[k] for k in ("select", "holdout")} == {
            k: card.metrics[k] for k in ("select", "holdout")
        }

    def test_one_alone_is_none(self, made: Path, data: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingDataError, match="at least two bundles"):
            run_combine([made], origin(data), out=tmp_path / "both-1", console=QUIET)

    def test_the_same_classifier_twice_is_none(
        self, made: Path, data: Path, tmp_path: Path
    ) -> None:
        copied = Path(shutil.copytree(made, tmp_path / made.name))
        with pytest.raises(TrainingDataError, match="toy:3 and toy:3 are the same classifier"):
            run_combine([made, copied], origin(data), out=tmp_path / "both-1", console=QUIET)

    @pytest.mark.heavy
    def test_members_of_other_data_are_refused(
        self, made: Path, data: Path, tmp_path: Path
    ) -> None:
        other = train(data, tmp_path / "other-1", epochs=1, limit=120)
        with pytest.raises(TrainingDataError, match="another division of the data"):
            run_combine([made, other], origin(data), out=tmp_path / "both-1", console=QUIET)


def shop(folder: Path, n: int) -> Path:
    """A manifest with photos as `blotches` draws them; the shop has names of its own for two, and
    something that the model does not know.
    """
    folder.mkdir()
    rows = ["sku,image,kind"]
    for i, line in enumerate(blotches(n, seed=5)):
        label, *pixels = map(int, line.split(","))
        picture = np.array(pixels, np.uint8).reshape(28, 28)
        Image.fromarray(picture).save(folder / f"{i}.png")
        own = {0: "tees", 1: "jeans", 2: "belts"}
        rows.append(f"S{i},{i}.png,{own.get(label, CATEGORIES[label].name)}")
    (folder / "shop.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "shop.csv"


class TestAdapting:
    MEANS: ClassVar[dict[str, str | None]] = {
        "tees": "T-shirt/top",
        "jeans": "Trouser",
        "belts": None,
    }

    def adapted(self, made: Path, tmp_path: Path, *, n: int = 300, **changes: Any) -> Path:
        labels = tmp_path / "labels.json"
        labels.write_text(json.dumps(self.MEANS), encoding="utf-8")
        data = str(shop(tmp_path / "shop", n))
        given: dict[str, Any] = {"label": "kind", "meaning": labels, "out": tmp_path / "shop-2"}
        return run_adapt(
            made,
            Origin(data=data, data_dir=None, cache_dir=tmp_path / "cache"),
            console=QUIET,
            **(given | changes),
        )

    def test_it_learns_the_shops_photos(self, made: Path, tmp_path: Path) -> None:
        card = read_bundle(self.adapted(made, tmp_path))
        base = read_bundle(made)
        assert card.title == "shop:2"
        assert card.description == "toy:3 adapted to 270 photos of shop.csv"
        assert card.category_names == base.category_names
        assert card.out_of_distribution == base.out_of_distribution
        before, after = card.metrics["before"], card.metrics["crossfitted"]
        assert after["accuracy"] > before["accuracy"] + 0.2
        assert after["by_category"]["Pullover"]["images"] == 0  # what was called belts
        assert card.acceptance.holdout_n == after["images"] == 270
        assert card.acceptance.holdout_accepted == after["accepted"]
        assert card.data["base"]["title"] == "toy:3"

    def test_the_bundle_gives_the_adapted_answers(self, made: Path, tmp_path: Path) -> None:
        from model_training.bundle import load_network

        out = self.adapted(made, tmp_path)
        images = np.stack(
            [np.asarray(Image.open(tmp_path / "shop" / f"{i}.png")) for i in range(300)]
        )[..., None]
        labels = np.arange(300) % 10
        known = labels != 2
        right = []
        for bundle in (made, out):
            logits, _ = load_network(bundle)[1].answer(images[known])
            right.append((logits.argmax(axis=1) == labels[known]).mean())
        assert right[1] > right[0] + 0.2

    def test_photos_that_the_base_knows_are_left_out(
        self, made: Path, tmp_path: Path, data: Path
    ) -> None:
        with pytest.raises(TrainingDataError, match="got 0 photos of 0 products"):
            run_adapt(made, origin(data), out=tmp_path / "again-1", console=QUIET)

    def test_reviews_are_no_random_sample(self, made: Path, tmp_path: Path) -> None:
        reviews = Origin(data="reviews", data_dir=None, cache_dir=tmp_path)
        with pytest.raises(TrainingDataError, match="mostly of products that a model doubted"):
            run_adapt(made, reviews, out=tmp_path / "shop-1", console=QUIET)

    def test_it_is_neither_adapted_again_nor_a_teacher_nor_a_member(
        self, made: Path, data: Path, tmp_path: Path
    ) -> None:
        out = self.adapted(made, tmp_path)
        with pytest.raises(BundleError, match="cannot be measured, reported on, combined"):
            run_adapt(out, origin(data), out=tmp_path / "again-1", console=QUIET)
        with pytest.raises(BundleError, match="it was made from, toy:3"):
            train(data, tmp_path / "toy-1", epochs=1, teachers=[out])
        with pytest.raises(BundleError, match="it was made from, toy:3"):
            run_combine([made, out], origin(data), out=tmp_path / "both-1", console=QUIET)

    def test_a_meaning_that_no_photo_has_is_named(self, made: Path, tmp_path: Path) -> None:
        wrong = tmp_path / "wrong.json"
        wrong.write_text(json.dumps(self.MEANS | {"tee": "T-shirt/top"}), encoding="utf-8")
        with pytest.raises(TrainingDataError, match=r"what \['tee'\] mean, but no photo"):
            self.adapted(made, tmp_path, meaning=wrong)

    def test_a_name_that_is_none_is_refused_before_the_work(
        self, made: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(BundleError, match="no name for a bundle"):
            self.adapted(made, tmp_path, out=tmp_path / "My Shop-1")

    def test_whose_rate_it_is(self, made: Path, tmp_path: Path) -> None:
        spec = read_bundle(self.adapted(made, tmp_path)).acceptance
        assert spec.measured == "crossfitted"
        assert spec.whose == "the photos it was adapted to, cross-fitted"
        assert read_bundle(made).acceptance.whose == "the bundle's own hold-out"

    def test_a_label_that_means_nothing_is_named(self, made: Path, tmp_path: Path) -> None:
        with pytest.raises(
            TrainingDataError,
            match=r"labels \['belts', 'jeans', 'tees'\] mean no category of toy:3",
        ):
            self.adapted(made, tmp_path, meaning=None)

    def test_a_list_of_meanings_that_is_none_is_refused(self, tmp_path: Path) -> None:
        broken = tmp_path / "broken.json"
        broken.write_text('["tees"]', encoding="utf-8")
        with pytest.raises(TrainingDataError, match="must hold a JSON object"):
            read_meaning(broken)
        with pytest.raises(TrainingDataError, match="there is no file"):
            read_meaning(tmp_path / "missing.json")

    def test_too_few_photos_write_nothing(self, made: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingDataError, match="at least 200"):
            self.adapted(made, tmp_path, n=100)
        assert not (tmp_path / "shop-2").exists()

    def test_it_is_not_measured_on_what_it_knows(self, made: Path, tmp_path: Path) -> None:
        out = self.adapted(made, tmp_path)
        with pytest.raises(BundleError, match="which are not divided into parts"):
            run_evaluate(
                out,
                Origin(
                    data=str(tmp_path / "shop" / "shop.csv"),
                    data_dir=None,
                    cache_dir=tmp_path / "cache",
                    options=PhotoOptions(label="kind", input="fashion-mnist"),
                ),
                test=False,
                console=QUIET,
            )


def test_another_seed_does_not_go_on_from_this_checkpoint(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "toy-1"
    shutil.copytree(
        train(data, tmp_path / "first-1", epochs=1).with_name("first-1.run"), f"{out}.run"
    )
    with pytest.raises(TrainingDataError, match=r"another run: config differ"):
        train(data, out, epochs=1, resume=True, seed=8)


def test_a_damaged_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    checkpoint = Checkpoint(
        epoch=1, model=[np.ones(3)], optimizer=[], best=[], history=[], identity={}
    )
    write_checkpoint(tmp_path, checkpoint)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(TrainingDataError, match="without --resume"):
        read_checkpoint(tmp_path, {})


def test_an_existing_bundle_is_replaced_only_when_told(bundle: Path, data: Path) -> None:
    before = card_fingerprint(read_bundle(bundle))
    with pytest.raises(BundleError, match="is not overwritten"):
        train(data, bundle, epochs=1)
    assert card_fingerprint(read_bundle(bundle)) == before
    train(data, bundle, epochs=1, replace=True)
    assert card_fingerprint(read_bundle(bundle)) != before
    assert {p.name for p in bundle.parent.iterdir()} == {bundle.name, f"{bundle.name}.run"}


def test_a_folder_that_is_no_bundle_is_never_replaced(data: Path, tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("dear")
    with pytest.raises(BundleError, match="is no model bundle"):
        train(data, tmp_path, replace=True)
    assert (tmp_path / "letters").exists()


def test_impossible_numbers_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="epochs must be at least 1, got 0"):
        TINY.changed(epochs=0)
    with pytest.raises(TrainingDataError, match="limit must be at least 1, got 0"):
        train(tmp_path, tmp_path / "none", limit=0)


class TestLoading:
    def test_altered_weights_are_refused(self, bundle: Path) -> None:
        from model_training.bundle import load_network

        weights = bundle / read_bundle(bundle).weights
        raw = bytearray(weights.read_bytes())
        raw[len(raw) // 2] ^= 1
        weights.write_bytes(raw)
        with pytest.raises(BundleError, match="was altered or is missing"):
            load_network(bundle)

    def test_a_bundle_without_a_card_is_no_bundle(self, bundle: Path) -> None:
        from model_training.bundle import load_network

        (bundle / CARD_NAME).unlink()
        with pytest.raises(BundleError, match="no complete model bundle"):
            load_network(bundle)

    @pytest.mark.parametrize(
        ("network", "message"),
        [
            ({"name": "transformer", "parameters": {}}, "there is no network 'transformer'"),
            ({"name": "preact-resnet", "parameters": {"depth": 3}}, "do not fit"),
            (
                {
                    "name": "preact-resnet",
                    "parameters": {
                        "input_shape": [28, 28, 1],
                        "categories": 10,
                        "stem": 4,
                        "widths": [4],
                        "blocks": [1],
                    },
                },
                "does not fit the network",
            ),
            (
                {
                    "name": "preact-resnet",
                    "parameters": {
                        "input_shape": [32, 32, 3],
                        "categories": 10,
                        "stem": 4,
                        "widths": [4, 8],
                        "blocks": [1, 1],
                    },
                },
                "the card announces input",
            ),
        ],
    )
    def test_a_card_that_does_not_fit_its_weights_is_refused(
        self, bundle: Path, network: dict[str, Any], message: str
    ) -> None:
        from model_training.bundle import load_network

        rewrite_card(bundle, network=network)
        with pytest.raises(BundleError, match=message):
            load_network(bundle)

    def test_logits_do_not_depend_on_the_company_an_image_is_in(self, made: Path) -> None:
        from model_training.bundle import load_network
        from model_training.predict import in_batches

        _, network = load_network(made)
        images = np.random.default_rng(0).integers(0, 256, (70, 28, 28, 1), dtype=np.uint8)
        together, scores = in_batches(network.answer, images, batch=32)
        alone, score = in_batches(network.answer, images[:1], batch=32)
        assert (together.shape, scores.shape) == ((70, 10), (70,))
        assert (together.dtype, scores.dtype) == (np.float32, np.float64)
        assert alone[0] == pytest.approx(together[0], abs=1e-4)
        assert score[0] == pytest.approx(scores[0], rel=1e-3, abs=1e-2)
        nothing, no_scores = in_batches(network.answer, images[:0], batch=32)
        assert (nothing.shape, no_scores.shape) == ((0, 10), (0,))

    def test_the_policy_of_the_process_does_not_leak_into_a_bundle(self, made: Path) -> None:
        import keras

        from model_training.bundle import load_networks
        from model_training.networks import dtype_policy

        with dtype_policy("mixed_bfloat16"):
            _, networks = load_networks(made)
            assert keras.config.dtype_policy().name == "mixed_bfloat16"
        both = (networks.classifier, networks.sentinel)
        layers = [layer for model in both for layer in model.layers if layer.weights]
        assert {layer.compute_dtype for layer in layers} == {"float32"}


class TestEvaluating:
    def test_the_test_set_is_read_only_when_asked_for(self, bundle: Path, data: Path) -> None:
        report = evaluate(data, bundle, test=True)
        assert report["test"]["images"] == 40
        assert "test" not in read_bundle(bundle).metrics
        per_category = report["test"]["by_category"].values()
        assert sum(row["accepted"] for row in per_category) == report["test"]["accepted"]
        assert sum(row["images"] for row in per_category) == 40

    def test_recorded_figures_stay(self, bundle: Path, data: Path) -> None:
        report = evaluate(data, bundle, test=True, record=True)
        card = read_bundle(bundle)
        assert card.metrics["test"] == report["test"]
        assert card.metrics["test_without_duplicates"] == report["test_without_duplicates"]
        again = evaluate(data, bundle, test=True, record=True)  # the same is no offence
        assert again["withdrawn"] == []
        rewrite_card(bundle, metrics={**card.metrics, "test": {"accuracy": 1.0}})
        with pytest.raises(BundleError, match="scored once"):
            evaluate(data, bundle, test=True, record=True)

    def test_a_target_that_the_test_contradicts_is_withdrawn(
        self, bundle: Path, data: Path
    ) -> None:
        card = read_bundle(bundle)
        greedy = card.operating_points["0.98"].model_copy(
            update={"fallback": 0.0, "by_category": {}}
        )
        points = {k: v.model_dump() for k, v in card.operating_points.items()}
        rewrite_card(bundle, operating_points=points | {"0.98": greedy.model_dump()})
        report = evaluate(data, bundle, test=True, record=True)
        assert report["test"]["targets"]["0.98"]["error"] > 0.02
        assert report["withdrawn"] == ["0.98"]
        updated = read_bundle(bundle)
        assert set(updated.operating_points) == {"0.95", "0.99", "0.995"}
        assert updated.at(0.98) == updated.operating_points["0.99"]
        assert updated.metrics["test"] == report["test"]
        again = evaluate(data, bundle, test=True, record=True)
        assert again["withdrawn"] == []
        assert read_bundle(bundle) == updated

    def test_only_test_figures_are_recorded(self, bundle: Path, data: Path) -> None:
        with pytest.raises(BundleError, match="only test figures"):
            evaluate(data, bundle, record=True)

    def test_other_data_than_the_bundles_own_is_refused(
        self, bundle: Path, data: Path, tmp_path: Path
    ) -> None:
        other = tmp_path / "fashion-mnist"
        other.mkdir()
        lines = (data / "fashion-mnist" / "fashion-mnist_train.csv").read_text().splitlines()
        (other / "fashion-mnist_train.csv").write_text("\n".join(lines[:300]) + "\n")
        with pytest.raises(BundleError, match="made from other data"):
            evaluate(tmp_path, bundle)

    def test_a_split_that_is_not_the_cards_is_refused(self, bundle: Path, data: Path) -> None:
        rewrite_card(bundle, data={"limit": None, "split": {"fingerprint": "0" * 64}})
        with pytest.raises(BundleError, match="is not the split that the card names"):
            evaluate(data, bundle)


def test_limit_takes_the_first_images(data: Path, tmp_path: Path) -> None:
    out = train(data, tmp_path / "toy-1", epochs=1, limit=120)
    card: ModelCard = read_bundle(out)
    assert card.data["limit"] == 120
    assert card.data["split"]["train"] == 100
    assert evaluate(data, out)["holdout"] == card.metrics["holdout"]


def test_importing_the_commands_imports_neither_keras_nor_celery() -> None:
    code = (
        "import sys, model_training.commands;"
        "print([m for m in ('keras', 'tensorflow', 'celery', 'kombu') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
