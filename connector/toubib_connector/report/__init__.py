"""The report: patients, changes and runs on one HTML page that loads nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from jinja2 import Environment, StrictUndefined

from toubib_connector.log import describe_age
from toubib_connector.recorded_runs import fetch, read_runs
from toubib_connector.report import queries
from toubib_connector.report.charts import draw_changes, draw_events, draw_patients, draw_requests

PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined).from_string(
    Path(__file__).with_name("page.html").read_text(encoding="utf-8")
)
DAYS = 90
"""How far back the charts of changes and of events go."""
DAYS_OF_RUNS = 30
FIELDS = 12
"""How many fields the chart of changes tells apart."""


def draw_report(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """Return the report as HTML.

    Args:
        connection: To a destination after a run.
        name: What to call it.
    """
    now = datetime.now(UTC).replace(tzinfo=None)
    today = now.date()
    since = today - timedelta(days=DAYS - 1)
    since_runs = today - timedelta(days=DAYS_OF_RUNS - 1)
    syncs = fetch(connection, queries.LAST_SYNC)
    runs = read_runs(connection, 1000)
    events = fetch(connection, queries.EVENTS)
    changes = fetch(connection, queries.CHANGES, since=since, fields=FIELDS)
    requests = [run for run in runs if run["requests"] and run["started"].date() >= since_runs]
    return PAGE.render(
        name=name,
        drawn_at=now,
        sync=syncs[0] if syncs else None,
        age=describe_age(now - syncs[0]["started_at"]) if syncs else "",
        figures=fetch(connection, queries.FIGURES)[0],
        days=DAYS,
        days_of_runs=DAYS_OF_RUNS,
        last_runs=[_tell_outcome(run) for run in runs[:10]],
        last_run=runs[0] if runs else None,
        patients_chart=draw_patients(events, today),
        changes_chart=draw_changes(changes, since, today),
        events_chart=draw_events([event for event in events if since <= event["day"] <= today], since, today),
        requests_chart=draw_requests(requests, since_runs, today),
        latest_changes=fetch(connection, queries.LATEST_CHANGES),
        rejected=fetch(connection, queries.REJECTED),
    )


def _tell_outcome(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run for the table, with why it failed beside that it did."""
    told = {name: value for name, value in run.items() if name != "reason"}
    return told | {"outcome": f"{run['outcome']}: {run['reason']}" if run["reason"] else run["outcome"]}
