"""The report of a model that is not ours: colour photos, 50 categories, long names, few images."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from model_training.commands import Origin
from model_training.datasets.labelled import LabelledImages
from model_training.figures import figures, judge_by_card
from model_training.outsiders import margins
from model_training.report import make, wording
from model_training.report.agreement import agreement_json, ensure_agreement
from model_training.report.errors import ReportError
from model_training.report.findings import Answers, Findings, Network, assemble
from model_training.report.label_errors import suspects
from model_training.report.metrics import measure
from model_training.report.page import render
from model_training.report.pictures import draw
from model_training.report.sheets import tile
from model_training.report.style import chart_name, shortened
from model_training.report.write import write_report
from model_training.splits import Split
from model_training.thresholds import acceptance_spec
from tagging.errors import BundleError
from tagging.model_card import Category, InputSpec, ModelCard
from tests.stand_in import stand_in_card

# Keras 3.15 reads its own variables with numpy's old protocol; nothing of ours to mend.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

HEIGHT, WIDTH = 40, 30


def categories(count: int) -> tuple[Category, ...]:
    """Names that are long, that a browser could take for markup, or a chart for a formula."""
    return tuple(
        Category(
            name=f"Women's {n} <b>long-sleeved & embroidered</b> $evening$ jackets, number {n}",
            parent=f"Branch {n % 4}",
        )
        for n in range(count)
    )


def answers(labels: np.ndarray[Any, Any], count: int, sharpness: float, seed: int) -> Answers:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(labels), count)) + sharpness * np.eye(count)[labels]
    return Answers(logits=logits.astype(np.float32), ood_scores=rng.normal(size=len(labels)) - 2.5)


def findings_of(
    count: int = 50, *, parts: tuple[int, int, int] = (150, 60, 60), sharpness: float = 3.5
) -> Findings:
    """As if a model had answered, with a card that states what comes of it."""
    n = sum(parts)
    rng = np.random.default_rng(1)
    labels = np.arange(n, dtype=np.int64) % count
    data = LabelledImages(
        images=rng.integers(0, 256, (n, HEIGHT, WIDTH, 3), dtype=np.uint8),
        labels=labels,
        categories=categories(count),
        sources={"photos.tar": "0" * 32},
    )
    train, select, holdout = np.split(np.arange(n), np.cumsum(parts)[:2])
    split = Split(train=train, select=select, holdout=holdout, groups=3, fingerprint="f" * 64)
    said = {
        name: answers(labels[part], count, sharpness, seed)
        for seed, (name, part) in enumerate(
            {"train": train, "select": select, "hold-out": holdout}.items()
        )
    }
    card = card_for(data, split, said)
    return assemble(
        card=card,
        source="our photos",
        data=data,
        split=split,
        network=Network(parameters=1234, weights_bytes=5678, rescaling=None),
        answers=said,
        foreign={"noise": rng.normal(size=40), "nothing at all": np.zeros(0)},
    )


def card_for(data: LabelledImages, split: Split, said: dict[str, Answers]) -> ModelCard:
    blank = stand_in_card().model_copy(
        update={
            "categories": list(data.categories),
            "input": InputSpec(kind="photo", height=HEIGHT, width=WIDTH, channels=3),
        }
    )
    parts = {"select": data.take(split.select), "hold-out": data.take(split.holdout)}
    judged = {
        name: judge_by_card(blank, said[name].logits, said[name].ood_scores, part.labels)
        for name, part in parts.items()
    }
    specs = {
        f"{target:g}": acceptance_spec(
            judged["select"], judged["hold-out"], taxonomy=blank.taxonomy, target=target
        )
        for target in (0.8, 0.9)
    }
    card = blank.model_copy(update={"operating_points": specs, "acceptance": specs["0.9"]})
    metrics = {
        stated: figures(card, said[name].logits, said[name].ood_scores, parts[name])
        for stated, name in (("select", "select"), ("holdout", "hold-out"))
    }
    return card.model_copy(update={"metrics": metrics})


@pytest.fixture(scope="module")
def findings() -> Findings:
    return findings_of()


@pytest.fixture(scope="module")
def numbers(findings: Findings) -> dict[str, Any]:
    return measure(findings, ensure_agreement(findings))


@pytest.fixture(scope="module")
def pictures(findings: Findings, numbers: dict[str, Any]) -> dict[str, bytes]:
    return draw(findings, numbers)


@pytest.fixture(scope="module")
def page(findings: Findings, numbers: dict[str, Any], pictures: dict[str, bytes]) -> str:
    return render(findings, numbers, pictures)


class Page(HTMLParser):
    """What a browser would see: the open tags that are never closed, links, images, texts."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


class TestPage:
    def test_it_is_well_formed_and_needs_nothing_else(self, page: str) -> None:
        seen = Page(page)
        assert seen.open == []
        assert "script" not in {tag for tag, _ in seen.tags}
        assert ("html", {"lang": "en"}) in seen.tags
        sources = [a["src"] for tag, a in seen.tags if tag == "img"]
        assert sources
        assert all(str(src).startswith("data:image/") for src in sources)
        assert not re.search(r"https?://|url\(|@import", page)

    def test_every_picture_says_what_it_shows(self, page: str) -> None:
        assert all(a["alt"] for tag, a in Page(page).tags if tag == "img")

    def test_every_entry_of_the_contents_leads_somewhere(self, page: str) -> None:
        seen = Page(page)
        links = {str(a["href"]).removeprefix("#") for tag, a in seen.tags if tag == "a"}
        assert len(links) == 11
        assert links <= {a.get("id") for _, a in seen.tags}

    def test_names_are_shown_as_they_are(self, page: str) -> None:
        name = categories(1)[0].name
        assert name in {text.strip() for text in Page(page).texts}
        assert name not in page

    def test_every_chart_is_embedded_as_it_is_written(
        self, page: str, pictures: dict[str, bytes]
    ) -> None:
        shown = {n for n, png in pictures.items() if base64.b64encode(png).decode() in page}
        loose = {"right.png", "wrong.png", "surest-mistakes.png", "doubtful-labels.png"}
        assert shown == set(pictures) - loose
        assert {"distribution.png", "confusion.png", "reliability.png", "risk-coverage.png"} < shown
        assert {"samples-1.png", "samples-4.png", "strangeness.png", "steps.png"} < shown

    def test_tiles_are_the_photos(self, findings: Findings, page: str) -> None:
        found = re.search(r'src="data:image/png;base64,([^"]+)" alt="Photo (\d+),', page)
        assert found
        tile = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))))
        assert np.array_equal(tile, findings.data.images[int(found[2])])


class TestNumbers:
    def test_they_are_plain_json_and_agree_with_the_card(
        self, findings: Findings, numbers: dict[str, Any]
    ) -> None:
        assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
        metrics = findings.card.metrics
        assert numbers["holdout"] == metrics["holdout"]
        assert numbers["select"] == metrics["select"]
        agreement = numbers["agreement"]
        assert agreement["equal"] == agreement["compared"] > 100

    def test_parts_add_up(self, findings: Findings, numbers: dict[str, Any]) -> None:
        matrix = np.array(numbers["confusion"])
        held_out = len(findings.split.holdout)
        assert matrix.sum() == held_out
        errors = held_out - np.trace(matrix)
        assert numbers["tree_distance"]["errors"] == errors
        assert len(numbers["examples"]["surest_mistakes"]) == min(50, errors)
        rows = numbers["categories"].values()
        assert sum(row["answered"] for row in rows) == held_out
        assert sum(row["accepted"] for row in rows) == numbers["holdout"]["accepted"]
        per_1000 = numbers["per_1000"]
        assert per_1000["tagged"] + per_1000["waiting"] == 1000
        assert sum(sum(c.values()) for c in numbers["data"]["by_category"].values()) == 270

    def test_targets_are_the_cards_and_the_reports(self, numbers: dict[str, Any]) -> None:
        assert list(numbers["targets"]) == ["0.8", "0.9", "0.95", "0.98", "0.99", "0.995"]
        stored = [text for text, row in numbers["targets"].items() if row["stored_in_card"]]
        assert stored == ["0.8", "0.9"]

    def test_the_surest_mistakes_come_first(self, numbers: dict[str, Any]) -> None:
        sure = [item["confidence"] for item in numbers["examples"]["surest_mistakes"]]
        assert sure == sorted(sure, reverse=True)

    def test_distances_follow_the_tree(self, numbers: dict[str, Any]) -> None:
        steps = numbers["tree_distance"]["by_steps"]
        assert set(steps) <= {"2", "4"}
        assert sum(row["share"] for row in steps.values()) == pytest.approx(1)

    def test_an_empty_group_of_foreign_pictures_is_left_out(
        self, findings: Findings, numbers: dict[str, Any]
    ) -> None:
        groups = numbers["out_of_distribution"]["groups"]
        assert set(groups) == {"noise"}
        flagged = int((findings.foreign["noise"] >= 0).sum())
        assert groups["noise"]["flagged"] == flagged
        assert 0.5 < groups["noise"]["auroc"] < 1


class TestAgreement:
    @pytest.mark.parametrize(
        ("part", "key", "by"),
        [
            ("holdout", "accuracy", 0.05),
            ("holdout", "ece", -0.05),
            ("select", "accepted", 7),
            ("holdout", "errors", 4),
            ("holdout", "images", 1),
        ],
    )
    def test_a_card_that_states_something_else_is_refused(
        self, findings: Findings, part: str, key: str, by: float
    ) -> None:
        metrics = json.loads(json.dumps(findings.card.metrics))
        metrics[part][key] += by
        card = findings.card.model_copy(update={"metrics": metrics})
        with pytest.raises(
            BundleError, match=rf"the report and the card disagree: {part} {key}: card"
        ):
            ensure_agreement(dataclasses.replace(findings, card=card))

    def test_thresholds_that_were_moved_are_refused(self) -> None:
        findings = findings_of(3, parts=(60, 300, 300), sharpness=5.0)
        name = findings.card.category_names[1]
        point = findings.operating_points["0.9"]
        cut = point.spec.by_category[name]
        assert cut < 1
        moved = point.spec.model_copy(
            update={"by_category": {**point.spec.by_category, name: cut - 0.02}}
        )
        points = {**findings.operating_points, "0.9": dataclasses.replace(point, spec=moved)}
        with pytest.raises(BundleError, match=r"target 0\.9: threshold of Women's 1"):
            ensure_agreement(dataclasses.replace(findings, operating_points=points))

    def test_rounding_is_forgiven_and_told(self, findings: Findings) -> None:
        metrics = json.loads(json.dumps(findings.card.metrics))
        metrics["holdout"]["accepted"] += 1
        card = findings.card.model_copy(update={"metrics": metrics})
        told = agreement_json(ensure_agreement(dataclasses.replace(findings, card=card)))
        assert told["compared"] - told["equal"] == 1


class TestForeignPictures:
    def with_stated(self, findings: Findings, flagged: int, **changes: Any) -> Findings:
        stated = {"noise": {"images": 40, "flagged": flagged}}
        card = findings.card.model_copy(
            update={"metrics": findings.card.metrics | {"strange": stated}}
        )
        return dataclasses.replace(findings, card=card, **changes)

    def test_what_the_card_states_of_them_must_be_found(self, findings: Findings) -> None:
        flagged = int((findings.foreign["noise"] >= 0).sum())
        ensure_agreement(self.with_stated(findings, flagged))
        with pytest.raises(BundleError, match=r"disagree: noise: flagged: card \d+, found \d+"):
            ensure_agreement(self.with_stated(findings, flagged - 5))

    def test_without_them_the_card_is_quoted(
        self, findings: Findings, pictures: dict[str, bytes]
    ) -> None:
        changed = self.with_stated(findings, 10, foreign={})
        numbers = measure(changed, ensure_agreement(changed))
        page = render(changed, numbers, pictures)
        assert "this is what the model's card states" in page
        assert "25.0\N{NO-BREAK SPACE}%" in page

    def test_without_any_the_page_says_so(self) -> None:
        nobody = dataclasses.replace(findings_of(4, parts=(40, 8, 8)), foreign={})
        numbers = measure(nobody, ensure_agreement(nobody))
        drawn = draw(nobody, numbers)
        assert "strangeness.png" not in drawn
        assert "was not measured: none were given" in render(nobody, numbers, drawn)


def test_a_large_photo_is_shown_smaller() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    kind, content = tile(image)
    assert kind == "image/jpeg"
    assert Image.open(io.BytesIO(content)).size == (75, 112)


def test_long_names_keep_both_ends() -> None:
    assert shortened("Trouser", 7) == "Trouser"
    assert shortened("Women's long-sleeved jackets, petite", 15) == "Women's…petite"
    assert chart_name("$5 bags") == r"\$5 bags"


@pytest.mark.parametrize("sharpness", [0.0, 40.0], ids=["knows nothing", "knows all"])
def test_extremes_can_be_reported(sharpness: float) -> None:
    findings = findings_of(4, parts=(40, 8, 8), sharpness=sharpness)
    numbers = measure(findings, ensure_agreement(findings))
    page = render(findings, numbers, draw(findings, numbers))
    assert Page(page).open == []
    assert numbers["holdout"]["accepted"] == 0  # of eight images nothing can be promised
    assert "none is tagged without a person" in page
    assert ("There was no wrong answer" in page) == (sharpness > 0)


def test_small_categories_that_were_merged_are_named(
    findings: Findings, pictures: dict[str, bytes]
) -> None:
    merged = [{"category": "Caps", "images": 12, "into": "Headwear (other)"}]
    card = findings.card.model_copy(update={"data": {"merged": merged}})
    changed = dataclasses.replace(findings, card=card)
    numbers = measure(changed, ensure_agreement(changed))
    assert "Caps, 12 photos: part of Headwear (other)" in render(changed, numbers, pictures)


@pytest.mark.parametrize(("error", "withdrawn"), [(0.2001, True), (0.2, False), (None, False)])
def test_thresholds_that_the_test_refuted_are_said_to_be_withdrawn(
    findings: Findings, pictures: dict[str, bytes], error: float | None, withdrawn: bool
) -> None:
    card = findings.card
    test = card.metrics["holdout"] | {"targets": {"0.8": {"error": error}}}
    points = {text: spec for text, spec in card.operating_points.items() if text != "0.8"}
    card = card.model_copy(
        update={"operating_points": points, "metrics": card.metrics | {"test": test}}
    )
    stored = dataclasses.replace(findings.operating_points["0.8"], stored=False)
    changed = dataclasses.replace(
        findings, card=card, operating_points=findings.operating_points | {"0.8": stored}
    )
    numbers = measure(changed, ensure_agreement(changed))
    page = render(changed, numbers, pictures)
    assert ("The thresholds for 0.8 were withdrawn" in page) is withdrawn
    assert ("The thresholds for 0.8, 0.95" in page) is not withdrawn
    assert numbers["targets"]["0.9"]["refuted_by_test"] is None


class TestTheCostOfTraining:
    EPOCHS: ClassVar = [
        {"epoch": n, "loss": 1 / n, "select_nll": 1 / n, "select_accuracy": 0.8, "seconds": 90.0}
        for n in (1, 2)
    ]

    def reported(self, findings: Findings, training: dict[str, Any]) -> tuple[str, set[str]]:
        card = findings.card.model_copy(
            update={"metrics": findings.card.metrics | {"training": training}}
        )
        changed = dataclasses.replace(findings, card=card)
        numbers = measure(changed, ensure_agreement(changed))
        drawn = draw(changed, numbers)
        return render(changed, numbers, drawn), {name for name in drawn if "curves" in name}

    def test_of_one_network(self, findings: Findings) -> None:
        page, curves = self.reported(findings, {"epochs": self.EPOCHS})
        assert "3 minutes of computing." in page
        assert "2 passes over 150 photos, 2 photos a second" in page
        assert "committee" not in page
        assert curves == {"learning-curves-1.png"}

    def test_of_a_committee_in_a_committee(self, findings: Findings) -> None:
        taught = {"epochs": self.EPOCHS, "teachers": [{"title": "master:1", "classifier": "c"}]}
        inner = {"members": [{"title": "b:1", "training": taught}, {"title": "c:1"}]}
        page, curves = self.reported(
            findings,
            {
                "members": [
                    {"title": "a:1", "training": {"epochs": self.EPOCHS}},
                    {"title": "d:1", "training": inner},
                ]
            },
        )
        assert "6 minutes of computing for 2 of 3 networks; of the rest the card says" in page
        assert "taught by master:1" in page
        assert page.count("says nothing of how this one was trained") == 1
        assert curves == {"learning-curves-1.png", "learning-curves-2.png"}

    def test_of_a_model_whose_card_says_nothing(self, findings: Findings) -> None:
        page, curves = self.reported(findings, {})
        assert "The card says nothing of how this model was trained." in page
        assert curves == set()


def test_margins_are_measured_from_the_bound_of_the_answer(findings: Findings) -> None:
    ood = findings.card.out_of_distribution
    name = findings.card.category_names[2]
    bounded = ood.model_copy(update={"threshold": 1.0, "by_category": {name: 3.0}})
    card = findings.card.model_copy(update={"out_of_distribution": bounded})
    logits = np.eye(50)[[2, 5]]
    assert margins(card, logits, np.array([3.5, 3.5])).tolist() == [0.5, 2.5]


def test_a_label_that_the_model_surely_denies_is_doubtful() -> None:
    labels = np.array([0] * 20 + [1] * 20, dtype=np.int64)
    probabilities = np.eye(2)[labels] * 0.96 + 0.02
    probabilities[[3, 25]] = probabilities[[3, 25]][:, ::-1]
    found = suspects({"new": (np.arange(100, 140), labels, probabilities)})
    assert {(s.index, s.label, s.suggestion) for s in found} == {(103, 0, 1), (125, 1, 0)}
    assert found[0].label_probability == pytest.approx(0.02)


PER_1000 = {
    "tagged": 804,
    "wrong": 6,
    "at_most_wrong": 8,
    "waiting": 196,
    "waiting_right": 151,
}


class TestWording:
    def test_the_headline(self) -> None:
        assert wording.headline(PER_1000).replace("\N{NO-BREAK SPACE}", " ") == (
            "Of 1,000 photos, 804 are tagged without a person; about 6 of those are wrong (with "
            "95 % certainty at most 8); 196 wait for you."
        )

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"tagged": 0, "waiting": 1000}, "none is tagged without a person"),
            ({"wrong": 0}, "hardly any of those is wrong"),
            ({"wrong": 1}, "about 1 of those is wrong"),
            ({"tagged": 1000, "waiting": 0}, "none waits for you"),
            ({"tagged": 999, "waiting": 1}, "1 waits for you"),
        ],
    )
    def test_the_headline_at_its_ends(self, changes: dict[str, int], words: str) -> None:
        assert words in wording.headline(PER_1000 | changes)

    def test_few_photos_are_warned_of(self) -> None:
        assert "rough" in wording.measured_on(999)
        assert "rough" not in wording.measured_on(1000)

    def test_confidence_that_is_far_off_is_no_promise(self) -> None:
        assert "not as a promise" in wording.trust(0.05)
        assert "off by 0.4 percentage points" in wording.trust(0.00415)


class TestWriting:
    def test_an_earlier_report_is_replaced_whole(self, tmp_path: Path) -> None:
        folder = tmp_path / "reports" / "toy-1"
        write_report(folder, page="old", pictures={"a.png": b"a"}, numbers={"n": 1})
        write_report(folder, page="new", pictures={"b.png": b"b"}, numbers={"n": 2})
        assert sorted(p.name for p in folder.iterdir()) == ["b.png", "index.html", "metrics.json"]
        assert (folder / "index.html").read_text(encoding="utf-8") == "new"
        assert json.loads((folder / "metrics.json").read_text(encoding="utf-8")) == {"n": 2}
        assert [p.name for p in folder.parent.iterdir()] == ["toy-1"]

    def test_a_folder_that_is_no_report_is_never_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "letters").write_text("dear", encoding="utf-8")
        with pytest.raises(ReportError, match="is no report"):
            write_report(tmp_path, page="", pictures={}, numbers={})
        assert [p.name for p in tmp_path.iterdir()] == ["letters"]

    def test_a_write_that_fails_leaves_the_earlier_report(self, tmp_path: Path) -> None:
        folder = tmp_path / "toy-1"
        write_report(folder, page="old", pictures={}, numbers={})
        with pytest.raises(FileNotFoundError):
            write_report(folder, page="new", pictures={"no/such/folder.png": b""}, numbers={})
        assert (folder / "index.html").read_text(encoding="utf-8") == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["toy-1"]


def test_without_its_libraries_the_report_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(make, "NEEDED", ("jinja2", "no_such_library"))
    with pytest.raises(ReportError, match=r"needs no_such_library.*install atelier\[report\]"):
        make.run_report(
            tmp_path,
            Origin(data="fashion-mnist", data_dir=None, cache_dir=tmp_path),
            out=None,
            console=Console(quiet=True),
        )


def test_the_command_line_starts_without_the_libraries_of_the_report() -> None:
    code = (
        "import sys, worker.cli, worker.cli_report, model_training.report.make;"
        "heavy = {'matplotlib', 'cleanlab', 'pandas', 'jinja2', 'keras', 'tensorflow'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
