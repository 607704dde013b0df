"""What the autopilot's rules cost and what they catch, by simulation.

    make simulate-autopilot

Streams of audit verdicts with a known error: how many verdicts certify a good model, how often a
bad one is certified, how many wrong tags go out before a drifting one is switched off, and how
often a good one is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich import box
from rich.console import Console
from rich.table import Table
from scipy.stats import beta

from tagging.evidence import (
    ALARM_RUN,
    LEVEL,
    drift_steps,
    drifts,
    lower_bound,
    upper_bound,
)

TARGET = 0.99
ALLOWED = 1 - TARGET
GOOD_VERDICTS = 5_000
"""Before the drift, at an error of 0.5 %."""
SEED = 20_260_101
NEVER = np.iinfo(np.int64).max

Wrong = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Errors = npt.NDArray[np.float64]


def draw(errors: Errors, paths: int, seed: int = SEED) -> Wrong:
    """(paths, verdicts) bool: streams whose n-th verdict is wrong with probability `errors[n]`."""
    random = np.random.default_rng(seed)
    return np.stack([random.random(len(errors)) < errors for _ in range(paths)])


def first(happened: Wrong) -> Counts:
    """(paths, verdicts) -> (paths,): after how many verdicts it first happened, or NEVER."""
    return np.where(happened.any(axis=1), happened.argmax(axis=1) + 1, NEVER)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Two bounds as limits on counts, so that a path costs a look into a table.

    `certify[k]`: from how many verdicts on k errors put the upper bound at the error allowed or
    under it. `refute[k]`: up to how many verdicts k errors put the lower bound over it; 0: never.
    """

    certify: Counts
    refute: Counts


def limits(
    most_errors: int,
    most_verdicts: int,
    *,
    target: float = TARGET,
    error: float | None = None,
    level: float = LEVEL,
) -> Limits:
    """For up to `most_errors` errors in up to `most_verdicts` verdicts.

    `error`: ask on which side of it the bounds lie, instead of the error allowed.
    """
    asked = 1 - target if error is None else error
    certify, refute = [], []
    for k in range(most_errors + 1):
        low, high = k, most_verdicts + 1  # certified at `high`, not at `low`
        while high - low > 1:
            middle = (low + high) // 2
            certain = upper_bound(middle, k, target, level=level) <= asked
            low, high = (low, middle) if certain else (middle, high)
        certify.append(high)
        low, high = k - 1 if k else 0, most_verdicts + 1  # refuted at `low`, not at `high`
        while high - low > 1:
            middle = (low + high) // 2
            refuted = lower_bound(middle, k, target, level=level) > asked
            low, high = (middle, high) if refuted else (low, middle)
        refute.append(low if low >= max(k, 1) else 0)
    return Limits(certify=np.array(certify), refute=np.array(refute))


def chances(table: Limits, errors: Errors) -> tuple[float, float]:
    """The exact chances that a stream is ever certified, and that it is ever refuted.

    Counts are followed from verdict to verdict; `errors[n]` is the error of the n-th. Streams with
    more errors than the table has are given up, as neither.
    """
    found = []
    for certifies in (True, False):
        at = np.zeros(len(table.certify))  # chance of so many errors, and never until now
        at[0], ever = 1.0, 0.0
        for n, error in enumerate(errors, start=1):
            at[1:] = at[1:] * (1 - error) + at[:-1] * error
            at[0] *= 1 - error
            now = n >= table.certify if certifies else n <= table.refute
            ever += float(at[now].sum())
            at[now] = 0.0
        found.append(ever)
    return found[0], found[1]


def certified(wrong: Wrong, table: Limits) -> Wrong:
    """(paths, verdicts): whether the upper bound is at the error allowed or under it."""
    n = np.arange(1, wrong.shape[1] + 1)
    k = np.minimum(wrong.cumsum(axis=1), len(table.certify) - 1)
    found: Wrong = n >= table.certify[k]
    return found


def refuted_after(wrong: Wrong, table: Limits) -> Counts:
    """(paths,): verdicts until the lower bound first passes the error allowed."""
    n = np.arange(1, wrong.shape[1] + 1)
    k = np.minimum(wrong.cumsum(axis=1), len(table.refute) - 1)
    return first(n <= table.refute[k])


def alarmed_after(
    wrong: Wrong, runs: Sequence[float] = (ALARM_RUN,), target: float = TARGET
) -> Counts:
    """(runs, paths): verdicts until the detector of drift first reaches each; by its recursion."""
    raised = drifts(target)
    if_wrong, if_right = (np.exp(step) for step in drift_steps(raised, 1 - target))
    detector = np.zeros((len(wrong), len(raised)))
    found = np.full((len(runs), len(wrong)), NEVER)
    for n, now in enumerate(np.ascontiguousarray(wrong.T), start=1):
        detector = (detector + 1) * np.where(now[:, np.newaxis], if_wrong, if_right)
        np.minimum(detector, 1e12, out=detector)  # beyond every alarm; it keeps it finite
        mixed = detector.mean(axis=1)
        for row, run in zip(found, runs, strict=True):
            row[(mixed >= run) & (row == NEVER)] = n
    return found


def fixed_limit(errors: int, most_verdicts: int = 20_000) -> int:
    """Verdicts that a Clopper-Pearson bound needs which is looked at once, at a set number."""
    low, high = errors, most_verdicts + 1
    while high - low > 1:
        n = (low + high) // 2
        enough = beta.ppf(LEVEL, errors + 1, n - errors) <= ALLOWED
        low, high = (low, n) if enough else (n, high)
    return high


def main() -> None:
    show = Console(highlight=False, width=100)
    show.print(
        f"Of the accepted tags, {_percent(ALLOWED)} may be wrong; every verdict is looked at."
    )
    table = limits(most_errors=400, most_verdicts=20_000)
    _needed(show, table)
    _until_certified(show, table, verdicts=20_000, paths=1_000)
    _misled(show, table, verdicts=20_000)
    _drifting(show, table, verdicts=4_000, paths=2_000)
    _false_alarms(show, verdicts=100_000, paths=1_000)


def _needed(show: Console, limits_table: Limits) -> None:
    table = _table("wrong", "verdicts", "a bound for one look needs")
    for k in range(6):
        table.add_row(str(k), f"{limits_table.certify[k]:,}", f"{fixed_limit(k):,}")
    show.print("\nVerdicts that certify, by how many of them are wrong", table, sep="\n")


def _until_certified(show: Console, limits_table: Limits, *, verdicts: int, paths: int) -> None:
    table = _table(
        *("true error", "median", "90 % by", f"within {verdicts:,}", "lapses", "then certified")
    )
    for error in (0.0, 0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.012):
        is_certified = certified(draw(np.full(verdicts, error), paths), limits_table)
        after = first(is_certified)
        ever = after != NEVER
        lapses = (is_certified[:, :-1] & ~is_certified[:, 1:]).sum(axis=1)
        since = np.arange(1, verdicts + 1) >= after[:, np.newaxis]
        table.add_row(
            _percent(error),
            *(_at(after, 0.5), _at(after, 0.9), _percent(ever.mean())),
            f"{lapses[ever].mean():.1f}",
            _percent(is_certified.sum() / since.sum(), digits=0),
        )
    show.print("Verdicts until first certified; how often that lapses, on average, and which part")
    show.print("of the verdicts from then on finds it certified", table, sep="\n")


def _misled(show: Console, limits_table: Limits, *, verdicts: int) -> None:
    table = _table(
        "true error", "certified", "off by the bound", "certified by a bound for one look"
    )
    one_look = Limits(
        certify=np.array([fixed_limit(k, verdicts) for k in range(len(limits_table.certify))]),
        refute=np.zeros_like(limits_table.refute),
    )
    for error in (0.008, 0.009, ALLOWED, 0.011, 0.012):
        errors = np.full(verdicts, error)
        up, low = (_percent(one) for one in chances(limits_table, errors))
        peeked = _percent(chances(one_look, errors)[0])
        good, bad = error <= ALLOWED, error >= ALLOWED
        table.add_row(
            _percent(error), up if bad else "", low if good else "", peeked if bad else ""
        )
    show.print(f"Chance that any of {verdicts:,} looks misleads, exactly; 5 % is promised", table)


def _drifting(show: Console, limits_table: Limits, *, verdicts: int, paths: int) -> None:
    """The error rises after a long good stretch."""
    shares = (0.01, 0.02, 0.05, 0.1)
    until = _table(
        "to", "median", "90 % by", "by the bound alone", "where it was so from the start"
    )
    tags = _table("to", *(_percent(share, digits=0) for share in shares))
    for error in (0.015, 0.02, 0.03, 0.05, 0.1, 0.2):
        both, bound = _off_after(limits_table, error, verdicts=verdicts, paths=paths)
        start = draw(np.full(verdicts, error), paths)
        fresh = np.minimum(refuted_after(start, limits_table), alarmed_after(start)[0])
        until.add_row(
            _percent(error), *(_at(both, 0.5), _at(both, 0.9), _at(bound, 0.5), _at(fresh, 0.5))
        )
        if _at(both, 0.9) == "never":
            continue
        # What is audited gets its right category; what is not goes out.
        each = [error * (1 - share) / share for share in shares]
        tags.add_row(
            _percent(error), *(f"{_at(both, 0.5, one)} ({_at(both, 0.9, one)})" for one in each)
        )
    show.print(
        f"Verdicts until off, where the error rises after {GOOD_VERDICTS:,} at 0.5 %; never:"
    )
    show.print(f"not within {verdicts:,}", until, sep="\n")
    show.print("Wrong tags that go out until then (nine times out of ten, at most), by the share")
    show.print("that is audited, where verdicts come as fast as tags", tags, sep="\n")


def _off_after(
    limits_table: Limits, error: float, *, verdicts: int, paths: int
) -> tuple[Counts, Counts]:
    """Verdicts from the drift until off: by both rules, and by the lower bound alone."""
    wrong = draw(np.r_[np.full(GOOD_VERDICTS, 0.005), np.full(verdicts, error)], paths)
    by_bound = refuted_after(wrong, limits_table)
    both = np.minimum(by_bound, alarmed_after(wrong)[0])
    drifted = both > GOOD_VERDICTS
    waits = [np.where(one == NEVER, NEVER, one - GOOD_VERDICTS) for one in (both, by_bound)]
    return waits[0][drifted], waits[1][drifted]


def _false_alarms(show: Console, *, verdicts: int, paths: int) -> None:
    runs = (ALARM_RUN / 100, ALARM_RUN / 10, ALARM_RUN)
    table = _table("true error", *(f"{run:,.0f}" for run in runs))
    for error in (0.005, 0.007, ALLOWED):
        after = alarmed_after(draw(np.full(verdicts, error), paths), runs)
        table.add_row(_percent(error), *(_percent((one != NEVER).mean()) for one in after))
    rising = draw(np.r_[np.full(GOOD_VERDICTS, 0.005), np.full(4_000, 0.05)], 2 * paths)
    waits = [
        np.where(one == NEVER, NEVER, one - GOOD_VERDICTS)[one > GOOD_VERDICTS]
        for one in alarmed_after(rising, runs)
    ]
    table.add_row("0.5 to 5 %: median wait", *(_at(one, 0.5) for one in waits))
    show.print(f"Streams that the detector of drift stops within {verdicts:,} verdicts, by the")
    show.print("verdicts between two false alarms that it is set to", table, sep="\n")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _percent(part: float, digits: int = 1) -> str:
    return f"{100 * part:.{digits}f} %"


def _at(after: Counts, part: float, times: float = 1.0) -> str:
    """A quantile, of what may not have happened at all."""
    found = int(np.quantile(after.astype(np.float64), part, method="higher"))
    return "never" if found >= NEVER // 2 else f"{math.ceil(found * times):,}"


if __name__ == "__main__":
    main()
