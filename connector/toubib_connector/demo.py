"""What the demo ends with."""

from __future__ import annotations

import duckdb
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

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


def show_history(connection: duckdb.DuckDBPyConnection) -> None:
    """Print the versions of a made-up patient that changed and of one that was deleted."""
    history = connection.execute(HISTORY)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in history.description:
        table.add_column(column[0], no_wrap=True)
    for row in history.fetchall():
        table.add_row(*map(str, row))
    Console().print(table)
