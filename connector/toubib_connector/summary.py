"""What a run did, in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

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
  repaired,
  rejected,
  requests
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


def warnings(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Yield what the last run leaves to be looked at; of a record its id and the field, never the value."""
    if rejected := [row[0] for row in connection.execute(REJECTED_QUERY).fetchall()]:
        yield f"Could not be loaded, and is in raw.rejected_records: {', '.join(rejected)}"
    in_the_source, here = connection.execute(COUNT_QUERY).fetchone() or (0, 0)
    if in_the_source != here:
        yield f"The source has {in_the_source} patients, the destination {here} living ones"


def summarize(connection: duckdb.DuckDBPyConnection, seconds: float) -> str:
    """Return the summary of the last run.

    Args:
        connection: To the destination.
        seconds: How long the run took.
    """
    new, changed, deleted, repaired, rejected, requests = connection.execute(QUERY).fetchone() or (0,) * 6
    repairs = f"{repaired} missed before, " if repaired else ""
    return (
        f"{new} new, {changed} changed, {deleted} deleted, {repairs}{rejected} rejected; "
        f"{requests} requests, {seconds:.1f} seconds"
    )
