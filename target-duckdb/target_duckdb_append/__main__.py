"""Command line of the target."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import duckdb
from target_duckdb import duckdb_connect

from target_duckdb_append.errors import LoadError, describe
from target_duckdb_append.loader import Loader


def main() -> None:
    """Load the messages on standard input; what fails is told in one line, with exit code 1."""
    parser = argparse.ArgumentParser(description="Append the output of a Singer tap to a DuckDB file.")
    parser.add_argument("-c", "--config", type=Path, required=True, help="a JSON file with the settings")
    config = json.loads(parser.parse_args().config.read_text())
    try:
        with duckdb_connect(config) as connection:
            Loader(connection, config, _write_state).load(sys.stdin.buffer)
    except LoadError as error:
        sys.exit(str(error))
    except duckdb.Error as error:
        sys.exit(f"Cannot write to {config['filepath']}: {describe(error)}")
    except OSError as error:
        sys.exit(f"{error.filename or 'Cannot write'}: {error.strerror}")


def _write_state(state: Any) -> None:
    sys.stdout.write(f"{json.dumps(state)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
