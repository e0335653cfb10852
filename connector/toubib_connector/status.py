"""How the destination stands, from its audit tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import duckdb

from toubib_connector.log import Failure

if TYPE_CHECKING:
    from toubib_connector.destination import Destination

RUNS = """
select
  strftime(started_at, '%Y-%m-%d %H:%M:%S') as "started, UTC",
  round(epoch(ended_at - started_at), 1) as "seconds of reading",
  kind,
  requests,
  records,
  rejected,
  total_items_after as "patients in the source"
from main.syncs
order by started_at desc
limit 10
"""

TOTALS = """
select
  max(started_at),
  date_diff('minute', max(started_at), now() at time zone 'UTC'),
  max_by(total_items_after, started_at),
  (select count(*) from main.patients),
  (select count(*) from main.patients_history),
  (select count(*) from raw.patients),
  (select count(distinct id) from raw.rejected_records)
from main.syncs
"""


def show_status(destination: Destination) -> None:
    """Print the last runs, how old the data are, and how many; while a run writes, those of the published copy.

    Raises:
        Failure: There is no destination, or it cannot be read.
    """
    if not destination.path.exists():
        raise Failure(f"There is no {destination.path}. `run` makes it.")
    for path in (destination.path, destination.published):
        try:
            with duckdb.connect(str(path), read_only=True) as connection:
                _show(connection)
        except duckdb.CatalogException as error:
            raise Failure(f"{path} lacks the tables of a run. `init-db` makes them.") from error
        except duckdb.IOException as error:
            reason = str(error).splitlines()[0]
            continue
        size = path.stat().st_size / 1e6
        click.echo(f"{path}: {size:.1f} MB")
        return
    raise Failure(f"Cannot read {destination.path}: {reason}")


def _show(connection: duckdb.DuckDBPyConnection) -> None:
    connection.sql(RUNS).show(max_width=160)
    as_of, minutes, in_the_source, living, versions, observations, rejected = (
        connection.execute(TOTALS).fetchone() or ()
    )
    if as_of is None:
        click.echo("Nothing was loaded yet.")
        return
    click.echo(f"The source as of {as_of:%Y-%m-%d %H:%M:%S} UTC, {minutes} minutes ago: {in_the_source} patients")
    click.echo(
        f"The destination: {living} living patients, {versions} versions, {observations} observations, "
        f"{rejected} rejected records"
    )
