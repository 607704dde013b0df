"""What a catalogue costs in verdicts, by a reviewer who answers from the labels.

    make review-cost               # on the hold-out images, to try things on
    make review-cost PART=test     # on the test images: once per released model

A catalogue is delivered, tagged by a real worker, and worked through by the very requests that the
page makes: first the audit sample in grids, then what waits, one product at a time, those first
whose two likeliest categories are closest. (Not the least sure first: where a parent is suggested,
it is the parent that the model is sure of.) One verdict is counted per product, the grid's
included. After each the error of the whole catalogue is known: of all products the share whose
category is wrong, in force or, where nobody decided yet, the model's most likely one. A parent in
force that holds the true category counts as right; how many products end with no more than a parent
is printed beside it.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from fastapi.testclient import TestClient
from PIL import Image
from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from model_training.commands import SHIPPED_RECIPE, Origin, run_adapt
from model_training.datasets.labelled import LabelledImages
from model_training.datasets.sources import PhotoOptions
from model_training.near_duplicates import near_duplicate_groups
from model_training.own_data import own_data
from model_training.shop_recipe import read_recipe
from tagging import accounts
from tagging.database.session import Database
from tagging.database.tables import Prediction, Product
from tagging.domain import Role
from tagging.images.decoders import DecoderPool
from tagging.images.model_input import PREPROCESSING_VERSION
from tagging.model_card import read_bundle, read_content
from tagging.rules import parse_rules
from tagging.settings import Settings
from tagging.steering import change_rules
from tagging.web.app import create_app
from tagging.web.previews import Previews
from tagging.web.site import Site
from worker.bootstrap import SHIPPED_BUNDLES, Runtime, image_limits, open_runtime, utc_now
from worker.cli import ingest_source
from worker.embedded import embedded_worker
from worker.follow import wait_for_upload

GOAL_ERROR: Final = 0.01
ERRS: Final = 0.02
"""How often the reviewer of the second run says something wrong."""
GRID: Final = 48
ORDER: Final = "valuable"
PASSWORD: Final = "only for this simulation"

RULES: Final = {
    "flat 0.9": "out_of_distribution: decide\ncategories:\n",  # filled with the model's categories
    "as shipped": "",
    "audit 1 %": "audit_share: 0.01\n",
    "parents too": "accept_parent: true\n",
}
"""Rule files by their name in the table."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """A delivery and what its products are. `truth`: sku -> category."""

    name: str
    source: Path
    truth: Mapping[str, str]
    bundle: Path


@dataclass(kw_only=True)
class Work:
    """What a reviewer did. `errors`: wrong products before the first verdict and after each."""

    errors: list[int] = field(default_factory=list)
    audited: int = 0
    waited: int = 0
    parents: int = 0

    @property
    def verdicts(self) -> int:
        return self.audited + self.waited

    def needed(self, products: int) -> int | None:
        """Verdicts until the error is at most `GOAL_ERROR` for the first time; None: never."""
        return next(
            (n for n, wrong in enumerate(self.errors) if wrong <= GOAL_ERROR * products), None
        )


class Reviewer:
    """Works through a retailer's queue by the page's requests, answering from the labels."""

    def __init__(
        self, page: TestClient, retailer: str, truth: Mapping[str, str], errs: float, seed: int
    ) -> None:
        self._page, self._path, self._truth = page, f"/api/{retailer}", truth
        self._errs, self._random = errs, random.Random(seed)
        found = page.get(f"{self._path}/categories").json()["categories"]
        parents = {one["name"]: one["parent"] for one in found}
        self._names = sorted({*truth.values()})
        self._parents = parents

    def covers(self, said: str | None, true: str) -> bool:
        """Whether a category is the true one or holds it."""
        node: str | None = true
        while node is not None:
            if node == said:
                return True
            node = self._parents.get(node)
        return False

    def work(self, in_force: dict[str, str | None]) -> Work:
        """Answer all that is asked. `in_force`: as `_in_force` gives it; is kept up."""
        done = Work(errors=[self._wrong(in_force)])
        while cards := self._ask("grid", audit="true", count=GRID):
            self._say(cards, in_force, done)
            done.audited += len(cards)
        while cards := self._ask("cards", order=ORDER, count=GRID):
            for card in cards:
                self._say([card], in_force, done)
            done.waited += len(cards)
        done.parents = sum(category not in self._names for category in in_force.values())
        return done

    def _wrong(self, in_force: Mapping[str, str | None]) -> int:
        return sum(not self.covers(in_force[sku], true) for sku, true in self._truth.items())

    def _ask(self, what: str, **wish: Any) -> list[dict[str, Any]]:
        answer = self._page.get(f"{self._path}/{what}", params=wish)
        answer.raise_for_status()
        return list(answer.json()["cards"])

    def _say(
        self, cards: Sequence[dict[str, Any]], in_force: dict[str, str | None], done: Work
    ) -> None:
        answers = [self._answer(card) for card in cards]
        sent = {"action": str(uuid.uuid4()), "answers": answers}
        heard = self._page.post(f"{self._path}/reviews", json=sent)
        heard.raise_for_status()
        wrong = done.errors[-1]
        for card, outcome in zip(cards, heard.json()["outcomes"], strict=True):
            if "error" in outcome:
                raise SystemExit(f"{card['sku']}: {outcome['error']}")
            true = self._truth[card["sku"]]
            wrong -= not self.covers(in_force[card["sku"]], true)
            in_force[card["sku"]] = outcome["category"]
            wrong += not self.covers(outcome["category"], true)
            done.errors.append(wrong)

    def _answer(self, card: dict[str, Any]) -> dict[str, Any]:
        says = self._truth[card["sku"]]
        if self._random.random() < self._errs:
            says = self._random.choice([name for name in self._names if name != says])
        same = says == card["suggestion"]
        return {
            "sku": card["sku"],
            "image_set": card["image_set"],
            "prediction": card["prediction"],
            "verdict": "confirmed" if same else "corrected",
            "category": None if same else says,
        }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("holdout", "test"), default="holdout")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("ATELIER_DATA_DIR"))
    parser.add_argument("--only", choices=("fashion-mnist", "studio"))
    arguments = parser.parse_args()
    if arguments.data_dir is None:
        raise SystemExit("set ATELIER_DATA_DIR to the folder with the data, see README.md")
    console = Console(width=130)
    table = Table(title=f"verdicts per 1,000 products ({arguments.part} images; 1 per product)")
    table.add_column("catalogue, model", no_wrap=True)
    table.add_column("rules", no_wrap=True)
    for column in (
        "reviewer errs",
        "error before",
        f"to <= {GOAL_ERROR:.0%}",
        "all (audit + waiting)",
        "error after",
        "parents only",
    ):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        for catalogue in _catalogues(arguments, Path(folder), console):
            for rules in RULES:
                for cells in _worked(catalogue, rules, Path(folder), console):
                    cells = [f"{catalogue.name}, {catalogue.bundle.name}", rules, *cells]
                    table.add_row(*cells)
                    console.print("  " + " | ".join(cells), highlight=False)
    console.print(table)


def _worked(
    catalogue: Catalogue, rules: str, folder: Path, console: Console
) -> Iterator[list[str]]:
    """Tag the catalogue by these rules; a row for each reviewer, who starts from the same state."""
    home = folder / f"{catalogue.name}-{catalogue.bundle.name}-{'-'.join(rules.split())}"
    console.print(f"{catalogue.name}, {catalogue.bundle.name}, {rules}: tagging", highlight=False)
    settings = Settings(
        home=home, model_bundle=catalogue.bundle, database_url=None, broker_url=None
    )
    with open_runtime(settings) as runtime:
        text = _rule_file(rules, catalogue.bundle)
        runtime.retailer("shop")
        change_rules(
            runtime.database, "shop", parse_rules(text), by="Ann", now=utc_now(), text=text
        )
        quiet = Console(quiet=True)
        upload = ingest_source(runtime, str(catalogue.source), "shop", quiet)
        with embedded_worker(settings) as worker:
            wait_for_upload(runtime, upload.upload_id, quiet, worker=worker)
        accounts.add(runtime.database, "Ann", Role.REVIEWER, PASSWORD, now=utc_now())
        before = _in_force(runtime.database)
        if before.keys() != catalogue.truth.keys():
            raise SystemExit(f"{len(before)} of {len(catalogue.truth)} products were classified")
        for errs in (0.0, ERRS):
            yield _reviewed(runtime, catalogue, dict(before), errs)
    shutil.rmtree(home)


def _reviewed(
    runtime: Runtime, catalogue: Catalogue, in_force: dict[str, str | None], errs: float
) -> list[str]:
    """One reviewer's row, on a copy of the database."""
    settings = runtime.settings
    copy = settings.home / f"errs-{errs}.db"
    with (
        closing(sqlite3.connect(settings.home / "atelier.db")) as original,
        closing(sqlite3.connect(copy)) as target,
    ):
        original.backup(target)
    database = Database(f"sqlite:///{copy}")
    with DecoderPool(1, image_limits(settings)) as decoders:
        previews = Previews(
            store=runtime.store, decoders=decoders, folder=settings.home / "previews"
        )
        site = Site(
            database=database,
            previews=previews,
            now=utc_now,
            preprocessing_version=PREPROCESSING_VERSION,
        )
        with TestClient(create_app(site), base_url="http://127.0.0.1") as page:
            page.post("/login", data={"name": "Ann", "password": PASSWORD})
            visitor = accounts.visitor(database, page.cookies["atelier_session"], now=utc_now())
            if visitor is None:
                raise SystemExit("the simulated reviewer could not log in")
            page.headers["x-csrf-token"] = visitor.csrf
            reviewer = Reviewer(page, "shop", catalogue.truth, errs, seed=1)
            done = reviewer.work(in_force)
    if _in_force(database) != in_force:
        raise SystemExit("the database does not have what the page was told")
    database.close()
    n = len(catalogue.truth)
    needed = done.needed(n)
    return [
        f"{errs:.0%}",
        f"{done.errors[0] / n:.2%}",
        "not reached" if needed is None else f"{1000 * needed / n:.0f}",
        f"{1000 * done.verdicts / n:.0f} ({1000 * done.audited / n:.0f} + "
        f"{1000 * done.waited / n:.0f})",
        f"{done.errors[-1] / n:.2%}",
        f"{done.parents / n:.1%}",
    ]


def _in_force(database: Database) -> dict[str, str | None]:
    """sku -> its category, or where nobody decided yet the model's most likely one."""
    with database.read() as session:
        rows = session.execute(
            select(Product.sku, Product.category, Prediction.top_k).join(
                Prediction, Prediction.id == Product.prediction_id
            )
        )
        return {sku: category or top_k[0]["category"] for sku, category, top_k in rows}


def _rule_file(rules: str, bundle: Path) -> str:
    text = RULES[rules]
    if text.endswith("categories:\n"):
        names = read_bundle(bundle).category_names
        text += "".join(f'  "{name}": {{threshold: 0.9}}\n' for name in names)
    return text


def _catalogues(
    arguments: argparse.Namespace, folder: Path, console: Console
) -> Iterator[Catalogue]:
    if arguments.only != "studio":
        yield from _fashion_mnist(arguments, folder, console)
    if arguments.only != "fashion-mnist":
        yield _studio(arguments, folder, console)


def _fashion_mnist(
    arguments: argparse.Namespace, folder: Path, console: Console
) -> Iterator[Catalogue]:
    """A part of the data that the shipped bundles were made from, as PNGs; for each bundle."""
    bundles = sorted(SHIPPED_BUNDLES.iterdir())
    origin = Origin(data="fashion-mnist", data_dir=arguments.data_dir, cache_dir=folder / "cache")
    source = origin.source(console)
    if arguments.part == "test":
        images = source.load_test()
    else:
        data, again = own_data(read_content(bundles[0]), source)
        images = data.take(again.split.holdout)
    pngs = folder / "fashion-mnist"
    truth = _as_pngs(images, pngs)
    for bundle in bundles:
        yield Catalogue(name="Fashion-MNIST", source=pngs, truth=truth, bundle=bundle)


def _as_pngs(images: LabelledImages, folder: Path) -> dict[str, str]:
    folder.mkdir()
    truth = {}
    for number, (pixels, label) in enumerate(zip(images.images, images.labels, strict=True)):
        Image.fromarray(pixels[..., 0]).save(folder / f"{number:05}.png", compress_level=1)
        truth[f"{number:05}"] = images.categories[label].name
    return truth


def _studio(arguments: argparse.Namespace, folder: Path, console: Console) -> Catalogue:
    """Half of the shop photos that fit a category; the better bundle was adapted to the others.

    Near-duplicates stand on one side.
    """
    (photo_set,) = (one for one in read_recipe(SHIPPED_RECIPE).sets if one.label is not None)
    manifest = arguments.data_dir / photo_set.data
    with manifest.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row[photo_set.label] in photo_set.fits]
    shop = folder / "studio"
    shop.mkdir()
    for row in rows:
        shutil.copy(manifest.parent / row["image"], shop)
        row["image"] = Path(row["image"]).name
        row["category"] = photo_set.fits[row[photo_set.label]]
    origin = Origin(
        data=str(_write(shop / "all.csv", rows)),
        data_dir=arguments.data_dir,
        cache_dir=folder / "cache",
        options=PhotoOptions(label="category", min_per_class=1, input="fashion-mnist"),
        decoders=2,
    )
    photos = origin.source(console).load()
    groups = dict(zip(photos.digests, near_duplicate_groups(photos.images).tolist(), strict=True))
    halves: dict[bool, list[dict[str, str]]] = {False: [], True: []}
    for row in rows:
        digest = sha256((shop / row["image"]).read_bytes()).digest()
        if digest in groups:
            halves[sha256(str(groups[digest]).encode()).digest()[0] % 2 == 0].append(row)
    taught = Origin(
        data=str(_write(shop / "taught.csv", halves[False])),
        data_dir=arguments.data_dir,
        cache_dir=folder / "cache",
        decoders=2,
    )
    bundle = run_adapt(
        SHIPPED_BUNDLES / "fashion-mnist-best-4",
        taught,
        out=folder / "studio-1",
        console=console,
        label="category",
    )
    # Delivered without the answers.
    columns = ("sku", "image", "title")
    delivered = [{name: row[name] for name in columns} for row in halves[True]]
    return Catalogue(
        name="studio photos",
        source=_write(shop / "products.csv", delivered),
        truth={row["sku"]: row["category"] for row in halves[True]},
        bundle=bundle,
    )


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


if __name__ == "__main__":
    main()
