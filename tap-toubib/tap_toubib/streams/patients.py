"""The stream of the patients: all of them at first, then those that changed, and tombstones of deleted ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from singer_sdk import Tap
from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.helpers.types import Context
from singer_sdk.singerlib import MetadataMapping
from singer_sdk.singerlib.catalog import Metadata

from tap_toubib.batch_files import BatchFolder, BatchWriter
from tap_toubib.client import ToubibClient
from tap_toubib.columns import DELETED_AT, PRIMARY_KEY, UPDATED_AT
from tap_toubib.discovery import Capabilities
from tap_toubib.extraction import Extraction
from tap_toubib.plan import make_plan
from tap_toubib.records import Page, Record
from tap_toubib.streams.base import FileStream
from tap_toubib.streams.rejected_records import RejectedRecordsStream

CHARACTERS_A_RECORD = 100
"""A state stands behind so many records that it adds no more characters than this to each of them."""


class PatientsStream(FileStream):
    """The patients: all of them at first, then those that changed since the bookmark, and tombstones."""

    name = "patients"
    primary_keys = (PRIMARY_KEY,)
    STATE_MSG_FREQUENCY = 100
    # the records are checked and converted when they are decoded
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE

    def __init__(
        self, tap: Tap, folder: BatchFolder, client: ToubibClient, api: Capabilities, rejected: RejectedRecordsStream
    ) -> None:
        tombstone = {DELETED_AT: {"type": ["string", "null"], "format": "date-time"}}
        super().__init__(tap, folder, {**api.schema, "properties": api.schema["properties"] | tombstone})
        self._client = client
        self._api = api
        self._rejected = rejected
        self._plan = make_plan(api)
        self.replication_key = UPDATED_AT if self._plan.changes else None

    @property
    def metadata(self) -> MetadataMapping:
        """The catalog's metadata: without its deletion, a tombstone would pass for a patient."""
        metadata = super().metadata
        metadata["properties", DELETED_AT] = Metadata(inclusion=Metadata.InclusionType.AUTOMATIC)
        return metadata

    @cached_property
    def extraction(self) -> Extraction:
        """This run."""
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

    @property
    def _least_records(self) -> int:
        """How many records have to stand in front of a state as long as the last one."""
        return self.extraction.known.text_length // CHARACTERS_A_RECORD

    def get_replication_key_signpost(self, context: Context | None = None) -> str | None:
        """Open the run, and return the bookmark that it will leave.

        The SDK asks for it before anything is emitted: an API that cannot be read leaves the destination untouched.
        """
        self.extraction.open()
        return self.extraction.high_water

    def _select(self, page: Page) -> list[Record]:
        """Return the records of a page as they are emitted; its own stay whole, to be held against the next page's."""
        if len(self._columns) == len(self.schema["properties"]):
            return [{**record} for record in page.records]
        return [{name: record[name] for name in self._columns if name in record} for record in page.records]

    def get_records(self, context: Context | None) -> Iterator[Record]:
        """Yield what the destination lacks, then leave the bookmark for the next run."""
        for read in (self.extraction.read, self.extraction.reconcile):
            for page in read():
                yield from self._select(page)
        self.extraction.finish()

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
                        writer.least_records = self._least_records
                    records = self._select(page)
                    writer.write(records, page.read_at)
                    self.extraction.note_written(records)
                    counter.increment(len(records))
                if manifest := writer.take_files():
                    yield batch_config.encoding, manifest
        # the tap writes the last state of each stream, the one with the bookmark, when the stream has ended
        self.extraction.finish()

    def _increment_stream_state(self, latest_record: Record, *, context: Context | None = None) -> None:
        """Account for the record; the bookmark stays: newest first only the end of the run makes it safe to move on."""
        self.extraction.note_written([latest_record])

    def _write_state_message(self) -> None:
        """Write the state of exactly those patients that were written before it."""
        self._rejected.hand_over()
        self.extraction.save(self.stream_state)
        # how long a state is, is known only now: the next one stands as far behind it as that asks for
        self.STATE_MSG_FREQUENCY = max(type(self).STATE_MSG_FREQUENCY, self._least_records)
        super()._write_state_message()
