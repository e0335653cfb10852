"""The report: patients, changes and runs on one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import log1p
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
from jinja2 import Environment, StrictUndefined

from toubib_connector.destination import Destination
from toubib_connector.runs import read_runs
from toubib_connector.sql import query
from toubib_connector.status import CHANGES, describe_changes

PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined).from_string(
    Path(__file__).with_name("page.html").read_text(encoding="utf-8")
)
DAYS = 90
"""How far back the chart of changes goes."""

MOST_BARS = 200
"""In the chart of patients, which begins on the day of the first patient."""

RUNS = 100


class Bar(NamedTuple):
    """A bar of a chart: the label of its place, its height before scaling, its text, and a class of the page."""

    place: str
    number: int
    text: str
    kind: str = ""


def write_report(destination: Destination) -> None:
    """Write the report beside the destination."""
    with destination.connect_for_reading() as connection:
        page = draw_report(connection, read_runs(destination, RUNS), destination.path.name, datetime.now(UTC))
    destination.report.write_text(page, encoding="utf-8")


def draw_report(
    connection: duckdb.DuckDBPyConnection, runs: Sequence[Mapping[str, Any]], name: str, now: datetime
) -> str:
    """Return the report as HTML. The charts end `now`, an instant in UTC; `runs` begin with the newest."""
    days = query(connection, "days", now=now)
    step = 1 + len(days) // MOST_BARS
    return PAGE.render(
        name=name,
        now=now,
        totals=next(iter(query(connection, "totals")), {}),
        runs=runs,
        rejected=query(connection, "rejected"),
        describe_changes=describe_changes,
        linear=float,
        logarithmic=log1p,
        patients=[
            Bar(f"{day['day']:%d %b %Y}", day["patients"], f"{day['patients']:,} patients")
            for day in days[::-step][::-1]
        ],
        changes_by_day=[_make_bar(f"{day['day']:%d %b %Y}", day) for day in days[-DAYS:]],
        changes_by_run=[_make_bar(f"{run['started_at']:%d %b %H:%M}", run) for run in reversed(runs)],
    )


def _make_bar(place: str, counts: Mapping[str, Any]) -> Bar:
    if counts.get("reason"):
        return Bar(place, 0, counts["reason"], "failed")
    number = sum(counts.get(name) or 0 for name in CHANGES)
    return Bar(place, number, describe_changes(counts))
