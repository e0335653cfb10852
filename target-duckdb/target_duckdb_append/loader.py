"""Loads the messages of a tap, in their order."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any
from urllib.parse import unquote

import duckdb
from target_duckdb import DEFAULT_BATCH_SIZE_ROWS

from target_duckdb_append.errors import LoadError
from target_duckdb_append.table import Table

Message = dict[str, Any]

COMPRESSIONS = {None: "uncompressed", "none": "uncompressed", "gzip": "gzip"}
"""What Singer's BATCH messages call a compression, and what DuckDB does."""


class Loader:
    """Appends what messages bring to the tables of their streams, and passes a state on when that is committed.

    Args:
        config: The target's settings.
        pass_on: Takes a state when everything before it is in the database.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, config: Mapping[str, Any], pass_on: Callable[[Any], None]
    ) -> None:
        connection.execute("set TimeZone = 'UTC'")
        [catalog] = connection.execute("select current_catalog()").fetchone() or ()
        self._connection = connection
        # the registry's target would take it from the file's name, by other rules than DuckDB's
        self._config = {**config, "database": catalog}
        self._pass_on = pass_on
        self._tables: dict[str, Table] = {}
        self._files: dict[str, IO[bytes]] = {}
        self._collected: Counter[str] = Counter()
        self._state: Any = None
        self._actions: dict[str, Callable[[Message], None]] = {
            "SCHEMA": self._prepare_table,
            "RECORD": self._collect_record,
            "BATCH": self._append_batch,
            "STATE": self._keep_state,
            "ACTIVATE_VERSION": lambda _: None,
        }

    def load(self, lines: Iterable[bytes]) -> None:
        """Load messages until they end.

        Args:
            lines: Singer messages. Those of type RECORD are collected into a file for each stream.

        Raises:
            LoadError: A message cannot be loaded. What was committed before it stays.
            OSError: The disk is full, for instance.
        """
        with ExitStack() as self._open_files:
            for number, line in enumerate(lines, start=1):
                try:
                    message = json.loads(line)
                    act = self._actions[message["type"]]
                except (ValueError, LookupError, TypeError) as error:
                    raise LoadError(f"Line {number} of the tap's output is not a Singer message") from error
                act(message)
            self._commit()

    def _prepare_table(self, message: Message) -> None:
        self._commit()
        self._tables[message["stream"]] = Table(self._connection, self._config, message)

    def _collect_record(self, message: Message) -> None:
        stream = self._get_table(message).stream
        record = message["record"]
        if self._config.get("add_metadata_columns"):
            record["_sdc_extracted_at"] = message.get("time_extracted")
        if stream not in self._files:
            file = NamedTemporaryFile(dir=self._config.get("temp_dir"), suffix=".jsonl")  # noqa: SIM115 (closed in `load`)
            self._files[stream] = self._open_files.enter_context(file)
        self._files[stream].write(json.dumps(record).encode() + b"\n")
        self._collected[stream] += 1
        if self._collected.total() >= self._config.get("batch_size_rows", DEFAULT_BATCH_SIZE_ROWS):
            self._commit()

    def _append_batch(self, message: Message) -> None:
        table = self._get_table(message)
        encoding = message["encoding"]
        compression = COMPRESSIONS.get(encoding.get("compression"))
        if encoding["format"] != "jsonl" or compression is None:
            raise LoadError(
                f"Cannot load batches of {table.stream} in the encoding {encoding}: set the tap's "
                "batch_config.encoding to the format jsonl, with the compression none or gzip"
            )
        files = [_to_path(address) for address in message["manifest"]]
        table.append(*files, compression=compression)
        for file in files:
            file.unlink()

    def _keep_state(self, message: Message) -> None:
        self._state = message["value"]
        if not self._collected:
            self._commit()

    def _commit(self) -> None:
        """Append what was collected; then everything before the last state is in the database."""
        for stream in self._collected:
            file = self._files[stream]
            file.flush()
            self._tables[stream].append(Path(file.name))
            file.seek(0)
            file.truncate()
        self._collected.clear()
        if self._state is not None:
            self._pass_on(self._state)
            self._state = None

    def _get_table(self, message: Message) -> Table:
        stream = message["stream"]
        if stream not in self._tables:
            raise LoadError(f"The tap sent data of {stream} before its schema")
        return self._tables[stream]


def _to_path(address: str) -> Path:
    """Return the local file that a URL names."""
    if not address.startswith("file:///"):
        raise LoadError(
            "Cannot load a batch that is not a local file: set the tap's batch_config.storage.root to file:///..."
        )
    return Path(unquote(address.removeprefix("file://")))
