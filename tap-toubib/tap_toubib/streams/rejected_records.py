"""The stream of the records that cannot be loaded."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from singer_sdk import Tap
from singer_sdk import typing as th
from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
from singer_sdk.helpers.types import Context

from tap_toubib.batch_files import BatchFolder, BatchWriter
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
    ).to_dict()

    def __init__(self, tap: Tap, folder: BatchFolder) -> None:
        super().__init__(tap, folder)
        self._is_announced = False
        self._files: list[str] = []

    @cached_property
    def _batch_config(self) -> BatchConfig | None:
        return self.get_batch_config(self.config)

    @cached_property
    def _writer(self) -> BatchWriter | None:
        return BatchWriter(self._folder, self.name) if self._batch_config else None

    def write(self, page: Page) -> None:
        """Emit the rejected records of a page when they are met, so that no state message can pass them by."""
        if not self.selected:
            return
        if not self._is_announced:
            self._write_schema_message()
            self._is_announced = True
        names = self.schema["properties"]
        records = [{name: getattr(each, name) for name in names} for each in page.rejected]
        if self._writer:
            self._writer.write(records, page.read_at)
            self._files += self._writer.take_files()
            return
        for record in records:
            self._write_record_message(record)

    def hand_over(self) -> None:
        """Name the files that were written: to be called in front of each state."""
        if self._files and self._batch_config:
            self._write_batch_message(self._batch_config.encoding, self._files)
            self._files = []

    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        """Return nothing: what there is was written when it was met."""
        return ()

    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Return nothing: what there is was written when it was met."""
        return ()
