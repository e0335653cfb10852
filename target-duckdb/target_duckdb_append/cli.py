"""Command line of the target."""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from target_duckdb import DEFAULT_BATCH_SIZE_ROWS, duckdb_connect

from target_duckdb_append.errors import LoadError, describe
from target_duckdb_append.loader import Loader

LOCK_TIMEOUT = 30
"""Seconds to wait for another process that has the file open; the connector and dbt wait as long."""


def main() -> None:
    """Load the messages on standard input. An error is one line and exit code 1."""
    parser = argparse.ArgumentParser(description="Append the output of a Singer tap to a DuckDB file.")
    parser.add_argument("-c", "--config", type=Path, required=True, help="a JSON file with the settings")
    try:
        config = _read_config(parser.parse_args().config)
        with _connect(config) as connection:
            Loader(connection, config, partial(print, flush=True)).load(sys.stdin.buffer)
    except LoadError as error:
        sys.exit(str(error))
    except duckdb.Error as error:
        sys.exit(f"Cannot write to {config.get('path', config.get('filepath'))}: {describe(error)}")
    except OSError as error:
        sys.exit(f"{error.filename or 'Cannot write'}: {error.strerror}")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = {"batch_size_rows": DEFAULT_BATCH_SIZE_ROWS} | json.loads(path.read_bytes())
        config["batch_size_rows"] = int(config["batch_size_rows"])
    except (TypeError, ValueError) as error:
        raise LoadError(f"{path} is not a JSON object, or its batch_size_rows is not a whole number") from error
    if not config.get("default_target_schema"):
        raise LoadError(f"{path} lacks the setting default_target_schema")
    return config


def _connect(config: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            connection: duckdb.DuckDBPyConnection = duckdb_connect(config)
        except duckdb.IOException as error:
            if "Could not set lock" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return connection
