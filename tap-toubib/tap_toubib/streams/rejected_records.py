"""The stream of the records that cannot be loaded."""

from __future__ import annotations

from collections.abc import Iterable

from singer_sdk import typing as th
from singer_sdk.helpers.types import Context

from tap_toubib.batch_files import BatchWriter
from tap_toubib.columns import SYNC_STARTED_AT
from tap_toubib.records import Page, Record
from tap_toubib.streams.base import FileStream


class RejectedRecordsStream(FileStream):
    """Records that cannot be loaded."""

    name = "rejected_records"
    schema = th.PropertiesList(
        th.Property("id", th.StringType, description="The patient's id, if it has one."),
        th.Property(
            "field", th.StringType, description="The field at fault, as the API calls it, if one can be named."
        ),
        th.Property("reason", th.StringType, description="What is wrong with it."),
        th.Property("record", th.StringType, description="The record as JSON text."),
        th.Property(SYNC_STARTED_AT, th.DateTimeType, description="The run: its `started_at` in `syncs`."),
    ).to_dict()
    _is_announced = False

    def write(self, page: Page, sync_started_at: str) -> None:
        """Emit the rejected records of a page, before any state that covers the page."""
        if not self.selected or not page.rejected:
            return
        if not self._is_announced:
            self._write_schema_message()
            self._is_announced = True
        names = ("id", "field", "reason", "record")
        run = {SYNC_STARTED_AT: sync_started_at}
        records = [{name: getattr(each, name) for name in names} | run for each in page.rejected]
        if folder := self.get_batch_config(self.config):
            with BatchWriter(folder, self.name) as writer:
                writer.write(records, page.read_at)
                self._write_batch_message(folder.encoding, writer.take_files())
        else:
            for record in records:
                self._write_record_message(record)

    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Return nothing: the patients' run has written all of them."""
        return ()
