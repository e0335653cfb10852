"""How the destination stands."""

from __future__ import annotations

import shutil
from datetime import timedelta

import duckdb
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from toubib_connector.log import say

TABLES = """
select database, schema, name, len(column_names) as columns from (show all tables) order by all
"""

RUNS = """
select
  coalesce(runs.started_at, syncs.started_at) as started_at,
  if(outcome = 'failed', 'failed', kind),
  date_diff('second', coalesce(runs.started_at, syncs.started_at), coalesce(runs.ended_at, syncs.ended_at)),
  coalesce(patients_read, records),
  rejected,
  deleted,
  requests,
  reason
from bookkeeping.runs as runs
full join main.syncs as syncs on syncs.started_at between runs.started_at and runs.ended_at
order by started_at desc
limit 10
"""

RUNS_BEFORE_THE_FIRST_SYNC = """
select started_at, outcome, date_diff('second', started_at, ended_at), patients_read, null, null, null, reason
from bookkeeping.runs
order by started_at desc
limit 10
"""

HAS_SYNCS = "select count(*) > 0 from information_schema.tables where table_schema = 'main' and table_name = 'syncs'"

TOTALS = """
select
  max(started_at),
  now() at time zone 'UTC' - max(started_at),
  max_by(total_items_after, started_at),
  (select count(*) from main.patients),
  (select count(*) from main.patients_history),
  (select count(*) from raw.patients),
  (select count(distinct id) from raw.rejected_records)
from main.syncs
"""

UNITS = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}


def show_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Print the tables, as wide as the terminal at most."""
    connection.sql(TABLES).show(max_width=shutil.get_terminal_size().columns, max_rows=100)


def show_status(connection: duckdb.DuckDBPyConnection) -> None:
    """Print the last runs, those that failed included, how old the data are, and how many."""
    has_syncs = connection.execute(HAS_SYNCS).fetchone() == (True,)
    runs = connection.execute(RUNS if has_syncs else RUNS_BEFORE_THE_FIRST_SYNC).fetchall()
    if not runs:
        say("Nothing was loaded yet; `make run` loads the patients.")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("run of (UTC)", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for name in ("seconds", "read", "rejected", "deleted", "requests"):
        table.add_column(name, justify="right")
    for started_at, kind, *counts, _ in runs:
        figures = ("" if count is None else f"{count:,}" for count in counts)
        table.add_row(f"{started_at:%Y-%m-%d %H:%M}", kind, *figures, style="red" if kind == "failed" else "")
    Console().print(table)
    for started_at, *_, reason in runs:
        if reason:
            say(f"The run of {started_at:%Y-%m-%d %H:%M} failed: {reason}")
    if not has_syncs:
        return
    as_of, age, in_the_source, patients, versions, observations, rejected = connection.execute(TOTALS).fetchone() or ()
    if as_of:
        say(f"The source as of {as_of:%Y-%m-%d %H:%M} UTC, {in_words(age)} ago: {in_the_source:,} patients")
        say(
            f"The destination: {patients:,} current patients, {versions:,} versions, {observations:,} observations, "
            f"{rejected:,} rejected records"
        )


def in_words(age: timedelta) -> str:
    """Return an age in its largest unit: `3 days`."""
    seconds = max(int(age.total_seconds()), 0)
    unit, size = next(((unit, size) for unit, size in UNITS.items() if seconds >= size), ("second", 1))
    return f"{seconds // size} {unit}{'' if seconds // size == 1 else 's'}"
