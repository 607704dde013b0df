"""Two acts on one product, both in the middle of what they do, at every two of their boundaries.

The first goes on to a boundary of its own, the second to one of its own, then each to its end. (In
`test_interleavings.py` and `test_interleavings_of_acts.py` the second act is done as a whole at a
boundary of the first.) Every two boundaries have a product of their own.

With `ATELIER_ALL_CROSSINGS=1` (`make faults-large`) every two come. Without, of boundaries in a row
between which an act does nothing that the other one sees, the last stands for all; and of every two
so many come that each boundary of either act does.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa

from tagging.database import uploads
from tagging.database.tables import Retailer
from tagging.domain import ItemOutcome, Status
from tests.crossed import Crossed
from tests.integration.test_ingest_and_tag import deliver
from tests.integration.test_interleavings import in_a_batch, predictions_are_single
from tests.integration.test_interleavings_of_acts import (
    DELIVERING,
    MIDDLE,
    QUEUED,
    SAID_DARK,
    TAGGED_LIGHT,
    Act,
    another_worker,
    predicted,
    requesting,
    saying,
    stands,
)
from tests.integration.test_retag import models_of, put_in_charge, told
from tests.meanwhile import (
    BETWEEN,
    FILING,
    RETAGGING,
    REVIEWING,
    STORING,
    TAGGING,
    UNLEASED,
    WRITING,
)
from tests.people import product
from tests.stand_in import Services, picture

IN_HAND: Final = tuple(boundary for boundary in TAGGING if boundary != "lease")
ALIKE: Final = {*STORING[:-1], *UNLEASED[:-1], *BETWEEN[:-1]}
TAGGED_DARK: Final = (Status.TAGGED, "Dark", "model")
DARK: Final = 0
LIGHT: Final = 255
ALL: Final = os.environ.get("ATELIER_ALL_CROSSINGS") == "1"


@pytest.fixture
def services(light_services: Services) -> Services:
    return light_services


@pytest.fixture
def crossed(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crossed]:
    found = Crossed(services, monkeypatch)
    yield found
    found.check()


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Where two acts stand at once, `there` the one that goes first; and a product. `turned`: the
    second of the two acts goes first.
    """

    there: str
    here: str
    turned: bool
    number: int

    @property
    def sku(self) -> str:
        return f"p{self.number:03}"


def crossings(one: Sequence[str], other: Sequence[str], *, both: bool = True) -> list[Crossing]:
    """Those of two acts with these boundaries. `both`: either act may go first."""
    places = [(*pair, False) for pair in chosen(one, other)]
    if both:
        places += [(*pair, True) for pair in chosen(other, one)]
    return [
        Crossing(there=there, here=here, turned=turned, number=number)
        for number, (there, here, turned) in enumerate(places)
    ]


def chosen(first: Sequence[str], second: Sequence[str]) -> list[tuple[str, str]]:
    if ALL:
        return list(itertools.product(first, second))
    first, second = ([one for one in places if one not in ALIKE] for places in (first, second))
    # Such that a younger delivery is filed before all of the older one is here, and what a delivery
    # and a worker wrote meets before either commits.
    apart, ahead = min(len(first), len(second)), 3
    return [
        (there, here)
        for i, there in enumerate(first)
        for j, here in enumerate(second)
        if (j - i - ahead) % apart == 0
    ]


def cross(crossed: Crossed, crossing: Crossing, one: Act, other: Act) -> None:
    first, second = (other, one) if crossing.turned else (one, other)
    crossed.play(first, crossing.there, second, crossing.here)


def photo(folder: Path, crossing: Crossing, shade: int) -> Path:
    """A folder with one photo of a crossing's product; no other crossing has the same."""
    folder.mkdir(exist_ok=True, parents=True)
    side, away = divmod(crossing.number, 16)
    shade += -away if shade == LIGHT else away
    (folder / f"{crossing.sku}.png").write_bytes(picture(shade, size=(12 + side, 12 + side)))
    return folder


def delivering(services: Services, folder: Path, crossing: Crossing, shade: int) -> Act:
    source = photo(folder / crossing.sku, crossing, shade)
    return Act(partial(deliver, services, source))


def tagging(services: Services, batch: int) -> Act:
    return Act(partial(another_worker(services).tag_batch, batch))


def all_tagged(services: Services, folder: Path, found: Sequence[Crossing], shade: int) -> None:
    for crossing in found:
        photo(folder, crossing, shade)
    deliver(services, folder)
    services.clock.seconds += 1
    services.tag_all()


def test_who_waits_for_the_other_one_lets_it_on_until_it_has_committed(
    services: Services, crossed: Crossed
) -> None:
    done: list[str] = []

    def act(*names: str) -> Act:
        def write() -> None:
            for name in names:
                with services.database.write(name) as session:
                    session.execute(sa.update(Retailer).values(name=name))
                    done.append(name)
                    session.commit()
            done.append(f"the end of {names[-1]}")

        return Act(write)

    ends = ["the end of b", "the end of c"]
    crossed.play(act("a", "b"), "a.commit", act("c"), "c.commit")
    assert done == ["a", "c", "b", *ends]
    done.clear()
    crossed.play(act("a", "b"), "a.committed", act("c"), "c.committed")
    assert done == ["a", "c", "b", *ends]
    done.clear()
    crossed.play(act("a", "b"), "b.commit", act("c"), "c.commit")
    assert done == ["a", "b", "c", *ends]


@pytest.mark.parametrize("before", ["unknown", "tagged"])
def test_two_deliveries_of_one_product(
    services: Services, tmp_path: Path, crossed: Crossed, before: str
) -> None:
    found = crossings(DELIVERING, DELIVERING, both=False)
    if before == "tagged":
        all_tagged(services, tmp_path / "before", found, MIDDLE)
    for crossing in found:
        older = delivering(services, tmp_path / "older", crossing, DARK)
        younger = delivering(services, tmp_path / "younger", crossing, LIGHT)
        cross(crossed, crossing, older, younger)
        assert stands(services, crossing.sku) == QUEUED, crossing
        services.tag_all()
        assert stands(services, crossing.sku) == TAGGED_LIGHT, crossing
        assert product(services, crossing.sku).upload_id == younger.came[0].upload_id
        assert predicted(services, crossing.sku) == 1
        late = crossing.here in FILING and not is_received(services, crossing.there)
        for delivery, superseded in ((older, late), (younger, False)):
            with services.database.read() as session:
                outcomes = uploads.outcome_counts(session, delivery.came[0].upload_id)
                counts = uploads.status_counts(session, delivery.came[0].upload_id)
            assert sum(outcomes.values()) == 1
            assert outcomes[ItemOutcome.SKIPPED] == superseded, crossing
            assert sum(counts.values()) == counts[Status.TAGGED] == 1 - superseded
    predictions_are_single(services)


def is_received(services: Services, boundary: str) -> bool:
    """Whether a delivery that stands there is received before another one can be filed."""
    if boundary == "upload.received.commit":
        return services.database.is_sqlite  # where whoever writes waits for this commit
    return boundary in ("upload.received.committed", *FILING)


@pytest.mark.parametrize("kind", ["first", "retag"])
def test_a_photo_that_changes_and_the_batch_that_holds_it(
    services: Services, tmp_path: Path, crossed: Crossed, kind: str
) -> None:
    found = crossings(DELIVERING, IN_HAND)
    if kind == "retag":
        all_tagged(services, tmp_path / "before", found, LIGHT)
        put_in_charge(services)
    for crossing in found:
        if kind == "first":
            delivering(services, tmp_path / "before", crossing, LIGHT)()
            batch = services.bell.messages.pop()
        else:
            batch = in_a_batch(services, crossing.sku)
        other_photo = delivering(services, tmp_path / "other", crossing, DARK)
        cross(crossed, crossing, other_photo, tagging(services, batch))
        assert stands(services, crossing.sku) == QUEUED, crossing
        assert product(services, crossing.sku).prediction_id is None
        services.tag_all()
        assert stands(services, crossing.sku) == TAGGED_DARK, crossing
        assert predicted(services, crossing.sku) == 1
    predictions_are_single(services)


@pytest.mark.parametrize("how", REVIEWING)
def test_a_review_and_a_batch_of_a_retag(
    services: Services, tmp_path: Path, crossed: Crossed, how: str
) -> None:
    found = crossings(REVIEWING[how], IN_HAND)
    all_tagged(services, tmp_path / "before", found, LIGHT)
    put_in_charge(services)
    by: dict[str, str] = {}
    for crossing in found:
        batch = in_a_batch(services, crossing.sku)
        said = saying(services, crossing.sku, how)
        cross(crossed, crossing, said, tagging(services, batch))
        written = crossing.there in WRITING
        assert said.refused == ("classified_again" if written else None), crossing
        assert stands(services, crossing.sku) == (TAGGED_LIGHT if written else SAID_DARK), crossing
        by[crossing.sku] = "shades:2" if written else "shades:1"
    assert models_of(services) == by
    predictions_are_single(services)


def test_a_review_and_a_retag_that_is_asked_for(
    services: Services, tmp_path: Path, crossed: Crossed
) -> None:
    found = crossings(REVIEWING["one"], RETAGGING)
    all_tagged(services, tmp_path / "before", found, LIGHT)
    put_in_charge(services)
    for crossing in found:
        said = saying(services, crossing.sku)
        asked = requesting(services, crossing.sku)
        cross(crossed, crossing, said, asked)
        services.tag_all()
        line = told(services, asked.came[0])
        assert (line.looked_at, line.reviewed + line.queued, line.complete) == (1, 1, True)
        assert said.refused is None, crossing
        assert stands(services, crossing.sku) == SAID_DARK, crossing
    assert set(models_of(services).values()) == {"shades:1"}
