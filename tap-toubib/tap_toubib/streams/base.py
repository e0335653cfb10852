"""What the streams of patients and of rejected records have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from singer_sdk import Stream, Tap
from singer_sdk.helpers._batch import BatchConfig
from singer_sdk.mapper import SameRecordTransform

from tap_toubib.batch_files import BatchFolder
from tap_toubib.columns import JSONSchema


class FileStream(Stream):
    """A stream whose records leave in files, if that was asked for."""

    def __init__(self, tap: Tap, folder: BatchFolder, schema: JSONSchema | None = None) -> None:
        super().__init__(tap, schema=schema)
        self._folder = folder

    def get_batch_config(self, config: Mapping[str, Any]) -> BatchConfig | None:
        """Return the setting, if there is one, but None where records have to leave one by one.

        Those that a stream map changes have to, for files are written without regard to maps, and so do those of a
        connection test, which the SDK ends after the first.
        """
        maps = [(type(each), each.stream_alias) for each in self.stream_maps]
        is_unmapped = maps == [(SameRecordTransform, self.name)]
        is_test = self.ABORT_AT_RECORD_COUNT is not None
        return self._folder.config if is_unmapped and not is_test else None
