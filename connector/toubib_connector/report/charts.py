"""Bar charts that scale to any width, since their text and their colours are the page's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

FIGURE = Markup(
    '<figure><span>{top:,}</span><svg viewBox="0 0 {width} 100" preserveAspectRatio="none">{bars}</svg>'
    "<span>{bottom}</span><div><span>{first}</span><span>{middle}</span><span>{last}</span></div></figure>"
)
BAR = Markup(
    '<rect class="{kind}" x="{x}.1" y="{y:.2f}" width=".8" height="{height:.2f}"><title>{label}</title></rect>'
)


class Bar(NamedTuple):
    """A bar of a chart.

    Attributes:
        place: Counted from the left, from 0.
        number: Its height; a negative one points down.
        label: Shown by a browser that points at it.
        kind: Which of the page's colours it has; `failed` is as high as the chart.
    """

    place: int
    number: float
    label: str
    kind: str = ""


def draw_bars(bars: Sequence[Bar], places: Sequence[str], scale: Callable[[float], float] = float) -> Markup:
    """Return a chart, nothing if there is nothing to draw.

    Args:
        bars: In any order.
        places: The label of each place; the first, the middle and the last one are shown.
        scale: What to draw of a number.
    """
    numbers = [bar.number for bar in bars]
    top, bottom = max([*numbers, 0]), min([*numbers, 0])
    total = scale(top) + scale(-bottom)
    if not bars or not (total or any(bar.kind == "failed" for bar in bars)):
        return Markup()
    drawn = []
    for bar in bars:
        height = 100.0 if bar.kind == "failed" else 100 * scale(abs(bar.number)) / total
        zero = 100.0 if bar.kind == "failed" else 100 * scale(top) / total
        y = zero - height if bar.number >= 0 else zero
        drawn.append(BAR.format(kind=bar.kind, x=bar.place, y=y, height=height, label=bar.label))
    return FIGURE.format(
        top=top,
        bottom=f"{-bottom:,}" if bottom else "",
        width=len(places),
        bars=Markup().join(drawn),
        first=places[0],
        middle=places[len(places) // 2],
        last=places[-1],
    )
