"""What a run did."""

from __future__ import annotations

import duckdb
from rich.console import Console
from rich.table import Table

from toubib_connector.destination import Destination
from toubib_connector.log import has_terminal, say

QUERY = """
with last_sync as (
  select * from raw.syncs order by started_at desc limit 1
),

seen as (
  select version_number from main.patients_history
  where observed_at >= (select started_at from last_sync)
)

select
  (select count(*) from seen where version_number = 1),
  (select count(*) from seen where version_number > 1),
  deleted,
  recovered,
  rejected,
  requests,
  (select count(*) from main.patients),
  total_items_after
from last_sync
"""

REJECTED_QUERY = """
with rejected as (
  select distinct coalesce(try_cast(id as hugeint)::varchar, 'without id') || coalesce(' (' || field || ')', '') as name
  from raw.rejected_records
  where _sdc_extracted_at >= (select max(started_at) from raw.syncs)
)

select name, count(*) over () from rejected
order by name
limit 20
"""

STYLES = {"new": "green", "changed": "cyan", "deleted": "magenta", "recovered": "yellow", "rejected": "red"}


def show_summary(connection: duckdb.DuckDBPyConnection, destination: Destination, tests: int, seconds: float) -> None:
    """Print what the last run leaves to be looked at, and what it did.

    Args:
        connection: To the destination.
        destination: What to call it.
        tests: How many tests of the data passed.
        seconds: How long the run took.
    """
    *counts, requests, patients, in_the_source = connection.execute(QUERY).fetchone() or (0,) * 8
    # of a record its id and the field, never the value
    if rejected := connection.execute(REJECTED_QUERY).fetchall():
        names = [name for name, _ in rejected]
        if others := rejected[0][1] - len(names):
            names.append(f"{others:,} others")
        say(f"Warning: Could not be loaded, and is in raw.rejected_records: {', '.join(names)}", "warning")
    if in_the_source != patients:
        say(f"Warning: The source has {in_the_source} patients, the destination {patients}", "warning")
    counted = dict(zip(STYLES, counts, strict=True))
    if not has_terminal():
        told = ", ".join(f"{count} {what}" for what, count in counted.items() if count or what != "recovered")
        told += f"; {requests} requests, {seconds:.1f} seconds, {tests} tests passed"
        say(f"{told}; {patients} patients in {destination.shown()}")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", justify="right")
    table.add_column()
    table.add_row(f"{patients:,}", "patients now")
    for what, count in counted.items():
        table.add_row(f"{count:,}", what, style=STYLES[what] if count else "dim")
    table.add_row(f"{tests:,}", "tests passed")
    table.add_row(f"{requests:,}", "requests")
    table.add_row(f"{seconds:.1f}", "seconds")
    console = Console()
    console.print(table)
    console.print(f"In {destination.shown()}", soft_wrap=True)
    console.print("Next: `make sql` to query it, `make report` to see it")
