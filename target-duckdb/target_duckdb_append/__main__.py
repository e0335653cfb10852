"""Command line of the target."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
from target_duckdb import duckdb_connect

from target_duckdb_append.errors import LoadError, describe
from target_duckdb_append.loader import Loader

CONNECT_ATTEMPTS = 4
CONNECT_WAIT = 1
"""Seconds between two of them."""


def main() -> None:
    """Load the messages on standard input; what fails is told in one line, with exit code 1."""
    parser = argparse.ArgumentParser(description="Append the output of a Singer tap to a DuckDB file.")
    parser.add_argument("-c", "--config", type=Path, required=True, help="a JSON file with the settings")
    try:
        config = _read_config(parser.parse_args().config)
        with _connect(config) as connection:
            Loader(connection, config, _write_state).load(sys.stdin.buffer)
    except LoadError as error:
        sys.exit(str(error))
    except duckdb.Error as error:
        sys.exit(f"Cannot write to {config.get('path', config.get('filepath'))}: {describe(error)}")
    except OSError as error:
        sys.exit(f"{error.filename or 'Cannot write'}: {error.strerror}")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise LoadError(f"{path} does not hold JSON") from error
    if not isinstance(config, dict):
        raise LoadError(f"{path} does not hold an object of settings")
    return config


def _connect(config: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    """Open the database; somebody who looks into it is waited for, as dbt does."""
    connection: duckdb.DuckDBPyConnection | None = None
    attempts = 0
    while not connection:
        attempts += 1
        try:
            connection = duckdb_connect(config)
        except duckdb.IOException as error:
            if attempts == CONNECT_ATTEMPTS or "Could not set lock" not in str(error):
                raise
            time.sleep(CONNECT_WAIT)
    return connection


def _write_state(state: Any) -> None:
    sys.stdout.write(f"{json.dumps(state)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
