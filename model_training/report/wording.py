"""The sentences of the summary, for somebody who sells clothes; numbers in, words out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from model_training.report.style import percent, shortened

FEW_ANSWERS: Final = 30
FEW_TO_MEASURE: Final = 1000
"""With a smaller hold-out the summary warns that its numbers are rough."""

Json = Mapping[str, Any]


def headline(per_1000: Json) -> str:
    """What happens to a thousand photos, in one sentence."""
    if not per_1000["tagged"]:
        return "Of 1,000 photos, none is tagged without a person: all 1,000 wait for you."
    tagged, waiting = _photos(per_1000["tagged"]), per_1000["waiting"]
    waits = "none waits" if not waiting else f"{waiting:,} {'waits' if waiting == 1 else 'wait'}"
    return (
        f"Of 1,000 photos, {tagged} tagged without a person; {_wrong(per_1000)}; {waits} for you."
    )


def waiting(per_1000: Json) -> str:
    """What a person finds in the queue; empty if nothing waits."""
    total, right = per_1000["waiting"], per_1000["waiting_right"]
    if not total:
        return ""
    return (
        f"For {right:,} of the {total:,} that wait, the suggestion is right already: one click. "
        "The others need another category."
    )


def ends(categories: Mapping[str, Json], coverage: Mapping[str, float | None]) -> str:
    """Which categories need a person least, and which most."""
    known = sorted(
        ((share, name) for name, share in coverage.items() if share is not None), reverse=True
    )
    if len(known) < 2 or known[0][0] == known[-1][0]:
        return ""
    count = min(3, len(known) // 2)
    most, least = known[:count], known[::-1][:count]
    best = _listed([f"{shortened(name, 40)} ({percent(share)})" for share, name in most])
    worst = _listed([f"{shortened(name, 40)} ({percent(share)})" for share, name in least])
    few = any(categories[name]["answered"] < FEW_ANSWERS for _, name in most + least)
    note = " For some of these there were few photos to measure on." if few else ""
    return f"Tagged most often without you: {best}. Needs you most: {worst}.{note}"


def trust(after: float) -> str:
    """How far the confidence may be believed; `after` is the calibration error, 0 to 1."""
    points = 100 * after
    if points < 2:
        return (
            f"Its confidence can be taken at its word: on average it is off by {points:.1f} "
            "percentage points."
        )
    return (
        f"Its confidence is off by {points:.1f} percentage points on average: take it as a "
        "ranking, not as a promise."
    )


def cost(networks: Sequence[Json]) -> str:
    """How long the training of all networks of a model took, as far as its card says it."""
    known = [network for network in networks if network["epochs"]]
    if not known:
        return "The card says nothing of how this model was trained."
    spent = f"{duration(sum(network['seconds'] for network in known))} of computing"
    if len(known) < len(networks):
        return (
            f"{spent} for {len(known)} of {len(networks)} networks; of the rest the card says "
            "nothing."
        )
    if len(networks) > 1:
        return f"{spent} for {len(networks)} networks."
    return f"{spent}."


def duration(seconds: float) -> str:
    """In whole minutes, or hours and minutes; below half a minute in seconds."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} seconds"
    if minutes < 120:
        return "1 minute" if minutes == 1 else f"{minutes} minutes"
    return f"{minutes // 60} hours {minutes % 60} minutes"


def measured_on(images: int) -> str:
    """What the numbers rest on."""
    text = f"Measured on {images:,} photos that the model did not learn from."
    if images < FEW_TO_MEASURE:
        text += " These are few: the numbers are rough."
    return text


def _photos(count: int) -> str:
    return f"{count:,} {'is' if count == 1 else 'are'}"


def _wrong(per_1000: Json) -> str:
    wrong, most = per_1000["wrong"], per_1000["at_most_wrong"]
    verb = "is" if wrong == 1 else "are"
    about = f"about {wrong:,} of those {verb} wrong" if wrong else "hardly any of those is wrong"
    return f"{about} (with 95\N{NO-BREAK SPACE}% certainty at most {most:,})"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
