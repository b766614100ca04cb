"""The results as charts for a page: SVG and PNG, for light and for dark backgrounds.

The same results give the same SVG, byte for byte. Its text stays text, set in the viewer's sans-serif font.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from results import REFERENCE, Results, Row, number_text, size_text

__all__ = ["draw"]

WIDTH = 8.0  # inches; at 100 dots an inch it is as wide as a page's text
PANEL_HEIGHT = 4.0
FOOT = 0.4
MARGIN, LEFT, RIGHT = 0.02, 0.27, 0.94  # of the width: where text begins, where lines do, and where they end
LABEL_GAP = 14.0  # points from one label to the next
LABEL_DISTANCE = 18.0  # points from a label to its line
TICKS = [factor * 10.0**power for power in range(-2, 6) for factor in (1, 2, 5)]
ECHO_SIZE = 64
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "fastframe",
}
METADATA: dict[str, dict[str, None]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


class Theme(NamedTuple):
    """Colours: of the page, of text, of rivals' lines and their names, of the grid, and of the two engines."""

    page: str
    text: str
    line: str
    label: str
    grid: str
    cython: str
    pure: str


THEMES = {
    "light": Theme("#ffffff", "#1f2328", "#afb8c1", "#59636e", "#eaeef2", "#0969da", "#bc4c00"),
    "dark": Theme("#0d1117", "#f0f6fc", "#57606a", "#9198a1", "#21262d", "#58a6ff", "#f0883e"),
}


class Panel(NamedTuple):
    """Lines over the payload's size, or over the connections of an echo server.

    `unit` is what the lines' heights are in; `names` says which contenders are drawn, and what they are called.
    """

    title: str
    unit: str
    names: dict[str, str]
    work: str
    batch: int = 0
    in_flight: int = 1


class Line(NamedTuple):
    """A contender's points: places on the horizontal axis, counted from 0, and what was measured there."""

    name: str
    row: Row
    places: list[int]
    values: list[float]


RECEIVERS = {
    "c": "C",
    "reader": "fastframe read()",
    "iterate": "fastframe iteration",
    "tokio-256k": "Rust, tokio-util",
    "go": "Go, bufio",
    "netty": "Netty",
    "msgpack": "msgpack, own format",
    "protocol": "asyncio Protocol",
    "twisted": "Twisted",
    "streams": "asyncio streams",
    "howto": "Socket HOWTO",
    "multiprocessing": "multiprocessing",
}
SENDERS = {
    "c": "C",
    "connection": "fastframe",
    "tokio-256k": "Rust, tokio-util",
    "go": "Go, bufio",
    "uvloop-protocol": "uvloop Protocol",
    "streams": "asyncio streams",
    "twisted": "Twisted",
    "howto": "Socket HOWTO",
    "multiprocessing": "multiprocessing",
}
SERVERS = {
    "c": "C",
    "loop": "fastframe",
    "tokio-256k": "Rust, tokio-util",
    "go": "Go, bufio",
    "netty": "Netty",
    "erlang": "Erlang",
    "uvloop-protocol": "uvloop Protocol",
    "streams": "asyncio streams",
    "twisted": "Twisted",
    "trio": "trio",
}
COMMON = {"c": "C", "streams": "asyncio streams", "howto": "Socket HOWTO"}
READERS = {**COMMON, "reader": "fastframe Cython", "pure-reader": "fastframe pure"}
CONNECTIONS = {**COMMON, "connection": "fastframe Cython", "pure-connection": "fastframe pure"}

COST = "CPU time a frame, C = 1; less is better"
REQUEST = f"CPU µs a request of {ECHO_SIZE} bytes; less is better"
CHARTS = {
    "receive": [Panel("Receiving", COST, RECEIVERS, "receive")],
    "send": [
        Panel("Sending one by one", COST, SENDERS, "send", batch=1),
        Panel("Sending 1000 frames a call", COST, SENDERS, "send", batch=1000),
    ],
    "echo": [
        Panel("Echo server, one request in flight", REQUEST, SERVERS, "echo"),
        Panel("Echo server, 16 requests in flight", REQUEST, SERVERS, "echo", in_flight=16),
    ],
    "engines": [
        Panel("Receiving", COST, READERS, "receive"),
        Panel("Sending 1000 frames a call", COST, CONNECTIONS, "send", batch=1000),
    ],
}


def draw(results: Results, folder: Path) -> list[Path]:
    """Write each chart into `folder` as NAME-light.svg, NAME-dark.svg and the same in PNG; return the files.

    What wasn't measured isn't drawn: a line, a panel or a chart is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for (name, panels), (shade, theme) in product(CHARTS.items(), THEMES.items()):
        measured = [(panel, *lines_of(results, panel)) for panel in panels]
        shown = [(panel, places, lines) for panel, places, lines in measured if any(line.row.engine for line in lines)]
        if not shown:
            continue
        with matplotlib.rc_context(STYLE):
            figure = chart(results, theme, shown)
            for kind, metadata in METADATA.items():
                files.append(folder / f"{name}-{shade}.{kind}")
                figure.savefig(files[-1], dpi=200, facecolor=theme.page, metadata=metadata)
    return files


def lines_of(results: Results, panel: Panel) -> tuple[list[str], list[Line]]:
    """The names of the places, and the lines."""
    points: dict[str, dict[int, tuple[float, Row]]] = {contender: {} for contender in panel.names}
    for row in results.rows:
        fits = (row.work, row.transport, row.batch, row.in_flight) == (panel.work, "tcp", panel.batch, panel.in_flight)
        if not fits or row.contender not in panel.names or (row.work == "echo" and row.size != ECHO_SIZE):
            continue
        value = height(results, row)
        if value is not None:
            points[row.contender][row.connections if row.work == "echo" else row.size] = value, row
    places = sorted({place for some in points.values() for place in some})
    lines = []
    for contender, some in points.items():
        if some:
            order = sorted(some)
            values = [some[place][0] for place in order]
            lines.append(Line(panel.names[contender], some[order[0]][1], [*map(places.index, order)], values))
    if panel.work == "echo":
        return [f"{count} connection{'s' * (count > 1)}" for count in places], lines
    return [size_text(size) for size in places], lines


def height(results: Results, row: Row) -> float | None:
    """Microseconds of an echo server, elsewhere the ratio to C."""
    if row.work == "echo":
        return None if row.median_ns is None else row.median_ns / 1000
    ratio = results.ratio(row)
    return ratio.median if ratio else None


def chart(results: Results, theme: Theme, panels: Sequence[tuple[Panel, list[str], list[Line]]]) -> Figure:
    """The panels, one below the other, and whose numbers they are."""
    tall = PANEL_HEIGHT * len(panels) + FOOT
    figure = Figure((WIDTH, tall))
    for index, (panel, places, lines) in enumerate(panels):
        bottom = (FOOT + PANEL_HEIGHT * (len(panels) - 1 - index) + 0.4) / tall
        axes = figure.add_axes((LEFT, bottom, RIGHT - LEFT, (PANEL_HEIGHT - 1.0) / tall))
        over = bottom + (PANEL_HEIGHT - 0.75) / tall
        figure.text(MARGIN, over, panel.title, color=theme.text, size=12, weight="bold")
        figure.text(1 - MARGIN, over, panel.unit, color=theme.label, size=9, ha="right")
        scales(axes, theme, places, [value for line in lines for value in line.values])
        for line in lines:
            stroke(axes, theme, line)
        labels(axes, theme, lines)
    where = [str(results.machine.get("cpu", "")), results.versions.get("python", ""), results.date[:10]]
    origin = "; ".join(["TCP on the loopback", *filter(None, where)])
    figure.text(MARGIN, 0.15 / tall, origin, color=theme.label, size=8)
    return figure


def scales(axes: Axes, theme: Theme, places: list[str], values: list[float]) -> None:
    """Both axes: names below, a number at each line of the grid on the right; lines' names have the left."""
    axes.set_facecolor(theme.page)
    axes.set_yscale("log")
    axes.set_ylim(min(values) / 1.15, max(values) * 1.15)
    axes.set_xlim(0, max(len(places) - 1, 1) + 0.1)
    axes.set_xticks(range(len(places)), places)
    low, high = axes.get_ylim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticklabels([f"{tick:g}" for tick in ticks])
    axes.yaxis.tick_right()
    axes.tick_params(length=0, pad=6, colors=theme.label, labelsize=9)
    axes.grid(axis="y", color=theme.grid, linewidth=1)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def colours(theme: Theme, row: Row) -> tuple[str, str]:
    """Of a line and of its name."""
    if row.contender == REFERENCE:
        return theme.text, theme.text
    if not row.engine:
        return theme.line, theme.label
    own = theme.pure if row.engine == "pure" else theme.cython
    return own, own


def stroke(axes: Axes, theme: Theme, line: Line) -> None:
    colour, _ = colours(theme, line.row)
    ours = bool(line.row.engine)
    axes.plot(
        line.places,
        line.values,
        color=colour,
        linewidth=2.5 if ours else 1.4,
        marker="o",
        markersize=5 if ours else 3,
        zorder=4 if ours else 3 if line.row.contender == REFERENCE else 2,
        clip_on=False,
    )


def labels(axes: Axes, theme: Theme, lines: list[Line]) -> None:
    """Each line's name and first number at its left end, moved up or down where they would overlap."""
    lines = sorted(lines, key=lambda line: line.values[0])
    to_points = 72 / axes.figure.dpi
    ends = [axes.transData.transform((line.places[0], line.values[0])) * to_points for line in lines]
    (left, low), (_, high) = axes.transAxes.transform([(0, 0), (0, 1)]) * to_points
    heights = apart([end[1] for end in ends], LABEL_GAP, low, high)
    for line, end, at in zip(lines, ends, heights, strict=True):
        colour, label = colours(theme, line.row)
        axes.annotate(
            f"{line.name}  {number_text(line.values[0])}",
            (line.places[0], line.values[0]),
            (left - LABEL_DISTANCE - end[0], at - end[1]),
            textcoords="offset points",
            ha="right",
            va="center",
            color=label,
            weight="bold" if line.row.engine else "normal",
            size=9,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "relpos": (1, 0.5), "shrinkB": 3},
        )


def apart(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """The ascending positions nearest to those wanted, also ascending: a gap between two, all from low to high.

    Neighbours that want to be nearer share the mean of what they want.
    """
    blocks: list[list[float]] = []
    for index, position in enumerate(wanted):
        blocks.append([position - index * gap])
        while len(blocks) > 1 and mean(blocks[-2]) >= mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    settled = [mean(block) for block in blocks for _ in block]
    high -= (len(wanted) - 1) * gap
    return [max(low, min(position, high)) + index * gap for index, position in enumerate(settled)]
