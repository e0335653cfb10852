"""Build and test the models in the DuckDB file DBT_DUCKDB_PATH, unless there is nothing to build.

With arguments it always runs dbt: options are passed to `dbt build`, anything else is a dbt command such as
`docs generate`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import duckdb

PROJECT = Path(__file__).parent
LOCK_TIMEOUT = 30
"""Seconds to wait for another process to close the file."""

COLUMNS = """
select string_agg(column_name || ' ' || data_type) from duckdb_columns()
where schema_name = 'raw' and table_name = 'patients'
"""

HAS_NOTHING_NEW = """
select
  digest = $digest
  -- if not, the clock was set back and new rows look old
  and built_until <= now()
  and coalesce((select max(_sdc_batched_at) from raw.patients) <= tested_until, true)
  -- a new row in raw.syncs can change how the observations of its run and of later ones are ordered
  and not exists (
    from raw.syncs
    where _sdc_batched_at > built_until and started_at <= (select max(_sdc_sync_started_at) from raw.patients)
  )
  and (select arg_max(total_items_after, _sdc_batched_at) from raw.syncs)
    is not distinct from
    (select arg_max(total_items_after, _sdc_batched_at) from raw.syncs where _sdc_batched_at <= tested_until)
from bookkeeping.builds
"""


def main(arguments: list[str]) -> int:
    """Return the exit code of a dbt command."""
    try:
        connection = connect(os.environ["DBT_DUCKDB_PATH"])
    except duckdb.Error as error:
        say(f"Error: {str(error).splitlines()[0]}", level="error")
        return 1
    # dbt shares this connection's lock, so that no other process opens the file in between
    with connection:
        if not arguments and has_nothing_new(connection):
            say("Nothing to build: raw holds nothing new and transform/ is unchanged")
            return 0
        os.environ["TOUBIB_MEMORY_LIMIT"] = os.environ.get("TOUBIB_MEMORY_LIMIT") or find_memory_limit(connection)
        from dbt.cli.main import dbtRunner  # noqa: PLC0415 -- slow, and often not needed

        command = arguments if arguments and not arguments[0].startswith("-") else ["build", *arguments]
        if not dbtRunner().invoke(command).success:
            return 1
        if arguments in ([], ["--full-refresh"]):
            record_success(connection)
    return 0


def find_memory_limit(connection: duckdb.DuckDBPyConnection) -> str:
    """Return a quarter of the memory of the machine or the container, at least 250 MB."""
    # DuckDB's default is 80 %
    query = "select greatest(parse_formatted_bytes(current_setting('memory_limit')) / 3.2, 250e6)::bigint"
    [(size,)] = connection.execute(query).fetchall()
    return f"{size}B"


def say(text: str, level: str = "info") -> None:
    """Print a line in the format of dbt's log."""
    if os.environ.get("DBT_LOG_FORMAT") == "json":
        text = json.dumps({"info": {"name": "Build", "level": level, "msg": text}, "data": {}})
    print(text, flush=True)


def connect(path: str) -> duckdb.DuckDBPyConnection:
    """Open the file as soon as no other process has it open.

    Raises:
        duckdb.Error: Another process does not close it, or it is not a DuckDB file.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            return duckdb.connect(path)
        except duckdb.IOException as error:
            if "Conflicting lock" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(1)


def has_nothing_new(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether everything in raw was built and tested by the current models."""
    with suppress(duckdb.CatalogException, duckdb.BinderException):  # no table exists before the first build
        [(result,)] = connection.execute(HAS_NOTHING_NEW, {"digest": compute_digest(connection)}).fetchall()
        return bool(result)
    return False


def record_success(connection: duckdb.DuckDBPyConnection) -> None:
    """Record that the history has passed all data tests."""
    update = "update bookkeeping.builds set tested_until = built_until, digest = ?"
    connection.execute(update, [compute_digest(connection)])


def compute_digest(connection: duckdb.DuckDBPyConnection) -> str:
    """Return a digest of the project's files and of the columns of raw.patients."""
    [(columns,)] = connection.execute(COLUMNS).fetchall()
    digest = hashlib.sha256(str(columns).encode())
    for pattern in ("*.py", "*.yml", "macros/**/*.sql", "models/**/*.*", "tests/**/*.sql"):
        for file in sorted(PROJECT.glob(pattern)):
            digest.update(f"\0{file.relative_to(PROJECT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
