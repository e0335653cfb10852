"""The report: patients, changes and runs on one HTML page that loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from html import escape
from itertools import accumulate
from pathlib import Path
from string import Template
from typing import Any

import duckdb

from toubib_connector.report import queries
from toubib_connector.report.charts import draw_changes, draw_events, draw_patients, draw_requests
from toubib_connector.status import in_words

PAGE = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
DAYS = 90
"""How far back the charts of changes and of events go."""
DAYS_OF_RUNS = 30
FIELDS = 12
"""How many fields the chart of changes tells apart."""
ONLY_WIDE = {"kind", "deleted", "rejected", "requests", "seconds", "trigger", "first ids"}
"""Columns of the tables that a phone has no room for."""


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
    [figures] = _rows(connection, queries.FIGURES)
    runs = _rows(connection, queries.runs(connection))
    events = _rows(connection, queries.EVENTS)
    sections = [
        _section(
            "Last runs",
            "The ten latest, newest first, in UTC.",
            _table([_tell_outcome(run) for run in runs[:10]]),
        ),
        _section(
            "Current patients",
            "Until today. A patient counts from the day on which the source created it until a run found it deleted.",
            draw_patients(_count_patients(events, today)),
        ),
        _section(
            "Changes by field",
            f"Changed values of the last {DAYS} days, with their number; the stronger the colour, the more on a day.",
            draw_changes(_group_fields(_rows(connection, queries.CHANGES, since=since)), since, today),
        ),
        _section(
            "New and deleted patients",
            f"In the last {DAYS} days. A patient that returns after a deletion counts as new.",
            draw_events([event for event in events if since <= event["day"] <= today], since, today),
        ),
        _section(
            "Requests of each run",
            f"In the last {DAYS_OF_RUNS} days; the scale is logarithmic.",
            draw_requests(
                [run for run in runs if run["requests"] and run["started"].date() >= since_runs], since_runs, today
            ),
        ),
        _section(
            "Latest changes",
            "The values are in <code>main.patient_changes</code>.",
            _table(_rows(connection, queries.LATEST_CHANGES)),
        ),
        _section(
            "Quarantined records",
            "Records that could not be loaded; they are in <code>raw.rejected_records</code>.",
            _table(_rows(connection, queries.REJECTED)),
        ),
    ]
    return PAGE.substitute(
        name=escape(name),
        drawn_at=f"{now:%d %b %Y, %H:%M} UTC",
        notices="".join(_notices(_rows(connection, queries.LAST_SYNC), runs, now)),
        figures="".join(f"<div><dt>{label}</dt><dd>{number:,}</dd></div>" for label, number in figures.items()),
        sections="\n".join(sections),
    )


def _rows(connection: duckdb.DuckDBPyConnection, query: str, **params: Any) -> list[dict[str, Any]]:
    relation = connection.execute(query, params)
    names = [column[0] for column in relation.description or ()]
    return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]


def _notices(last_syncs: Sequence[dict[str, Any]], runs: Sequence[dict[str, Any]], now: datetime) -> list[str]:
    """Return what a reader has to know first: how old the data are, whose they are, and how the last run ended."""
    if not last_syncs:
        notices = [_notice("bad", "Nothing was loaded yet.")]
    else:
        [sync] = last_syncs
        age = in_words(now - sync["started_at"])
        source = "the bundled API, whose patients are made up" if sync["is_bundled_api"] else escape(sync["api_url"])
        notices = [_notice("plain", f"The source as of {sync['started_at']:%d %b %Y, %H:%M} UTC, {age} ago: {source}.")]
        if sync["total_items_after"] != sync["patients"]:
            count = f"The source had {sync['total_items_after']:,} patients, the destination has {sync['patients']:,}."
            notices.append(_notice("bad", f"{count} <code>make full-refresh</code> makes them equal."))
    if runs and runs[0]["outcome"] == "failed":
        notices.append(_notice("bad", f"The last run failed: {escape(runs[0]['reason'] or 'no reason is known')}"))
    elif runs:
        notices.append(_notice("good", "The last run succeeded."))
    return notices


def _notice(kind: str, text: str) -> str:
    return f'<p class="notice {kind}">{text}</p>'


def _count_patients(events: Sequence[dict[str, Any]], today: date) -> list[dict[str, Any]]:
    """Return how many patients there were on each day on which that changed, and today."""
    totals = accumulate(event["new"] - event["deleted"] for event in events)
    counts = [{"day": event["day"], "patients": total} for event, total in zip(events, totals, strict=True)]
    if counts and counts[-1]["day"] < today:
        counts.append({"day": today, "patients": counts[-1]["patients"]})
    return counts


def _group_fields(changes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the changes with the fields that changed least as one."""
    totals: dict[str, int] = {}
    for change in changes:
        totals[change["field"]] = totals.get(change["field"], 0) + change["changes"]
    kept = sorted(totals, key=lambda field: -totals[field])[: FIELDS if len(totals) > FIELDS + 1 else None]
    others = f"{len(totals) - len(kept)} other fields"
    grouped: dict[tuple[date, str], int] = {}
    for change in changes:
        key = change["day"], change["field"] if change["field"] in kept else others
        grouped[key] = grouped.get(key, 0) + change["changes"]
    order = [*kept, others]
    totals[others] = sum(totals.values()) - sum(totals[field] for field in kept)
    return [
        {"day": day, "field": f"{field} ({totals[field]:,})", "changes": number, "rank": order.index(field)}
        for (day, field), number in grouped.items()
    ]


def _tell_outcome(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run for the table, with why it failed beside that it did."""
    told = {name: value for name, value in run.items() if name != "reason"}
    return told | {"outcome": f"{run['outcome']}: {run['reason']}" if run["reason"] else run["outcome"]}


def _section(title: str, subtitle: str, content: str) -> str:
    content = content or '<p class="none">None.</p>'
    return f"<section><h2>{title}</h2><p>{subtitle}</p>{content}</section>"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return ""
    classes = {
        name: " ".join(["number"] * any(isinstance(row[name], int) for row in rows) + ["wide"] * (name in ONLY_WIDE))
        for name in rows[0]
    }
    head = "".join(f'<th class="{classes[name]}">{name}</th>' for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f'<td class="{classes[name]}">{_cell(value)}</td>' for name, value in row.items()) + "</tr>"
        for row in rows
    )
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%d %b, %H:%M}"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))
