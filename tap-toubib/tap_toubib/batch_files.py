"""The files of JSON Lines that BATCH messages name.

They hold patients: only their owner can read them. Whoever loads a file removes it; what a run that was killed left
behind is removed when the next one begins to write.
"""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import msgspec
from singer_sdk import Stream
from singer_sdk.exceptions import ConfigurationError, SingerSDKError
from singer_sdk.helpers._batch import BatchConfig
from singer_sdk.mapper import SameRecordTransform

from tap_toubib.records import Record

NAME = "tap-toubib-"
"""What the names of the files begin with, after the prefix that the storage may ask for."""

EXTRACTED_AT = "_sdc_extracted_at"
"""The column that says when a record was read: a BATCH message cannot."""

FIRST_FILE_RECORDS = 1_000
"""Records in the first file. Later ones grow with what the run has written: a kill costs a part of that, not all."""

LONGEST_WAIT = 3
"""Seconds after which a file that is not full is handed over, too."""


class BatchFileError(SingerSDKError):
    """A file could not be written."""


class BatchFolder:
    """The folder of the files.

    Attributes:
        config: The setting; None if records leave one by one.
        batch_size: How many records a file holds at most.
    """

    def __init__(self, raw_config: Mapping[str, Any] | None) -> None:
        """Touch nothing yet.

        Args:
            raw_config: What the setting says; None if it is not set.

        Raises:
            ConfigurationError: Files of this kind, or in this place, cannot be written.
        """
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
    def path(self) -> Path:
        """The folder: made if it is missing, without what earlier runs left.

        Raises:
            BatchFileError: It cannot be made or read.
        """
        with _told_as_error(self._root):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for leftover in self._root.iterdir():
                if leftover.name.startswith(self._begin):
                    leftover.unlink(missing_ok=True)
        return self._root

    def open_file(self, stream: str, number: int) -> tuple[Path, BinaryFile]:
        """Return a new file of a stream and its path."""
        suffix = ".jsonl.gz" if self._is_compressed else ".jsonl"
        path = self.path / f"{self._begin}{stream}-{self._run}-{number:06}{suffix}"
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        return path, CompressedFile(file) if self._is_compressed else file


class CompressedFile(gzip.GzipFile):
    """A file that is compressed on the way, and closed with the one below it."""

    def __init__(self, file: BinaryIO) -> None:
        """Compress into a file, fast rather than small."""
        super().__init__(fileobj=file, mode="wb", compresslevel=1, filename="", mtime=0)
        self._file = file

    def close(self) -> None:
        """Close both."""
        try:
            super().close()
        finally:
            self._file.close()


BinaryFile = BinaryIO | CompressedFile


class BatchWriter:
    """Writes the records of one stream to files, one after the other.

    Attributes:
        least_records: How many records a file holds at least, unless it takes too long to come by them.
    """

    def __init__(self, folder: BatchFolder, stream: str) -> None:
        """Write nothing yet."""
        self._folder = folder
        self._stream = stream
        self._encoder = msgspec.json.Encoder()
        self._file: BinaryFile | None = None
        self._path = Path()
        self._opened_at = 0.0
        self._number = self._written = self._records = 0
        self.least_records = 0

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove a file that was not handed over."""
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
        """Write records that were read at an instant.

        Raises:
            BatchFileError: The file cannot be written.
        """
        if not records:
            return
        lines = self._encoder.encode_lines([{**record, EXTRACTED_AT: read_at} for record in records])
        with _told_as_error(self._folder.path):
            if not self._file:
                self._number += 1
                self._path, self._file = self._folder.open_file(self._stream, self._number)
                self._opened_at = time.monotonic()
            self._file.write(lines)
        self._records += len(records)

    def take_files(self) -> list[str]:
        """Close the file and return its URL, in a list; nothing if nothing was written.

        Raises:
            BatchFileError: The file cannot be written.
        """
        if not self._file:
            return []
        with _told_as_error(self._folder.path):
            self._file.close()
        self._file = None
        self._written += self._records
        self._records = 0
        return [self._path.as_uri()]


@contextmanager
def _told_as_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BatchFileError(f"Cannot write a batch file in {path}: {error.strerror}") from error


def leaves_unmapped(stream: Stream) -> bool:
    """Tell whether no stream map changes a stream: files are written without regard to maps."""
    return [(type(each), each.stream_alias) for each in stream.stream_maps] == [(SameRecordTransform, stream.name)]
