"""The report: patients, changes and runs on one HTML page that loads nothing."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from math import log1p
from pathlib import Path
from typing import Any

import duckdb
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from toubib_connector.destination import Destination
from toubib_connector.log import describe_age
from toubib_connector.report.charts import Bar, draw_bars
from toubib_connector.runs import read_runs
from toubib_connector.sql import query
from toubib_connector.status import CHANGES, COUNTS, RARE

PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined).from_string(
    Path(__file__).with_name("page.html").read_text(encoding="utf-8")
)
Run = Mapping[str, Any]

DAYS = 90
"""How far back the charts of changes go."""

MOST_BARS = 200
"""In the chart of patients, which begins with the first one."""

RUNS = 100
COLUMNS = ("outcome", "trigger", "kind", *COUNTS, "requests", "seconds")


def write_report(destination: Destination) -> None:
    """Draw the report into its file beside the destination."""
    with destination.connect_for_reading() as connection:
        page = draw_report(connection, read_runs(destination, RUNS), destination.path.name, datetime.now(UTC))
    destination.report.write_text(page, encoding="utf-8")


def draw_report(connection: duckdb.DuckDBPyConnection, runs: Sequence[Run], name: str, now: datetime) -> str:
    """Return the report as HTML.

    Args:
        connection: To a destination after a run.
        runs: Newest first.
        name: What to call the destination.
        now: In UTC: where the charts end.
    """
    days = [now.date() - timedelta(days=number) for number in reversed(range(DAYS))]
    since = datetime.combine(days[0], time(), UTC)
    events = query(connection, "events_by_day", now=now)
    changes = query(connection, "changes_by_field", since=since, now=now)
    week = events[bisect(events, days[-8], key=lambda event: event["day"]) :]
    totals = next(iter(query(connection, "totals")), None)
    return PAGE.render(
        name=name,
        now=now,
        totals=totals,
        age=describe_age(now - totals["source_as_of"]) if totals else "",
        changed_in_a_week=sum(field["by_day"].get(day, 0) for field in changes for day in days[-7:]),
        deleted_in_a_week=sum(event["deleted"] for event in week),
        runs=runs,
        columns=[name for name in COLUMNS if name not in RARE or any(run[name] for run in runs[:10])],
        patients=_draw_patients(events, now.date()),
        new_and_deleted=_draw_events(events, days),
        changes=[(field["field"], field["changes"], _draw_changes(field["by_day"], days)) for field in changes],
        changes_of_runs=_draw_runs(runs, CHANGES, "changed patients"),
        requests_of_runs=_draw_runs(runs, ["requests"], "requests"),
        latest_changes=query(connection, "latest_changes"),
        rejected=query(connection, "rejected"),
    )


def _draw_patients(events: Sequence[Mapping[str, Any]], today: date) -> Markup:
    """Return the chart of how many patients there were at the ends of days, the last one today."""
    event_days = [event["day"] for event in events]
    days_shown = (today - min([*event_days, today - timedelta(days=13)])).days
    step = 1 + days_shown // MOST_BARS
    days = [today - timedelta(days=step * number) for number in reversed(range(1 + days_shown // step))]
    bars = []
    for place, day in enumerate(days):
        number = events[position - 1]["patients"] if (position := bisect(event_days, day)) else 0
        bars.append(Bar(place, number, f"{day:%d %b %Y}: {number:,} patients"))
    return draw_bars(bars, [f"{day:%d %b %Y}" for day in days])


def _draw_events(events: Sequence[Mapping[str, Any]], days: Sequence[date]) -> Markup:
    """Return the chart of new patients, upwards, and of deleted ones, downwards."""
    bars = [
        Bar(days.index(event["day"]), sign * event[name], f"{event['day']:%d %b %Y}: {event[name]:,} {name}", name)
        for event in events
        if event["day"] in days
        for name, sign in (("new", 1), ("deleted", -1))
    ]
    return draw_bars(bars, [f"{day:%d %b}" for day in days])


def _draw_changes(changes: Mapping[date, int], days: Sequence[date]) -> Markup:
    """Return the chart of the changes of a field."""
    bars = [Bar(days.index(day), number, f"{day:%d %b %Y}: {number:,}") for day, number in changes.items()]
    return draw_bars(bars, [f"{day:%d %b}" for day in days])


def _draw_runs(runs: Sequence[Run], counts: Iterable[str], label: str) -> Markup:
    """Return the chart of a number of each run, oldest first, on a scale that leaves room beside a first load."""
    bars, starts = [], []
    for place, run in enumerate(reversed(runs)):
        starts.append(f"{run['started_at']:%d %b %H:%M}")
        number = sum(run[name] or 0 for name in counts)
        if run["outcome"] == "succeeded":
            bars.append(Bar(place, number, f"{starts[-1]}: {number:,} {label}"))
        else:
            bars.append(Bar(place, 0, f"{starts[-1]}: {run['reason'] or run['outcome']}", "failed"))
    return draw_bars(bars, starts, log1p)
