"""The files of JSON Lines that BATCH messages name.

They hold patients: only their owner can read them. Whoever loads a file removes it; what a run that was killed left
behind is removed when the next one begins to write.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import msgspec
from singer_sdk.exceptions import ConfigurationError
from singer_sdk.helpers._batch import BatchConfig

from tap_toubib.records import Record

NAME = "tap-toubib-"
"""What the names of the files begin with, after the prefix that the storage may ask for."""

EXTRACTED_AT = "_sdc_extracted_at"
"""The column that says when a record was read: a BATCH message cannot."""

FIRST_FILE_RECORDS = 1_000
"""Records in the first file. Later ones grow with what the run has written: a kill costs a part of that, not all."""

LONGEST_WAIT = 3
"""Seconds after which a file that is not full is handed over, too."""


class BatchFolder:
    """The folder of the files.

    Args:
        raw_config: What the setting says; None if it is not set.

    Attributes:
        config: The setting; None if records leave one by one.
        batch_size: How many records a file holds at most.
    """

    def __init__(self, raw_config: Mapping[str, Any] | None) -> None:
        self.config = BatchConfig.from_dict(dict(raw_config)) if raw_config else None
        if not self.config:
            return
        encoding, storage = self.config.encoding, self.config.storage
        url = urlsplit(storage.root)
        if url.scheme not in {"", "file"} or url.netloc not in {"", "localhost"} or not url.path.startswith("/"):
            raise ConfigurationError("batch_config: storage.root is not a folder of this machine, such as file:///data")
        if encoding.format != "jsonl":
            raise ConfigurationError("batch_config: files of another format than jsonl are not written")
        self._root = Path(unquote(url.path) if url.scheme else storage.root)
        self._begin = (storage.prefix or "") + NAME
        self._run = uuid4().hex
        self._is_compressed = encoding.compression == "gzip"
        self.batch_size = self.config.batch_size

    @cached_property
    def _path(self) -> Path:
        """The folder: made if it is missing, without what earlier runs left."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self._root.iterdir():
            if leftover.name.startswith(self._begin):
                leftover.unlink(missing_ok=True)
        return self._root

    def open_file(self, stream: str, number: int) -> tuple[Path, BinaryIO | gzip.GzipFile]:
        """Return a new file of a stream and its path."""
        path = self._path / f"{self._begin}{stream}-{self._run}-{number:06}.jsonl"
        if self._is_compressed:
            path = path.with_name(f"{path.name}.gz")
            # fast rather than small
            return path, gzip.open(path, "xb", 1)
        return path, path.open("xb")


class BatchWriter:
    """Writes the records of one stream to files, one after the other.

    Attributes:
        least_records: How many records a file holds at least, unless it takes too long to come by them.
    """

    def __init__(self, folder: BatchFolder, stream: str) -> None:
        self._folder = folder
        self._stream = stream
        self._encoder = msgspec.json.Encoder()
        self._file: BinaryIO | gzip.GzipFile | None = None
        self._path = Path()
        self._opened_at = 0.0
        self._number = self._written = self._records = 0
        self.least_records = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # a file that was not handed over
        if self._file:
            with suppress(OSError):
                self._file.close()
            self._path.unlink(missing_ok=True)

    @property
    def is_due(self) -> bool:
        """Whether the file is to be handed over."""
        size = max(min(self._folder.batch_size, max(FIRST_FILE_RECORDS, self._written // 4)), self.least_records)
        is_late = self._file is not None and time.monotonic() - self._opened_at >= LONGEST_WAIT
        return self._records >= size or is_late

    def write(self, records: Sequence[Record], read_at: str) -> None:
        """Write records that were read at an instant."""
        if not records:
            return
        lines = self._encoder.encode_lines([{**record, EXTRACTED_AT: read_at} for record in records])
        if not self._file:
            self._number += 1
            self._path, self._file = self._folder.open_file(self._stream, self._number)
            self._opened_at = time.monotonic()
        self._file.write(lines)
        self._records += len(records)

    def take_files(self) -> list[str]:
        """Close the file and return its URL, in a list; nothing if nothing was written."""
        if not self._file:
            return []
        self._file.close()
        self._file = None
        self._written += self._records
        self._records = 0
        return [self._path.as_uri()]
