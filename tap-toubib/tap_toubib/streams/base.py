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
    """A stream that leaves in files if `batch_config` is set."""

    def __init__(self, tap: Tap, folder: BatchFolder | None, schema: JSONSchema | None = None) -> None:
        super().__init__(tap, schema=schema)
        self._folder = folder

    @property
    def metadata(self) -> MetadataMapping:
        """The catalog's metadata. `_sdc_` columns cannot be deselected, since loading depends on them."""
        metadata = super().metadata
        for name in self.schema["properties"]:
            if name.startswith("_sdc_"):
                metadata["properties", name] = Metadata(inclusion=Metadata.InclusionType.AUTOMATIC)
        return metadata

    def get_batch_config(self, config: Mapping[str, Any]) -> BatchFolder | None:
        """Return the folder; None in a connection test, and where a stream map changes records, not files."""
        maps = [(type(each), each.stream_alias) for each in self.stream_maps]
        is_unmapped = maps == [(SameRecordTransform, self.name)]
        return self._folder if is_unmapped and self.ABORT_AT_RECORD_COUNT is None else None
