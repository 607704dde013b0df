"""The charts of how far a model may be trusted: confidence, acceptance, strange pictures.

As `plots`: numbers in, a figure out, to be called inside `style.house_style()`.
"""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from model_training.measures import CalibrationBins, RiskCoverage, Roc
from model_training.report.style import (
    BLUE,
    INK,
    ORANGE,
    PALE,
    QUIET,
    SERIES,
    chart_name,
    new_figure,
    percent,
    percent_ticks,
)


def reliability(before: CalibrationBins, after: CalibrationBins) -> Figure:
    """Confidence against the share that is right, without and with the temperature."""
    figure = new_figure(3.3)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    lowest = min(float(min(b.confidence.min(), b.accuracy.min())) for b in (before, after))
    limits = (max(0.0, min(0.9, lowest) - 0.04), 1.02)
    for axes, bins, word, colour in zip(
        panels, (before, after), ("Before", "After"), (ORANGE, BLUE), strict=True
    ):
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--")
        axes.plot(bins.confidence, bins.accuracy, color=colour, marker="o", markersize=4)
        axes.set_aspect("equal")
        axes.set_xlim(*limits)
        axes.set_ylim(*limits)
        axes.set_title(f"{word}:\noff by {100 * bins.error():.2f} points")
        axes.set_xlabel("what the model says")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(percent_ticks())
            axis.set_major_locator(MaxNLocator(5))
        axes.grid()
    panels[0].set_ylabel("what is right")
    return figure


def risk_by_coverage(
    curve: RiskCoverage, points: Mapping[str, tuple[float, float]], chosen: str
) -> Figure:
    """The share of errors as more is accepted.

    Args:
        curve: of plain confidence.
        points: by target, coverage and error of its thresholds (0 to 1).
        chosen: the target that is in force.
    """
    figure = new_figure(4.0)
    axes = figure.subplots()
    # Few images make the first points of the curve jump; they say nothing.
    settled = curve.coverage >= 0.05
    axes.plot(curve.coverage[settled], curve.risk[settled], color=BLUE, label="by confidence alone")
    others = [point for text, point in points.items() if text != chosen and point[0]]
    axes.plot(
        [p[0] for p in others],
        [p[1] for p in others],
        "o",
        color="white",
        markeredgecolor=INK,
        markersize=6,
        label="other targets",
    )
    coverage, error = points[chosen]
    if coverage:
        axes.plot(coverage, error, "D", color=ORANGE, markersize=8, label="in force")
        axes.set_title(f"At {percent(coverage)} tagged, {percent(error, 2)} of it is wrong")
    else:
        axes.set_title("In force: nothing is tagged without a person")
    for text, (x, y) in points.items():
        if x:
            axes.annotate(
                f"{100 * float(text):g}\N{NO-BREAK SPACE}%",
                (x, y),
                xytext=(-7, 6),
                textcoords="offset points",
                ha="right",
                size=8.5,
            )
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(percent_ticks())
    axes.yaxis.set_major_formatter(percent_ticks(1))
    axes.set_xlabel("share of photos tagged without a person")
    axes.set_ylabel("share of those that is wrong")
    axes.grid()
    axes.legend(loc="upper left")
    return figure


def strangeness(curves: Mapping[str, Roc], marked: Mapping[str, tuple[float, float]]) -> Figure:
    """ROC per group of foreign pictures; `marked`: (false alarms, caught) at the threshold."""
    figure = new_figure(4.6)
    axes = figure.subplots()
    styles = ("-", "--", "-.", ":")
    for number, (name, curve) in enumerate(curves.items()):
        colour = SERIES[number % len(SERIES)]
        style = styles[number // len(SERIES) % len(styles)]
        axes.plot(
            curve.false_alarms,
            curve.caught,
            color=colour,
            linestyle=style,
            label=f"{chart_name(name, 30)} ({curve.area:.3f})",
        )
        axes.plot(*marked[name], "D", color=colour, markeredgecolor="white", markersize=7)
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=1)
    caught = [point[1] for point in marked.values()]
    least, most = percent(min(caught)), percent(max(caught))
    share = most if least == most else f"{least} to {most}"
    axes.set_title(f"Of foreign pictures, {share} are noticed")
    axes.set_xlabel("false alarms: own photos that are flagged")
    axes.set_ylabel("foreign pictures that are flagged")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(percent_ticks())
    axes.set_xlim(-0.01, 1)
    axes.set_ylim(0, 1.02)
    axes.grid()
    axes.legend(title="group (area under the curve)", loc="lower right", alignment="left")
    return figure
