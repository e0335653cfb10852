"""The report: patients, changes and runs on one self-contained HTML page."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from math import log1p
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
from jinja2 import Environment, StrictUndefined

from toubib_connector.destination import Destination
from toubib_connector.log import describe_age
from toubib_connector.runs import read_runs
from toubib_connector.sql import query
from toubib_connector.status import CHANGES, COUNTS, RARE

PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined).from_string(
    Path(__file__).with_name("page.html").read_text(encoding="utf-8")
)
COLUMNS = ("outcome", "trigger", "kind", *COUNTS, "requests", "seconds")
DAYS = 90
"""How far back the charts of changes go."""

MOST_BARS = 200
"""In the chart of patients, which begins on the day of the first patient."""

RUNS = 100


class Bar(NamedTuple):
    """A bar of a chart. Its kind, such as `failed`, sets the colour. A negative number points down."""

    place: int
    number: int
    label: str
    kind: str = ""


class Chart(NamedTuple):
    """Bars, and the labels of all places from the left."""

    bars: list[Bar]
    places: list[str]


def write_report(destination: Destination) -> None:
    """Write the report beside the destination."""
    with destination.connect_for_reading() as connection:
        page = draw_report(connection, read_runs(destination, RUNS), destination.path.name, datetime.now(UTC))
    destination.report.write_text(page, encoding="utf-8")


def draw_report(
    connection: duckdb.DuckDBPyConnection, runs: Sequence[Mapping[str, Any]], name: str, now: datetime
) -> str:
    """Return the report as HTML.

    Args:
        connection: To a destination after a run.
        runs: Newest first.
        name: The destination's name.
        now: The end of the charts, in UTC.
    """
    days = [now.date() - timedelta(days=number) for number in reversed(range(DAYS))]
    events = query(connection, "events_by_day", now=now)
    changes = query(connection, "changes_by_field", since=datetime.combine(days[0], time(), UTC), now=now)
    totals = next(iter(query(connection, "totals")), {})
    return PAGE.render(
        name=name,
        now=now,
        totals=totals,
        age=describe_age(now - totals["source_as_of"]) if totals else "",
        changed_in_a_week=sum(field["by_day"].get(day, 0) for field in changes for day in days[-7:]),
        deleted_in_a_week=sum(event["deleted"] for event in events if event["day"] in days[-7:]),
        runs=runs,
        columns=[column for column in COLUMNS if column not in RARE or any(run[column] for run in runs[:10])],
        patients=_chart_patients(events, now.date()),
        new_and_deleted=_chart_events(events, days),
        changes=[(field["field"], field["changes"], _chart_changes(field["by_day"], days)) for field in changes],
        changes_of_runs=_chart_runs(runs, CHANGES, "changed patients"),
        requests_of_runs=_chart_runs(runs, ["requests"], "requests"),
        linear=float,
        logarithmic=log1p,
        latest_changes=query(connection, "latest_changes"),
        rejected=query(connection, "rejected"),
    )


def _chart_patients(events: Sequence[Mapping[str, Any]], today: date) -> Chart:
    """Return how many patients there were at the ends of days, the last one today."""
    event_days = [event["day"] for event in events]
    days_shown = (today - min([*event_days, today - timedelta(days=13)])).days
    step = 1 + days_shown // MOST_BARS
    days = [today - timedelta(days=step * number) for number in reversed(range(1 + days_shown // step))]
    numbers = [events[position - 1]["patients"] if (position := bisect(event_days, day)) else 0 for day in days]
    places = [f"{day:%d %b %Y}" for day in days]
    bars = zip(places, numbers, strict=True)
    return Chart(
        [Bar(place, number, f"{day}: {number:,} patients") for place, (day, number) in enumerate(bars)], places
    )


def _chart_events(events: Sequence[Mapping[str, Any]], days: Sequence[date]) -> Chart:
    """Return how many patients were new, upwards, and deleted, downwards."""
    signs = {"new": 1, "deleted": -1}
    bars = [
        Bar(days.index(event["day"]), sign * event[kind], f"{event['day']:%d %b %Y}: {event[kind]:,} {kind}", kind)
        for event in events
        if event["day"] in days
        for kind, sign in signs.items()
    ]
    return Chart(bars, [f"{day:%d %b}" for day in days])


def _chart_changes(changes: Mapping[date, int], days: Sequence[date]) -> Chart:
    """Return how many values of a field changed."""
    bars = [Bar(days.index(day), number, f"{day:%d %b %Y}: {number:,}") for day, number in changes.items()]
    return Chart(bars, [f"{day:%d %b}" for day in days])


def _chart_runs(runs: Sequence[Mapping[str, Any]], counts: Iterable[str], label: str) -> Chart:
    """Return a number of each run, oldest first."""
    bars, starts = [], []
    for place, run in enumerate(reversed(runs)):
        starts.append(f"{run['started_at']:%d %b %H:%M}")
        number = sum(run[name] or 0 for name in counts)
        if run["outcome"] == "succeeded":
            bars.append(Bar(place, number, f"{starts[-1]}: {number:,} {label}"))
        else:
            bars.append(Bar(place, 0, f"{starts[-1]}: {run['reason'] or run['outcome']}", "failed"))
    return Chart(bars, starts)
