"""The stream of the patients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import cast

from singer_sdk import Tap
from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.helpers.types import Context

from tap_toubib.batch_files import BatchFolder, BatchWriter
from tap_toubib.client import ToubibClient
from tap_toubib.columns import DELETED_AT, PRIMARY_KEY, SYNC_STARTED_AT, UPDATED_AT
from tap_toubib.discovery import Capabilities
from tap_toubib.extraction import Extraction
from tap_toubib.plan import make_plan
from tap_toubib.records import Page, Record
from tap_toubib.state import read_state
from tap_toubib.streams.base import FileStream
from tap_toubib.streams.rejected_records import RejectedRecordsStream

INSTANT = {"type": ["string", "null"], "format": "date-time"}


class PatientsStream(FileStream):
    """All patients at first, then changes since the bookmark, and tombstones of deleted patients."""

    name = "patients"
    primary_keys = (PRIMARY_KEY,)
    STATE_MSG_FREQUENCY = 1_000
    # the records are checked and converted when they are decoded
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE

    def __init__(
        self,
        tap: Tap,
        folder: BatchFolder | None,
        client: ToubibClient,
        api: Capabilities,
        rejected: RejectedRecordsStream,
    ) -> None:
        properties = api.schema["properties"] | {DELETED_AT: INSTANT, SYNC_STARTED_AT: INSTANT}
        super().__init__(tap, folder, {**api.schema, "properties": properties})
        self._client = client
        self._api = api
        self._rejected = rejected
        self._plan = make_plan(api)
        self.replication_key = UPDATED_AT if self._plan.changes else None

    @cached_property
    def extraction(self) -> Extraction:
        """The current run."""
        return Extraction(
            self._client,
            self._api,
            self._plan,
            config=self.config,
            state=read_state(self.tap_state),
            columns=self._columns,
            logger=self.logger,
        )

    @cached_property
    def _columns(self) -> list[str]:
        """The selected columns that the catalog knows."""
        known = self.effective_schema["properties"]
        return [name for name in self.schema["properties"] if name in known and self.mask["properties", name]]

    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Return nothing: the bookmark does not depend on the emitted records."""

    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Return the records that the destination lacks; in a connection test, one of them."""
        return islice(self._read_records(), self.ABORT_AT_RECORD_COUNT)

    def _read_records(self) -> Iterator[Record]:
        for page in self.extraction.read():
            self._rejected.write(page, self.extraction.audit["started_at"])
            yield from self._select(page)
            self._keep_state()
        self._keep_state()

    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        """Yield files of the records that the destination lacks."""
        folder = cast("BatchFolder", batch_config)
        with self.get_record_counter() as counter, self.get_sync_timer(), BatchWriter(folder, self.name) as writer:
            for page in self.extraction.read():
                self._rejected.write(page, self.extraction.audit["started_at"])
                records = self._select(page)
                writer.write(records, page.read_at)
                counter.increment(len(records))
                if writer.is_due:
                    yield folder.encoding, writer.take_files()
                    self._keep_state()
                    self._tap.state_writer.write_state(self.tap_state)
            if files := writer.take_files():
                yield folder.encoding, files
        self._keep_state()

    def _select(self, page: Page) -> list[Record]:
        """Return copies of a page's records as they are emitted; the page itself is compared with the next one."""
        run = {SYNC_STARTED_AT: self.extraction.audit["started_at"]}
        if len(self._columns) == len(self.schema["properties"]):
            return [record | run for record in page.records]
        return [{name: record[name] for name in self._columns if name in record} | run for record in page.records]

    def _keep_state(self) -> None:
        """Make later state messages cover the records written so far."""
        if self.extraction.state:
            # in one assignment: on a signal, the SDK writes the state at any moment
            self.tap_state.setdefault("bookmarks", {})[self.name] = self.extraction.state

    def _increment_stream_state(self, latest_record: Record, *, context: Context | None = None) -> None:
        """Leave the bookmark alone: changes come newest first, so only the end of a run can move it."""
