"""The stream of the patients: all of them at first, then those that changed, and tombstones of deleted ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

from singer_sdk import Stream, Tap
from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.helpers.types import Context
from singer_sdk.singerlib import MetadataMapping
from singer_sdk.singerlib.catalog import Metadata

from tap_toubib.batch_files import BatchFolder, BatchWriter, leaves_unmapped
from tap_toubib.client import ToubibClient
from tap_toubib.columns import DELETED_AT, PRIMARY_KEY, UPDATED_AT
from tap_toubib.discovery import Capabilities
from tap_toubib.extraction import Extraction
from tap_toubib.plan import Plan
from tap_toubib.records import Page, Record
from tap_toubib.streams.rejected_records import RejectedRecordsStream

CHARACTERS_A_RECORD = 100
"""A state stands behind so many records that it adds no more characters than this to each of them."""


class PatientsStream(Stream):
    """The patients: all of them at first, then those that changed since the bookmark, and tombstones."""

    name = "patients"
    primary_keys = (PRIMARY_KEY,)
    STATE_MSG_FREQUENCY = 100
    # the records are checked and converted when they are decoded
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE

    def __init__(
        self,
        tap: Tap,
        *,
        client: ToubibClient,
        api: Capabilities,
        rejected: RejectedRecordsStream,
        folder: BatchFolder,
    ) -> None:
        """Make the stream; nothing is read yet.

        Args:
            tap: The tap it belongs to.
            client: The connection.
            api: What the API offers.
            rejected: Where rejected records go.
            folder: Where files of records go, if they leave in files.
        """
        tombstone = {DELETED_AT: {"type": ["string", "null"], "format": "date-time"}}
        super().__init__(tap, schema={**api.schema, "properties": api.schema["properties"] | tombstone})
        self._client = client
        self._api = api
        self._rejected = rejected
        self._folder = folder
        self._plan = Plan.of(api)
        self.replication_key = UPDATED_AT if self._plan.changes else None

    @property
    def metadata(self) -> MetadataMapping:
        """The catalog's metadata: without its deletion, a tombstone would pass for a patient."""
        metadata = super().metadata
        metadata["properties", DELETED_AT] = Metadata(inclusion=Metadata.InclusionType.AUTOMATIC)
        return metadata

    @cached_property
    def extraction(self) -> Extraction:
        """This run; it begins when it is first asked for."""
        return Extraction(
            self._client,
            self._api,
            self._plan,
            config=self.config,
            state=self.stream_state,
            columns=[name for name in self._columns if name != DELETED_AT],
            reject=self._rejected.write,
            logger=self.logger,
        )

    @cached_property
    def _columns(self) -> list[str]:
        """The columns that are emitted: those selected, if the catalog knows them."""
        known = self.effective_schema["properties"]
        return [name for name in self.schema["properties"] if name in known and self.mask["properties", name]]

    def get_replication_key_signpost(self, context: Context | None = None) -> datetime | None:
        """Return the bookmark that the run will leave.

        The SDK asks for it before anything is emitted, so that an API that cannot be read leaves the destination
        untouched.
        """
        return self.extraction.high_water

    def _select(self, page: Page) -> list[Record]:
        """Return the records of a page as they are emitted; its own stay whole, to be compared with the next page's."""
        if len(self._columns) == len(self.schema["properties"]):
            return [{**record} for record in page.records]
        return [{name: record[name] for name in self._columns if name in record} for record in page.records]

    def get_records(self, context: Context | None) -> Iterator[Record]:
        """Yield what the destination lacks, then leave the bookmark for the next run."""
        for read in (self.extraction.read, self.extraction.reconcile):
            for page in read():
                yield from self._select(page)
        self.extraction.finish()

    def get_batch_config(self, config: Mapping[str, Any]) -> BatchConfig | None:
        """Return None where records have to leave one by one: nothing else was set, or a stream map changes them.

        So do those of a connection test, which the SDK ends after one.
        """
        is_test = self.ABORT_AT_RECORD_COUNT is not None
        return self._folder.config if leaves_unmapped(self) and not is_test else None

    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        """Yield files of what the destination lacks, then leave the bookmark for the next run."""
        with (
            self.get_record_counter() as counter,
            self.get_sync_timer(),
            BatchWriter(self._folder, self.name) as writer,
        ):
            for read in (self.extraction.read, self.extraction.reconcile):
                for page in read():
                    # not before the next page was asked for: the checkpoint moves on only then
                    if writer.is_due:
                        yield batch_config.encoding, writer.take_files()
                        writer.least_records = self.extraction.known.text_length // CHARACTERS_A_RECORD
                    records = self._select(page)
                    writer.write(records, page.read_at)
                    self.extraction.note_written(records)
                    counter.increment(len(records))
                if manifest := writer.take_files():
                    yield batch_config.encoding, manifest
        self.extraction.finish()

    def _increment_stream_state(self, latest_record: Record, *, context: Context | None = None) -> None:
        """Account for the record; the bookmark stays: newest first only the end of the run makes it safe to move on."""
        self.extraction.note_written([latest_record])

    def _write_state_message(self) -> None:
        """Write the state of exactly those patients that were written before it."""
        self._rejected.hand_over()
        self.extraction.save(self.stream_state)
        least_records = self.extraction.known.text_length // CHARACTERS_A_RECORD
        self.STATE_MSG_FREQUENCY = max(type(self).STATE_MSG_FREQUENCY, least_records)
        super()._write_state_message()
