"""What a run did."""

from __future__ import annotations

from collections.abc import Iterator

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
  (select count(*) from main.patients)
from last_sync
"""


REJECTED_QUERY = """
select distinct coalesce(try_cast(id as hugeint)::varchar, 'without id') || coalesce(' (' || field || ')', '')
from raw.rejected_records
where _sdc_extracted_at >= (select max(started_at) from raw.syncs)
order by 1
limit 20
"""

COUNT_QUERY = """
select total_items_after, (select count(*) from main.patients)
from raw.syncs order by started_at desc limit 1
"""

STYLES = {"new": "green", "changed": "cyan", "deleted": "magenta", "recovered": "yellow", "rejected": "red"}


def show_summary(connection: duckdb.DuckDBPyConnection, destination: Destination, checks: int, seconds: float) -> None:
    """Print what the last run leaves to be looked at, and what it did.

    Args:
        connection: To the destination.
        destination: What to call it.
        checks: How many checks of the data passed.
        seconds: How long the run took.
    """
    for warning in _warnings(connection):
        say(f"Warning: {warning}", "warning")
    *counts, requests, patients = connection.execute(QUERY).fetchone() or (0,) * 7
    counted = dict(zip(STYLES, counts, strict=True))
    if not has_terminal():
        told = ", ".join(f"{count} {what}" for what, count in counted.items() if count or what != "recovered")
        told += f"; {requests} requests, {seconds:.1f} seconds, {checks} checks passed"
        say(f"{told}; {patients} patients in {destination.shown()}")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", justify="right")
    table.add_column()
    table.add_row(f"{patients:,}", "patients now")
    for what, count in counted.items():
        table.add_row(f"{count:,}", what, style=STYLES[what] if count else "dim")
    table.add_row(f"{checks:,}", "checks passed")
    table.add_row(f"{requests:,}", "requests")
    table.add_row(f"{seconds:.1f}", "seconds")
    console = Console()
    console.print(table)
    console.print(f"In {destination.shown()}", soft_wrap=True)
    console.print("Next: `make sql` to query it, `make report` to see it")


def _warnings(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Yield what the last run leaves to be looked at; of a record its id and the field, never the value."""
    if rejected := [row[0] for row in connection.execute(REJECTED_QUERY).fetchall()]:
        yield f"Could not be loaded, and is in raw.rejected_records: {', '.join(rejected)}"
    in_the_source, here = connection.execute(COUNT_QUERY).fetchone() or (0, 0)
    if in_the_source != here:
        yield f"The source has {in_the_source} patients, the destination {here}"
