"""What a run did, in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
  (select count(*) from raw.patients
   where _sdc_deleted_at is not null and _sdc_extracted_at >= (select started_at from last_sync)),
  rejected,
  requests
from last_sync
"""


def summarize(connection: duckdb.DuckDBPyConnection, seconds: float) -> str:
    """Return the summary of the last run.

    Args:
        connection: To the destination.
        seconds: How long the run took.
    """
    new, changed, deleted, rejected, requests = connection.execute(QUERY).fetchone() or (0,) * 5
    return (
        f"{new} new, {changed} changed, {deleted} deleted, {rejected} rejected; "
        f"{requests} requests, {seconds:.1f} seconds"
    )
