"""Draw results.svg, as wide as a README on GitHub: the losses of each contender, and how its runs grow."""

from __future__ import annotations

import math
from collections.abc import Iterator

from correctness import DOUBLED, LOST, UNDELETED
from session import CHANGES, FIRST_LOAD

CONTENDERS = {
    "connector": ("this connector", "#1f77b4"),
    "dlt": ("dlt", "#d95f02"),
    "plain": ("plain Singer stack", "#777777"),
}
KINDS = {LOST: "#c0392b", DOUBLED: "#e59866", UNDELETED: "#7d3c98"}
NOTES = (
    "Tests: changes and deletions during a first load, failing requests, a first load that is killed.",
    "Plain Singer stack: a tap as the Singer SDK's template makes it, target-duckdb and dbt snapshot; it reads every",
    "patient in each run, so it is measured up to 100,000.",
)
TITLES = {
    FIRST_LOAD: "First load, in seconds",
    CHANGES: "Run after 1,000 changes, in seconds",
}
TICKS = {FIRST_LOAD: (1, 2, 5, 10, 20, 50, 100, 200, 500), CHANGES: (1, 2, 5, 10, 20, 50)}
WIDTH, HEIGHT, BOTTOM = 340, 190, 425
"""The size of a panel with lines, and its lower edge."""


def draw(losses: dict[tuple[str, str], int], times: dict[tuple[str, str, int], float]) -> str:
    """Return the picture.

    Args:
        losses: Numbers of patients, by contender and kind.
        times: Seconds, by run, contender and number of patients.
    """
    shapes = [
        title(5, 20, "Wrong patients, all tests together"),
        *(text(5, 40 + 17 * row, note) for row, note in enumerate(NOTES)),
        *draw_bars(losses),
        *draw_legend(180, KINDS),
        *draw_lines(60, FIRST_LOAD, times),
        *draw_lines(470, CHANGES, times),
        *draw_legend(490, dict(CONTENDERS.values())),
    ]
    style = 'font-family="sans-serif" font-size="13" fill="#222"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 838 500" width="838" {style}>'
    return "\n".join([head, '<rect width="838" height="500" fill="white"/>', *shapes, "</svg>\n"])


def title(x: float, y: float, content: str) -> str:
    """Return a title."""
    return f'<text x="{x}" y="{y}" font-size="15" font-weight="bold">{content}</text>'


def text(x: float, y: float, content: str, anchor: str = "start") -> str:
    """Return a line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{content}</text>'


def draw_bars(losses: dict[tuple[str, str], int]) -> Iterator[str]:
    """Yield a bar for each contender, with its losses by kind and their total."""
    totals = {name: sum(losses[name, kind] for kind in KINDS) for name in CONTENDERS}
    scale = 640 / max(*totals.values(), 1)
    for row, (name, (label, _)) in enumerate(CONTENDERS.items()):
        x, y = 135.0, 85 + 26 * row
        yield text(x - 8, y + 15, label, "end")
        for kind, color in KINDS.items():
            width = scale * losses[name, kind]
            yield f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="20" fill="{color}"/>'
            x += width
        yield text(x + 5, y + 15, f"{totals[name]:,}")


def draw_legend(y: int, colors: dict[str, str]) -> Iterator[str]:
    """Yield the labels of colors."""
    for column, (label, color) in enumerate(colors.items()):
        x = 135 + 150 * column
        yield f'<rect x="{x}" y="{y - 10}" width="11" height="11" fill="{color}"/>'
        yield text(x + 16, y, label)


def draw_lines(left: int, what: str, times: dict[tuple[str, str, int], float]) -> Iterator[str]:
    """Yield a panel with a line for each contender, both scales logarithmic."""
    ticks = TICKS[what]
    sizes = sorted({patients for _, _, patients in times}) or [1]

    def locate(patients: int, seconds: float) -> tuple[float, float]:
        x = math.log(patients / sizes[0]) / math.log(max(2, sizes[-1] / sizes[0]))
        y = math.log(seconds / ticks[0]) / math.log(ticks[-1] / ticks[0])
        return left + 20 + (WIDTH - 50) * x, BOTTOM - HEIGHT * y

    yield title(left, 222, TITLES[what])
    for tick in ticks:
        _, y = locate(sizes[0], tick)
        yield f'<line x1="{left}" x2="{left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        yield text(left - 6, y + 4, f"{tick:,}", "end")
    for patients in sizes:
        yield text(locate(patients, 1)[0], BOTTOM + 18, f"{patients:,}", "middle")
    yield text(left + WIDTH / 2, BOTTOM + 36, "patients in the source", "middle")
    for name, (_, color) in CONTENDERS.items():
        points = [locate(key[2], seconds) for key, seconds in times.items() if key[:2] == (what, name)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2.5"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>' for x, y in points)
