"""The stream of the audit records, one a run: what was done, and from which bookmark to which."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from singer_sdk import Stream
from singer_sdk import typing as th

from tap_toubib.discovery import INT64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from singer_sdk import Tap
    from singer_sdk.helpers.types import Context

    from tap_toubib.records import Record
    from tap_toubib.streams.patients import PatientsStream

COUNT = th.IntegerType(**INT64)


@dataclass
class Sync:
    """The audit of one run, as the schema of the stream describes it; instants are text in UTC."""

    started_at: str
    bookmark_before: str | None
    columns: str
    kind: str | None = None
    total_items_before: int = 0
    total_items_after: int = 0
    records: int = 0
    rejected: int = 0
    deleted: int = 0
    repaired: int = 0
    requests: int = 0
    bookmark_after: str | None = None
    ended_at: str | None = None


class SyncsStream(Stream):
    """One record a run: what was done, and from which bookmark to which."""

    name = "syncs"
    schema = th.PropertiesList(
        th.Property("started_at", th.DateTimeType, description="When the first request was sent."),
        th.Property("ended_at", th.DateTimeType, description="When the last record was read."),
        th.Property("kind", th.StringType, description="first_load, changes, or full: everything once more."),
        th.Property("columns", th.StringType, description="The columns that the source had, joined by commas."),
        th.Property("total_items_before", COUNT, description="Patients in the source at the first request."),
        th.Property("total_items_after", COUNT, description="Patients in the source at the last request."),
        th.Property("records", COUNT, description="Patients emitted, repetitions included."),
        th.Property("rejected", COUNT, description="Records that could not be loaded."),
        th.Property("deleted", COUNT, description="Patients found to be gone."),
        th.Property("repaired", COUNT, description="Patients found to have been missed before."),
        th.Property("requests", COUNT, description="Pages asked for, failed attempts included."),
        th.Property("bookmark_before", th.DateTimeType, description="The bookmark that the run found."),
        th.Property("bookmark_after", th.DateTimeType, description="The bookmark that the run left."),
    ).to_dict()

    def __init__(self, tap: Tap, *, patients: PatientsStream) -> None:
        """Prepare the stream.

        Args:
            tap: The tap it belongs to.
            patients: The stream whose runs are recorded.
        """
        super().__init__(tap)
        self._patients = patients

    def get_records(self, context: Context | None) -> Iterator[Record]:
        """Yield the audit record of this run, if patients were read in it."""
        if self._patients.selected:
            yield asdict(self._patients.audit)
