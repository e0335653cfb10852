"""The patients, their changes and the runs in pictures: one HTML file that loads nothing."""

from __future__ import annotations

import json
from html import escape
from string import Template
from typing import TYPE_CHECKING, Any

import vl_convert

if TYPE_CHECKING:
    import duckdb

DAYS = 90
"""How far back the pictures of changes go."""

PATIENTS = """
with appearances as (
  select
    case when version_number = 1 then least(coalesce(created_at, valid_from), valid_from) else valid_from end
      as instant,
    1 as step
  from main.patients_history
  where version_number = 1 or (patient_id, version_number - 1) in (
    select (patient_id, version_number) from main.patients_history where ended_by = 'deletion'
  )
),

steps as (
  from appearances
  union all
  select valid_to, -1 from main.patients_history where ended_by = 'deletion'
)

select strftime(instant, '%Y-%m-%d') as day, sum(sum(step)) over (order by day) as patients
from steps
group by day
order by day
"""

CHANGES = """
select strftime(changed_at, '%Y-%m-%d') as day, field, count(*) as changes
from main.patient_changes
where changed_at > now() at time zone 'UTC' - to_days($days)
group by all
order by all
"""

COMINGS_AND_GOINGS = """
with days as (
  select created_at as instant, 'new' as what from main.patients_history where version_number = 1
  union all
  select valid_to, 'deleted' from main.patients_history where ended_by = 'deletion'
)

select strftime(instant, '%Y-%m-%d') as day, what, count(*) as patients
from days
where instant > now() at time zone 'UTC' - to_days($days)
group by all
order by all
"""

RUNS = """
select
  strftime(started_at, '%Y-%m-%dT%H:%M:%SZ') as started,
  kind,
  greatest(epoch(ended_at - started_at), 0.001) as seconds
from main.syncs
where started_at > now() at time zone 'UTC' - to_days($days)
order by started_at
"""

FIGURES = """
select
  (select count(*) from main.patients) as "living patients",
  (select count(*) from main.patients_history) as versions,
  (select count(*) from main.patients_history where ended_by = 'deletion') as deletions,
  (select count(distinct id) from raw.rejected_records) as "rejected records",
  (select count(*) from main.syncs) as runs
"""

DAY = {"field": "day", "type": "temporal", "timeUnit": "utcyearmonthdate", "title": None, "axis": {"format": "%-d %b"}}
NUMBER = {"format": ",d", "tickMinStep": 1}

CONFIG = {
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {"gridColor": "#e8ecf0", "domainColor": "#c3ccd5", "tickColor": "#c3ccd5", "labelColor": "#51606e"},
    "legend": {"title": None, "orient": "top", "labelColor": "#51606e"},
    "bar": {"cornerRadiusEnd": 1},
    "range": {"category": ["#2f6fab", "#e08b3c", "#4f9d69", "#c0504d", "#8064a2", "#4bacc6", "#9c8154", "#7f7f7f"]},
}

PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Patients in $name</title>
<style>
  body { margin: 2rem auto; padding: 0 1.5rem; max-width: 1040px }
  body { font: 16px/1.45 system-ui, sans-serif; color: #1f2d3a }
  h1 { margin: 0; font-size: 1.6rem }
  h2 { margin: 0 0 .2rem; font-size: 1.1rem }
  p { margin: 0 0 .8rem; color: #51606e }
  dl { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.5rem 0 }
  dl div, section { border: 1px solid #e1e6eb; border-radius: 8px; padding: 1rem 1.2rem }
  dl div { flex: 1 }
  dt { color: #51606e; font-size: .85rem; white-space: nowrap }
  dd { margin: 0; font-size: 1.6rem; font-variant-numeric: tabular-nums }
  section { margin-bottom: 1rem; break-inside: avoid }
  svg { display: block; width: 100%; height: auto }
</style>
<h1>Patients in $name</h1>
<p>$as_of</p>
<dl>$figures</dl>
$sections
</html>
""")


def draw_report(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """Return the report as HTML.

    Args:
        connection: To a destination after a run.
        name: What to call it.
    """
    [figures] = _rows(connection, FIGURES)
    pictures: list[tuple[str, str, list[dict[str, Any]], dict[str, Any], dict[str, Any]]] = [
        (
            "Living patients",
            "by the day on which the source created them, or on which they were found to be gone",
            _rows(connection, PATIENTS),
            {"type": "area", "line": True, "opacity": 0.25, "interpolate": "step-after"},
            {
                "x": DAY | {"axis": {"format": "%b %Y"}},
                "y": {"field": "patients", "type": "quantitative", "title": None, "axis": NUMBER},
            },
        ),
        (
            "Changes",
            f"values that changed in the last {DAYS} days, by field",
            _rows(connection, CHANGES),
            {"type": "bar"},
            {
                "x": DAY,
                "y": {"field": "changes", "type": "quantitative", "title": None, "axis": NUMBER},
                "color": {"field": "field", "type": "nominal"},
            },
        ),
        (
            "New and deleted patients",
            f"in the last {DAYS} days; a deletion stands at the day on which it was found",
            _rows(connection, COMINGS_AND_GOINGS),
            {"type": "bar"},
            {
                "x": DAY,
                "y": {"field": "patients", "type": "quantitative", "title": None, "axis": NUMBER},
                "color": {
                    "field": "what",
                    "type": "nominal",
                    "scale": {"domain": ["new", "deleted"], "range": ["#4f9d69", "#c0504d"]},
                },
                "xOffset": {"field": "what", "sort": ["new", "deleted"]},
            },
        ),
        (
            "Runs",
            f"seconds of reading in the last {DAYS} days, on a logarithmic scale",
            _rows(connection, RUNS),
            {"type": "point", "filled": True, "size": 22, "opacity": 0.7},
            {
                "x": {
                    "field": "started",
                    "type": "temporal",
                    "title": None,
                    "axis": {"format": "%-d %b"},
                    "scale": {"type": "utc"},
                },
                "y": {
                    "field": "seconds",
                    "type": "quantitative",
                    "title": None,
                    "axis": {"format": "~g", "values": [0.01, 0.1, 1, 10, 100, 1000, 10000]},
                    "scale": {"type": "log"},
                },
                "color": {"field": "kind", "type": "nominal"},
            },
        ),
    ]
    as_of = connection.execute("select max(started_at) from main.syncs").fetchone() or (None,)
    return PAGE.substitute(
        name=escape(name),
        as_of=f"The source as of {as_of[0]:%Y-%m-%d %H:%M} UTC" if as_of[0] else "Nothing was loaded yet",
        figures="".join(f"<div><dt>{label}</dt><dd>{number:,}</dd></div>" for label, number in figures.items()),
        sections="\n".join(_section(*picture) for picture in pictures),
    )


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    relation = connection.sql(query, params={"days": DAYS} if "$days" in query else None)
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def _section(
    title: str, subtitle: str, rows: list[dict[str, Any]], mark: dict[str, Any], encoding: dict[str, Any]
) -> str:
    """Return a picture with its title."""
    specification = {"data": {"values": rows}, "mark": mark, "encoding": encoding, "width": 940, "height": 220}
    drawing = vl_convert.vegalite_to_svg(json.dumps(specification), config=CONFIG, allowed_base_urls=[])
    return f"<section><h2>{title}</h2><p>{subtitle}</p>{drawing if rows else '<p>nothing yet</p>'}</section>"
