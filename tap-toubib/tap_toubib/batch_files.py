"""The JSON Lines files that BATCH messages name.

They hold patients, so only their owner can read them. The loader removes each file; a run removes a killed run's files.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import msgspec
from singer_sdk.exceptions import ConfigurationError
from singer_sdk.helpers._batch import BatchConfig

from tap_toubib.columns import EXTRACTED_AT
from tap_toubib.records import Record

NAME = "tap-toubib-"
"""The start of each file's name, after the optional prefix."""

FIRST_FILE_RECORDS = 1_000
"""Records in the first file. Later ones grow with the run, so that a killed run loses only a part of its work."""

LONGEST_WAIT = 3
"""Seconds after which an incomplete file is handed over."""


class BatchFolder(BatchConfig):
    """The setting `batch_config`, and the folder that it names."""

    def __post_init__(self) -> None:
        """Check the setting."""
        super().__post_init__()
        url = urlsplit(self.storage.root)
        is_here = url.scheme in {"", "file"} and url.netloc in {"", "localhost"} and url.path.startswith("/")
        if not is_here or self.encoding.format != "jsonl" or self.encoding.compression not in {None, "none"}:
            raise ConfigurationError(
                "batch_config: files are only written to a folder of this machine, as JSON Lines without compression: "
                "set storage.root to file:///..., encoding.format to jsonl, encoding.compression to none"
            )
        self._root = Path(unquote(url.path) if url.scheme else self.storage.root)
        self._name = (self.storage.prefix or "") + NAME

    @cached_property
    def _path(self) -> Path:
        """The folder, created if it is missing, without the files of earlier runs."""
        self._root.mkdir(parents=True, exist_ok=True)
        for leftover in self._root.iterdir():
            if leftover.name.startswith(self._name):
                leftover.unlink(missing_ok=True)
        return self._root

    def make_path(self, stream: str) -> Path:
        """Return the path of a new file of a stream."""
        return self._path / f"{self._name}{stream}-{uuid4().hex}.jsonl"


class BatchWriter:
    """Writes the records of one stream to files, one after the other."""

    def __init__(self, folder: BatchFolder, stream: str) -> None:
        self._folder = folder
        self._stream = stream
        self._encoder = msgspec.json.Encoder()
        self._file: BinaryIO | None = None
        self._path = Path()
        self._opened_at = 0.0
        self._written = self._records = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # the run failed before this file was handed over
        if self._file:
            with suppress(OSError):
                self._file.close()
            self._path.unlink(missing_ok=True)

    @property
    def is_due(self) -> bool:
        """Whether the file has to be handed over."""
        size = min(self._folder.batch_size, max(FIRST_FILE_RECORDS, self._written // 4))
        is_late = self._file is not None and time.monotonic() - self._opened_at >= LONGEST_WAIT
        return self._records >= size or is_late

    def write(self, records: Sequence[Record], read_at: str) -> None:
        """Write records, and add the instant at which they were read."""
        if not records:
            return
        for record in records:
            record[EXTRACTED_AT] = read_at
        lines = self._encoder.encode_lines(records)
        if not self._file:
            self._path = self._folder.make_path(self._stream)
            self._file = self._path.open("xb")
            self._opened_at = time.monotonic()
        self._file.write(lines)
        self._records += len(records)

    def take_files(self) -> list[str]:
        """Close the file and return its URL in a list; an empty list if nothing was written."""
        if not self._file:
            return []
        self._file.close()
        self._file = None
        self._written += self._records
        self._records = 0
        return [self._path.as_uri()]
