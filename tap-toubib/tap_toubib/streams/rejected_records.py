"""The stream of the records that cannot be loaded."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from singer_sdk import Stream
from singer_sdk import typing as th

from tap_toubib.discovery import INT64

if TYPE_CHECKING:
    from collections.abc import Iterable

    from singer_sdk import Tap
    from singer_sdk.helpers.types import Context

    from tap_toubib.records import Record, Rejected

TEXT_PART_LENGTH = 400_000
"""Characters in a row, at most: as JSON they are up to twice as long, and Meltano passes on lines of up to 1 MiB."""


class RejectedRecordsStream(Stream):
    """Records that cannot be loaded."""

    name = "rejected_records"
    schema = th.PropertiesList(
        th.Property("id", th.StringType, description="The patient's id, if it has one."),
        th.Property("field", th.StringType, description="The column at fault, if one can be named."),
        th.Property("reason", th.StringType, description="What is wrong with it."),
        th.Property(
            "part",
            th.IntegerType(**INT64),
            description="1, or the position of this part of a record too long for one row.",
        ),
        th.Property("record", th.StringType, description="The record as JSON text, or a part of that."),
    ).to_dict()

    def __init__(self, tap: Tap) -> None:
        """Prepare the stream."""
        super().__init__(tap)
        self._announced = False

    def write(self, rejected: Rejected) -> None:
        """Emit a record at the moment it is met, so that no state message can pass it by."""
        if not self.selected:
            return
        if not self._announced:
            self._write_schema_message()
            self._announced = True
        for part, start in enumerate(range(0, len(rejected.record), TEXT_PART_LENGTH), start=1):
            text = rejected.record[start : start + TEXT_PART_LENGTH]
            self._write_record_message({**asdict(rejected), "part": part, "record": text})

    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Return nothing: what there is was written when it was met."""
        return ()
