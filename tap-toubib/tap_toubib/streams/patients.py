"""The stream of the patients: all of them at first, then those who changed, and tombstones of those who are gone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pyroaring import BitMap64
from singer_sdk import Stream
from singer_sdk.exceptions import FatalAPIError
from singer_sdk.helpers.conform import TypeConformanceLevel

from tap_toubib.discovery import CREATED_AT, PRIMARY_KEY, UPDATED_AT
from tap_toubib.known_ids import LONGEST_TEXT, from_text, ids_of, to_text
from tap_toubib.overlap import End, Ties
from tap_toubib.pagination import Scanner
from tap_toubib.plan import Order, Plan
from tap_toubib.progress import Progress
from tap_toubib.reconciliation import RankComparison
from tap_toubib.records import Page, PageDecoder, to_utc
from tap_toubib.streams.syncs import Sync

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from singer_sdk import Tap
    from singer_sdk.helpers.types import Context

    from tap_toubib.client import ToubibClient
    from tap_toubib.discovery import Capabilities
    from tap_toubib.records import Record
    from tap_toubib.streams.rejected_records import RejectedRecordsStream

CHECKPOINT = "first_load"
"""The key in the stream's state under which a first load keeps its place."""

LIVING = "living"
"""The key under which the ids of the patients delivered are kept."""

DELETED_AT = "_sdc_deleted_at"
"""The column that makes a record a tombstone, by convention of Singer's targets."""


class PatientsStream(Stream):
    """The patients: all of them at first, then those that changed since the bookmark."""

    name = "patients"
    primary_keys = (PRIMARY_KEY,)
    STATE_MSG_FREQUENCY = 100
    # the records are checked and converted when they are decoded
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE

    def __init__(self, tap: Tap, *, client: ToubibClient, api: Capabilities, rejected: RejectedRecordsStream) -> None:
        """Prepare the stream.

        Args:
            tap: The tap it belongs to.
            client: The connection.
            api: What the API offers.
            rejected: Where records that cannot be loaded go.
        """
        tombstone = {DELETED_AT: {"type": ["string", "null"], "format": "date-time"}}
        super().__init__(tap, schema={**api.schema, "properties": api.schema["properties"] | tombstone})
        self._client = client
        self._columns = sorted(api.schema["properties"])
        self._confirms = api.has_single_patients
        self._rejected = rejected
        self._plan = Plan.of(api)
        page_size = min(self.config.get("page_size", api.page_size), api.page_size)
        self._scanner = Scanner(client, PageDecoder(api.schema), page_size, self.config["max_parallel_requests"])
        self.replication_key = UPDATED_AT if self._plan.changes else None
        self._living = BitMap64()
        self._keeps_living = False
        self._seen = BitMap64()

    @cached_property
    def audit(self) -> Sync:
        """The audit record of this run; it begins when it is first asked for."""
        bookmark = self.stream_state.get("replication_key_value")
        return Sync(started_at=to_utc(datetime.now(UTC)), bookmark_before=bookmark, columns=",".join(self._columns))

    @cached_property
    def _opening_pages(self) -> dict[Order, Page]:
        """The first page in each order that the run begins with."""
        if not self._plan.changes:
            return {self._plan.load: self._scanner.read_page(self._plan.load)}
        return {order: self._scanner.read_newest(order) for order in self._plan.changes}

    def get_replication_key_signpost(self, context: Context | None = None) -> datetime | None:
        """Return the newest change that the source shows as the run begins, never later than now.

        It is the bookmark that the run will leave. The SDK asks for it before anything is emitted, so that an API that
        cannot be read leaves the destination untouched.

        Raises:
            FatalAPIError: The service refused the request.
            RetriableAPIError: The service gave no usable answer, however often it was asked.
        """
        # what shows up between two of the pages must not lift the bookmark over what the first was too early for
        latest = datetime.fromisoformat(self.audit.started_at)
        self.audit.total_items_before = next(iter(self._opening_pages.values())).total_items
        changes = [
            datetime.fromisoformat(record[order.field])
            for order in self._plan.changes
            for record in self._opening_pages[order].records
            if record.get(order.field)
        ]
        # one in the future says nothing of where the source's clock stands, which may be behind this one
        return max((change for change in changes if change <= latest), default=latest) if changes else None

    def get_records(self, context: Context | None) -> Iterator[Record]:
        """Yield what the destination lacks, then leave the bookmark for the next run.

        Raises:
            FatalAPIError: The service refused a request.
            RetriableAPIError: The service gave no usable answer, however often it was asked.
        """
        high_water = self.get_replication_key_signpost(context)
        since = self._since()
        is_resumable = self._plan.changes and self._is_by_id and not self.config["full_refresh"]
        checkpoint = self.stream_state.get(CHECKPOINT) if is_resumable else None
        self._living = from_text(self.stream_state.get(LIVING))
        before = self._living.copy()
        # a state without them knows some of the patients only: no set can grow from changes
        self._keeps_living = self._is_comparable and (LIVING in self.stream_state or not since)
        if not self._keeps_living:
            self.stream_state.pop(LIVING, None)
        if since and not checkpoint:
            self.audit.kind = "changes"
            yield from self._changes(since, self._opening_pages)
        else:
            self.audit.kind = "first_load" if self._plan.changes and not self.audit.bookmark_before else "full"
            begun_at = datetime.fromisoformat(checkpoint["high_water"]) if checkpoint else high_water
            yield from self._everything(begun_at, checkpoint)
            if begun_at and self._plan.changes:
                # what changed meanwhile; also what was committed late, if the load began in an earlier run: the next
                # one looks back no further than to this one
                since = begun_at - self._lookback if checkpoint else begun_at + timedelta(microseconds=1)
                yield from self._changes(since, {})
        if self._keeps_living:
            yield from self._compared(before, opened_at=to_utc(high_water) if high_water else None)
        self.stream_state.pop(CHECKPOINT, None)
        if high_water and self.replication_key:
            self.stream_state["replication_key"] = self.replication_key
            self.stream_state["replication_key_value"] = to_utc(high_water)
        self.stream_state["synced_at"] = self.audit.started_at
        self.audit.bookmark_after = self.stream_state.get("replication_key_value")
        self.audit.requests = self._client.list_requests
        self.audit.ended_at = to_utc(datetime.now(UTC))

    def _since(self) -> datetime | None:
        """Return the instant from which changes are wanted, None for everything."""
        instants = []
        if start_date := self.config.get("start_date"):
            instants.append(to_utc(datetime.fromisoformat(start_date)))
        if self.audit.bookmark_before and not self.config["full_refresh"]:
            # what is committed late carries an instant from before the bookmark
            instants.append(to_utc(datetime.fromisoformat(self.audit.bookmark_before) - self._lookback))
        return datetime.fromisoformat(max(instants)) if instants and self._plan.changes else None

    @property
    def _lookback(self) -> timedelta:
        return timedelta(seconds=self.config["lookback_seconds"])

    @property
    def _is_comparable(self) -> bool:
        """Whether all patients are delivered, under ids of which a set can be kept, and can be asked for one by one."""
        is_integer = self.schema["properties"][PRIMARY_KEY]["type"] == ["integer"]
        return is_integer and self._confirms and not self.config.get("start_date")

    @property
    def _is_by_id(self) -> bool:
        return self._plan.load.field == PRIMARY_KEY

    def _everything(self, high_water: datetime | None, checkpoint: dict[str, Any] | None) -> Iterator[Record]:
        order = self._plan.load
        after = End(checkpoint["offset"], checkpoint["last_id"], Page([], 0)) if checkpoint else None
        first = None if after else self._opening_pages.get(order)
        progress = Progress(self.logger)
        for page, end in self._scanner.read_pages(order, first=first, after=after):
            yield from self._take(page)
            progress.report(end.offset + 1, page.total_items)
            # only by id, patients keep their places from one run to the next
            if self.audit.kind == "first_load" and self._is_by_id and high_water and end.value is not None:
                self.stream_state[CHECKPOINT] = {
                    "offset": end.offset,
                    "last_id": end.value,
                    "high_water": to_utc(high_water),
                }

    def _changes(self, since: datetime, opening_pages: Mapping[Order, Page]) -> Iterator[Record]:
        """Yield the patients changed or created since an instant, newest first."""
        floor = to_utc(since)
        for order in self._plan.changes:
            first = opening_pages.get(order) or self._scanner.read_newest(order)
            ties = Ties(begin=first.offset)
            for page, end in self._scanner.read_pages(order, first=first, to_the_end=False):
                ties.add(page, end)
                yield from (record for record in self._take(page) if is_change(record, order, floor))
                if is_past(end.page, order, floor):
                    break
            if ties.hide_rows:
                # by id they cannot
                for page, _ in self._scanner.read_pages(self._plan.load):
                    yield from (record for record in self._take(page) if is_change(record, order, floor))

    def _compared(self, before: BitMap64, opened_at: str | None) -> Iterator[Record]:
        """Yield tombstones of those who are gone, and who was missed so far, as far as the run can tell.

        Args:
            before: The ids that were delivered before the run.
            opened_at: The newest change that the source showed as the run began.
        """
        if self.audit.kind == "full" or (self.audit.kind == "first_load" and not self._is_by_id):
            yield from self._tombstones(before - self._seen)
        elif self._is_by_id:
            yield from self._compared_by_rank(opened_at)
        elif not self.audit.total_items_after:
            self._forbid(len(self._living))

    def _compared_by_rank(self, opened_at: str | None) -> Iterator[Record]:
        """Yield who was missed so far, and tombstones of those who are gone."""
        self._forbid(len(self._living) - self.audit.total_items_after)
        comparison = RankComparison(self._scanner, self._plan.load, self._living)
        for page in comparison.pages(self.audit.total_items_after):
            self._forbid(len(comparison.gone))
            missed = [row for row in page.rows if any(each not in self._living for each in ids_of([row]))]
            for record in self._take(replace(page, rows=missed)):
                # who came or changed since the run began was not missed
                if not opened_at or (record.get(CREATED_AT) or "") <= opened_at:
                    self.audit.repaired += 1
                yield record
        yield from self._tombstones(comparison.gone)

    def _tombstones(self, gone: BitMap64) -> Iterator[Record]:
        """Yield a tombstone for each patient that the source confirms to be gone."""
        if not self.mask.get(("properties", DELETED_AT), False):
            # a tombstone without it would pass for a patient
            return
        self._forbid(len(gone))
        with ThreadPoolExecutor(self.config["max_parallel_requests"]) as executor:
            for patient, is_gone in zip(gone, executor.map(self._client.is_gone, gone), strict=True):
                if is_gone:
                    self.audit.deleted += 1
                    yield {PRIMARY_KEY: patient, DELETED_AT: to_utc(datetime.now(UTC))}

    def _forbid(self, deletions: int) -> None:
        """End the run if more patients are gone than a source in good order loses from one run to the next."""
        percent = self.config["max_deleted_percent"]
        allowed = max(len(self._living) * percent / 100, 1 if self.audit.total_items_after else 0)
        if deletions > allowed:
            raise FatalAPIError(
                f"{deletions} of {len(self._living)} patients are not in the source any more, and max_deleted_percent "
                f"allows {percent} %: none was marked as deleted. If they are gone for good, set "
                "TAP_TOUBIB_MAX_DELETED_PERCENT=100 for one run; if the source is incomplete, mend that first"
            )

    def _take(self, page: Page) -> list[Record]:
        """Account for a page, put its unloadable records aside and return the others."""
        for rejected in page.rejected:
            self._rejected.write(rejected)
        self.audit.rejected += len(page.rejected)
        self._seen.update(ids_of(page.rows))
        self._living.update(ids_of(page.rejected))
        self.audit.total_items_after = page.total_items
        return page.records

    @cached_property
    def _unknown_to_catalog(self) -> set[str]:
        return set(self.schema["properties"]) - set(self.effective_schema["properties"])

    def post_process(self, row: Record, context: Context | None = None) -> Record:
        """Leave out the columns that the catalog was made without."""
        for name in self._unknown_to_catalog:
            row.pop(name, None)
        return row

    def _increment_stream_state(self, latest_record: Record, *, context: Context | None = None) -> None:
        """Account for the record; the bookmark stays: newest first only the end of the run makes it safe to move on."""
        self.audit.records += 1
        if latest_record.get(DELETED_AT):
            self._living.discard(latest_record[PRIMARY_KEY])
        else:
            self._living.update(ids_of([latest_record]))

    def _write_state_message(self) -> None:
        """Write the state with exactly those patients that were written before it."""
        if self._keeps_living:
            text = self.stream_state[LIVING] = to_text(self._living)
            # a long state stands behind so many records that it adds little to them
            self.STATE_MSG_FREQUENCY = max(type(self).STATE_MSG_FREQUENCY, len(text) // 100)
            if len(text) > LONGEST_TEXT:
                self.logger.warning("Too many patients with too scattered ids: deletions are not looked for")
                self._keeps_living = False
                del self.stream_state[LIVING]
        super()._write_state_message()


def is_change(record: Record, order: Order, floor: str) -> bool:
    """Tell whether a patient changed since an instant; one is looked for by creation only if it was never updated."""
    if order.field == CREATED_AT and record.get(UPDATED_AT):
        return False
    instant: str | None = record.get(order.field)
    return instant is not None and instant >= floor


def is_past(page: Page, order: Order, floor: str) -> bool:
    """Tell whether no patient behind a page of a newest-first order can have changed since an instant."""
    instants = [record.get(order.field) for record in page.records]
    if instants and instants[-1]:
        return bool(instants[-1] < floor)
    # behind those with an instant come those without one, if they did not come before
    return any(instants)
