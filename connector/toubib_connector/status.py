"""How the destination stands."""

from __future__ import annotations

import shutil

import duckdb
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from toubib_connector.log import describe_age, say
from toubib_connector.recorded_runs import fetch, has_syncs, read_runs

COUNTS = ("seconds", "read", "rejected", "deleted", "requests")

TABLES = """
select database, schema, name, len(column_names) as columns from (show all tables) order by all
"""

TOTALS = """
select
  max(started_at),
  now() at time zone 'UTC' - max(started_at),
  max_by(total_items_after, started_at),
  (select count(*) from main.patients),
  (select count(*) from main.patients_history),
  (select count(*) from raw.patients),
  (select count(distinct record) from raw.rejected_records)
from main.syncs
having count(*) > 0
"""

HISTORY = """
select
  patient_id as "patient",
  version_number as "no.",
  last_name as "last name",
  total_visits as "visits",
  strftime(valid_from, '%Y-%m-%d %H:%M') as "valid from",
  coalesce(strftime(valid_to, '%Y-%m-%d %H:%M'), '') as "valid to",
  coalesce(ended_by, '') as "ended by"
from main.patients_history
where
  -- values are shown, so they must be made up
  (select arg_max(is_bundled_api, started_at) from raw.syncs)
  and patient_id in (
    select max(patient_id) from main.patients_history where ended_by is not null group by ended_by
  )
order by bool_or(ended_by = 'deletion') over (partition by patient_id), patient_id, version_number
"""


def show_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Print the tables, as wide as the terminal at most."""
    connection.sql(TABLES).show(max_width=shutil.get_terminal_size().columns, max_rows=100)


def show_status(connection: duckdb.DuckDBPyConnection) -> None:
    """Print the last runs, those that failed included, how old the data are, and how many."""
    runs = read_runs(connection, 10)
    if not runs:
        say("Nothing was loaded yet; `make run` loads the patients.")
        return
    table = _make_table("run of (UTC)", "kind")
    for name in COUNTS:
        table.add_column(name, justify="right")
    for run in runs:
        has_failed = run["outcome"] == "failed"
        counts = ("" if run[name] is None else f"{run[name]:,}" for name in COUNTS)
        kind = "failed" if has_failed else run["kind"]
        table.add_row(f"{run['started']:%Y-%m-%d %H:%M}", kind, *counts, style="red" if has_failed else "")
    Console().print(table)
    for run in runs:
        if run["reason"]:
            say(f"The run of {run['started']:%Y-%m-%d %H:%M} failed: {run['reason']}")
    totals = connection.execute(TOTALS).fetchone() if has_syncs(connection) else None
    if not totals:
        return
    as_of, age, in_the_source, patients, versions, observations, rejected = totals
    say(f"The source as of {as_of:%Y-%m-%d %H:%M} UTC, {describe_age(age)} ago: {in_the_source:,} patients")
    say(
        f"The destination: {patients:,} current patients, {versions:,} versions, {observations:,} observations, "
        f"{rejected:,} rejected records"
    )


def show_history(connection: duckdb.DuckDBPyConnection) -> None:
    """Print the versions of a made-up patient that changed and of one that was deleted."""
    rows = fetch(connection, HISTORY)
    table = _make_table(*next(iter(rows), ()))
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)


def _make_table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table
