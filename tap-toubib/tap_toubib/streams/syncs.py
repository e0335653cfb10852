"""The stream of the audit records, one a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from singer_sdk import Stream, Tap
from singer_sdk import typing as th
from singer_sdk.helpers.types import Context
from singer_sdk.singerlib import MetadataMapping
from singer_sdk.singerlib.catalog import Metadata

from tap_toubib.columns import INT64
from tap_toubib.records import Record
from tap_toubib.streams.patients import PatientsStream

COUNT = th.IntegerType(**INT64)


class SyncsStream(Stream):
    """One audit record for each run."""

    name = "syncs"
    schema = th.PropertiesList(
        th.Property("started_at", th.DateTimeType, description="When the first request was sent."),
        th.Property("ended_at", th.DateTimeType, description="When the last record was read."),
        th.Property("kind", th.StringType, description="first_load, changes, or full (everything once more)."),
        th.Property("api_url", th.StringType, description="The base URL of the source, without credentials."),
        th.Property("is_bundled_api", th.BooleanType, description="Whether the source is the bundled API."),
        th.Property("total_items_before", COUNT, description="Patients in the source at the first request."),
        th.Property("total_items_after", COUNT, description="Patients in the source at the last request."),
        th.Property("records", COUNT, description="Records of patients that were emitted, tombstones included."),
        th.Property("rejected", COUNT, description="Records that could not be loaded."),
        th.Property("deleted", COUNT, description="Patients found to be deleted from the source."),
        th.Property("requests", COUNT, description="Pages asked for, failed attempts included."),
        th.Property("bookmark_before", th.DateTimeType, description="The bookmark that the run found."),
        th.Property("bookmark_after", th.DateTimeType, description="The bookmark that the run left."),
    ).to_dict()

    def __init__(self, tap: Tap, patients: PatientsStream) -> None:
        super().__init__(tap)
        self._patients = patients

    @property
    def metadata(self) -> MetadataMapping:
        """The catalog's metadata. No column can be deselected, since the history depends on them."""
        metadata = super().metadata
        metadata.root.inclusion = Metadata.InclusionType.AUTOMATIC if self._patients.selected else None
        metadata.root.selected = self._patients.selected
        for name in self.schema["properties"]:
            metadata["properties", name] = Metadata(inclusion=Metadata.InclusionType.AUTOMATIC)
        return metadata

    def get_batch_config(self, config: Mapping[str, Any]) -> None:
        """Return None: one record needs no file."""

    def get_records(self, context: Context | None) -> Iterator[Record]:
        """Yield the audit record of this run."""
        yield self._patients.extraction.audit
