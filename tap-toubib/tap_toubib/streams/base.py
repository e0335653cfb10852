"""Base class of the streams of patients and of rejected records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from singer_sdk import Stream, Tap
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.singerlib import MetadataMapping
from singer_sdk.singerlib.catalog import Metadata

from tap_toubib.batch_files import BatchFolder
from tap_toubib.columns import JSONSchema


class FileStream(Stream):
    """A stream whose records leave in files if the setting `batch_config` asks for it."""

    def __init__(self, tap: Tap, folder: BatchFolder | None, schema: JSONSchema | None = None) -> None:
        super().__init__(tap, schema=schema)
        self._folder = folder

    @property
    def metadata(self) -> MetadataMapping:
        """The catalog's metadata, in which our own columns cannot be deselected: loading depends on them."""
        metadata = super().metadata
        for name in self.schema["properties"]:
            if name.startswith("_sdc_"):
                metadata["properties", name] = Metadata(inclusion=Metadata.InclusionType.AUTOMATIC)
        return metadata

    def get_batch_config(self, config: Mapping[str, Any]) -> BatchFolder | None:
        """Return the folder; None where records have to leave one by one.

        That is the case if a stream map changes them, since maps do not apply to files, and in a connection test, which
        ends after the first record.
        """
        maps = [(type(each), each.stream_alias) for each in self.stream_maps]
        is_unmapped = maps == [(SameRecordTransform, self.name)]
        is_test = self.ABORT_AT_RECORD_COUNT is not None
        return self._folder if is_unmapped and not is_test else None
