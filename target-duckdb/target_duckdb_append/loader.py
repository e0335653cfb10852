"""Load the messages of a tap in their order."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any
from urllib.parse import unquote

import duckdb

from target_duckdb_append.errors import LoadError
from target_duckdb_append.table import METADATA, Table, quote


class Loader:
    """Append the records of a tap to the tables of their streams.

    Args:
        config: The target's settings.
        pass_on: Called with a state, as JSON, when everything before it is committed.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, config: Mapping[str, Any], pass_on: Callable[[str], Any]
    ) -> None:
        self._connection = connection
        self._metadata = METADATA if config.get("add_metadata_columns") else {}
        self._batch_size = config["batch_size_rows"]
        self._temp_dir = config.get("temp_dir")
        self._pass_on = pass_on
        self._tables: dict[str, Table] = {}
        self._files: dict[str, IO[bytes]] = {}
        self._open_files = ExitStack()
        self._collected = 0
        self._state: Any = None
        schema = quote(config["default_target_schema"])
        connection.execute(f"create schema if not exists {schema}")
        connection.execute(f"use {schema}")

    def load(self, lines: Iterable[bytes]) -> None:
        """Load Singer messages, one a line.

        Raises:
            LoadError: A message cannot be loaded. Earlier commits stay.
            OSError: The disk is full, for instance.
        """
        with self._open_files:
            for number, line in enumerate(lines, start=1):
                try:
                    message = json.loads(line)
                except ValueError:
                    message = None
                self._handle(message, number)
            self._commit()

    def _handle(self, message: Any, number: int) -> None:
        match message:
            case {"type": "RECORD", "stream": str(stream), "record": dict(record)}:
                self._collect(stream, record, message.get("time_extracted"))
            case {"type": "BATCH", "stream": str(stream), "encoding": dict(encoding), "manifest": list(addresses)}:
                self._append_batch(stream, encoding, addresses)
            case {"type": "SCHEMA", "stream": str(stream), "schema": {"properties": dict(properties)}}:
                self._commit()
                self._tables[stream] = Table(self._connection, stream, properties | self._metadata)
            case {"type": "STATE", "value": state}:
                self._state = state
                if not self._collected:
                    self._commit()
            case {"type": "ACTIVATE_VERSION"}:
                pass
            case _:
                raise LoadError(f"Line {number} of the tap's output is not a complete Singer message")

    def _collect(self, stream: str, record: dict[str, Any], extracted_at: Any) -> None:
        self._get_table(stream)
        if self._metadata:
            record["_sdc_extracted_at"] = extracted_at
        if stream not in self._files:
            file = NamedTemporaryFile(dir=self._temp_dir, suffix=".jsonl")  # noqa: SIM115 (closed in `_commit`)
            self._files[stream] = self._open_files.enter_context(file)
        self._files[stream].write(json.dumps(record).encode() + b"\n")
        self._collected += 1
        if self._collected >= self._batch_size:
            self._commit()

    def _append_batch(self, stream: str, encoding: dict[str, Any], addresses: list[Any]) -> None:
        table = self._get_table(stream)
        if encoding.get("format") != "jsonl" or encoding.get("compression") not in (None, "none"):
            raise LoadError(
                f"Cannot load batches of {stream} in the encoding {encoding}: "
                "set the tap's batch_config.encoding to the format jsonl and the compression none"
            )
        files = [_to_path(str(address)) for address in addresses]
        table.append(*files)
        for file in files:
            file.unlink()

    def _commit(self) -> None:
        """Append the collected records, then pass on the last state."""
        for stream, file in self._files.items():
            file.flush()
            self._tables[stream].append(Path(file.name))
        self._open_files.close()
        self._files.clear()
        self._collected = 0
        if self._state is not None:
            self._pass_on(json.dumps(self._state))
            self._state = None

    def _get_table(self, stream: str) -> Table:
        if stream not in self._tables:
            raise LoadError(f"The tap sent data of {stream} before its schema")
        return self._tables[stream]


def _to_path(address: str) -> Path:
    if not address.startswith("file:///"):
        raise LoadError(
            "Cannot load a batch that is not a local file: set the tap's batch_config.storage.root to file:///..."
        )
    return Path(unquote(address.removeprefix("file://")))
