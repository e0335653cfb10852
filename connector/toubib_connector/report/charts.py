"""The charts of the report, as SVG whose colours are the page's.

Each is drawn twice, for a phone and for anything wider, since letters that shrink with a picture cannot be read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import vl_convert

WIDTHS = {"narrow": 324, "wide": 800}
FEWEST_DAYS = 14
"""Days that an axis shows at least: the first bars are no wider than those of a later day."""

LONGEST_BY_DAY = 120
"""Days of an axis that names days; a longer one names months."""

HALF_A_DAY = timedelta(hours=12)
KINDS = ["first_load", "changes", "full"]

CONFIG = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelColor": "var(--faint)",
        "titleColor": "var(--faint)",
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titlePadding": 8,
    },
    # a browser's letters can be wider than those that the places are computed for
    "axisY": {"titlePadding": 18},
    "axisX": {"grid": False, "labelFlush": False, "labelOverlap": True, "labelSeparation": 8},
    "legend": {"title": None, "orient": "top", "labelColor": "var(--text)", "labelFontSize": 12, "symbolSize": 90},
    "range": {"category": ["var(--colour-1)", "var(--colour-2)", "var(--colour-3)"]},
}


def draw_patients(events: Sequence[dict[str, Any]], today: date) -> str:
    """Return the numbers of patients over time, until today."""
    if not events:
        return ""
    last = max(events[-1]["day"], today)
    # numbers of the same day would be drawn one on top of the other
    counts = [*events, events[-1] | {"day": today}] if events[-1]["day"] < today else events
    return _draw(
        counts,
        {"type": "area", "line": {"color": "var(--colour-1)"}, "color": "var(--colour-1)", "fillOpacity": 0.2}
        | {"interpolate": "step-after"},
        {
            "x": _days("day", min(events[0]["day"], last - timedelta(days=FEWEST_DAYS)), last, "Day"),
            "y": _numbers("patients", "Current patients"),
        },
    )


def draw_changes(changes: Sequence[dict[str, Any]], since: date, until: date) -> str:
    """Return the numbers of changes by field and day: a row for each field, the stronger the more changes."""
    first = _find_first_day(changes, since, until)
    return _draw(
        changes,
        {"type": "rect", "color": "var(--colour-1)", "width": _width_of_a_day(first, until)}
        | {"height": {"band": 0.85}},
        {
            "x": _days("day", first, until, "Day", HALF_A_DAY),
            "y": {"field": "field", "type": "nominal", "title": "Field", "sort": {"field": "rank"}},
            "opacity": {
                "field": "changes",
                "type": "quantitative",
                "scale": {"range": [0.1, 1], "domainMin": 0},
                "legend": None,
            },
        },
        height=70 + 22 * len({change["field"] for change in changes}),
    )


def draw_events(events: Sequence[dict[str, Any]], since: date, until: date) -> str:
    """Return the numbers of new patients, upwards, and of deleted ones, downwards, by day."""
    rows = [
        {"day": event["day"], "event": name, "patients": sign * event[name]}
        for event in events
        for name, sign in (("new", 1), ("deleted", -1))
        if event[name]
    ]
    colours = {"domain": ["new", "deleted"], "range": ["var(--good)", "var(--bad)"]}
    first = _find_first_day(rows, since, until)
    return _draw(
        rows,
        {"type": "bar", "width": _width_of_a_day(first, until)},
        {
            "x": _days("day", first, until, "Day", HALF_A_DAY),
            "y": _numbers("patients", "Deleted | new patients"),
            "color": {"field": "event", "type": "nominal", "scale": colours},
        },
    )


def draw_requests(runs: Sequence[dict[str, Any]], since: date, until: date) -> str:
    """Return the numbers of requests of each run."""
    rows = [{"started": run["started"], "requests": run["requests"], "kind": run["kind"]} for run in runs]
    first = _find_first_day([{"day": run["started"].date()} for run in runs], since, until)
    powers = [10**power for power in range(1 + len(str(max((run["requests"] for run in runs), default=1))))]
    return _draw(
        rows,
        {"type": "point", "filled": True, "size": 30, "opacity": 0.6, "aria": False},
        {
            "x": _days("started", first, until, "Start of the run"),
            "y": _numbers("requests", "Requests", values=powers)
            | {"scale": {"type": "log", "domain": [1, powers[-1]]}},
            "color": {"field": "kind", "type": "nominal", "sort": KINDS},
        },
    )


def _width_of_a_day(first: date, last: date) -> dict[str, str]:
    return {"expr": f"0.8 * width / {(last - first).days + 1}"}


def _find_first_day(rows: Sequence[dict[str, Any]], since: date, until: date) -> date:
    """Return where an axis begins: not before anything is known, but early enough that it shows some days."""
    days: list[date] = [row["day"] for row in rows]
    return max(since, min([*days, until - timedelta(days=FEWEST_DAYS - 1)]))


def _days(field: str, first: date, last: date, title: str, before: timedelta = timedelta()) -> dict[str, Any]:
    """Return an axis from the first day to the last, each of which begins so long before its instant."""
    days = (last - first).days + 1
    is_long = days > LONGEST_BY_DAY
    ticks = [last - timedelta(days=number) for number in range(0, days, max(days // 5, 1))]
    return {
        "field": field,
        "type": "temporal",
        "title": title,
        "scale": {
            "type": "utc",
            "nice": False,
            "padding": 0,
            "domain": [_milliseconds(day, -before) for day in (first, last + timedelta(days=1))],
        },
        "axis": {"format": "%b %Y", "tickCount": 6}
        if is_long
        else {"format": "%-d %b", "values": [_milliseconds(day) for day in ticks]},
    }


def _numbers(field: str, title: str, **ticks: Any) -> dict[str, Any]:
    axis = {"labelExpr": "format(abs(datum.value), ',')", "tickMinStep": 1, "tickCount": 5} | ticks
    return {"field": field, "type": "quantitative", "title": title, "axis": axis}


def _milliseconds(day: date, later: timedelta = timedelta()) -> float:
    return (datetime(day.year, day.month, day.day, tzinfo=UTC) + later).timestamp() * 1000


def _draw(rows: Sequence[dict[str, Any]], mark: dict[str, Any], encoding: dict[str, Any], height: int = 240) -> str:
    """Return a chart in each width, and nothing where there is nothing to draw."""
    if not rows:
        return ""
    drawings = []
    for name, width in WIDTHS.items():
        specification = {
            "data": {"values": list(rows)},
            "mark": mark,
            "encoding": encoding,
            "autosize": {"type": "fit", "contains": "padding"},
            "padding": {"left": 2, "top": 4, "right": 18, "bottom": 2},
            "width": width,
            "height": height,
        }
        text = json.dumps(specification, default=_to_utc)
        drawing = vl_convert.vegalite_to_svg(text, config=CONFIG, allowed_base_urls=[])
        drawings.append(f'<div class="{name}">{drawing}</div>')
    return "".join(drawings)


def _to_utc(day: date) -> str:
    """Return an instant as JavaScript reads it: a day is in UTC there, but a time without a zone is not."""
    return f"{day.isoformat()}Z" if isinstance(day, datetime) else day.isoformat()
