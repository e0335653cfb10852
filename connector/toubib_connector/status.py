"""How the destination stands, from its audit tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toubib_connector.log import say

if TYPE_CHECKING:
    import duckdb

RUNS = """
select
  strftime(started_at, '%Y-%m-%d %H:%M:%S') as "started, UTC",
  round(epoch(ended_at - started_at), 1) as "seconds of reading",
  kind,
  requests,
  records,
  rejected,
  deleted,
  total_items_after as "patients in the source"
from main.syncs
order by started_at desc
limit 10
"""

TOTALS = """
select
  max(started_at),
  to_seconds(date_diff('second', max(started_at), now() at time zone 'UTC'))::varchar,
  max_by(total_items_after, started_at),
  (select count(*) from main.patients),
  (select count(*) from main.patients_history),
  (select count(*) from raw.patients),
  (select count(distinct id) from raw.rejected_records)
from main.syncs
"""


def show_status(connection: duckdb.DuckDBPyConnection) -> None:
    """Print the last runs, how old the data are, and how many."""
    connection.sql(RUNS).show(max_width=160)
    as_of, age, in_the_source, living, versions, observations, rejected = connection.execute(TOTALS).fetchone() or ()
    if as_of is None:
        say("Nothing was loaded yet.")
        return
    say(f"The source as of {as_of:%Y-%m-%d %H:%M:%S} UTC, {age} ago: {in_the_source} patients")
    say(
        f"The destination: {living} living patients, {versions} versions, {observations} observations, "
        f"{rejected} rejected records"
    )
