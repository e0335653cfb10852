"""The streams: patients, the records kept aside, and one audit record for each run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pyroaring import BitMap64
from singer_sdk import Stream
from singer_sdk import typing as th
from singer_sdk.exceptions import FatalAPIError
from singer_sdk.helpers.conform import TypeConformanceLevel

from tap_toubib.living import from_text, ids_of, to_text
from tap_toubib.negotiation import CREATED_AT, INT64, PRIMARY_KEY, UPDATED_AT
from tap_toubib.plan import Order, Plan
from tap_toubib.progress import Progress
from tap_toubib.ranks import RankComparison
from tap_toubib.records import Page, PageDecoder, to_utc
from tap_toubib.scan import Scanner
from tap_toubib.seam import End

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from singer_sdk import Tap
    from singer_sdk.helpers.types import Context

    from tap_toubib.client import ToubibClient
    from tap_toubib.negotiation import Capabilities
    from tap_toubib.records import Record, Rejected

COUNT = th.IntegerType(**INT64)

CHECKPOINT = "first_load"
"""The key in the stream's state under which a first load keeps its place."""

LIVING = "living"
"""The key under which the ids of the patients delivered are kept."""

DELETED_AT = "_sdc_deleted_at"
"""The column that makes a record a tombstone, by convention of Singer's targets."""

TEXT_PART_LENGTH = 200_000
"""Characters in a row, at most: as JSON they are up to twice as long, and Meltano passes on lines of up to 512 KiB."""


class RejectedRecordsStream(Stream):
    """Records that cannot be loaded."""

    name = "rejected_records"
    schema = th.PropertiesList(
        th.Property("id", th.StringType, description="The patient's id, if it has one."),
        th.Property("field", th.StringType, description="The column at fault, if one can be named."),
        th.Property("reason", th.StringType, description="What is wrong with it."),
        th.Property("part", COUNT, description="1, or the position of this part of a record too long for one row."),
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


@dataclass
class Sync:
    """The audit of one run; instants are text in UTC.

    Attributes:
        started_at: When the first request was sent.
        ended_at: When the last record was read.
        kind: `first_load`, `changes` or `full` (everything again, since the API cannot tell changes).
        columns: The columns that the source had, sorted, joined by commas.
        total_items_before: Patients in the source when the run began.
        total_items_after: Patients in the source at its last request.
        records: Patients emitted, repetitions included.
        rejected: Records kept aside.
        deleted: Patients found to be gone.
        repaired: Patients found to have been missed before.
        requests: Pages asked for, failed attempts included.
        bookmark_before: The bookmark that the run found.
        bookmark_after: The bookmark that it left.
    """

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
        columns = ",".join(sorted(self.schema["properties"]))
        return Sync(started_at=to_utc(datetime.now(UTC)), bookmark_before=bookmark, columns=columns)

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
            record[order.field]
            for order in self._plan.changes
            for record in self._opening_pages[order].records
            if record.get(order.field)
        ]
        return min(datetime.fromisoformat(max(changes)), latest) if changes else None

    def get_records(self, context: Context | None) -> Iterator[Record]:
        """Yield what the destination lacks, then leave the bookmark for the next run.

        Raises:
            FatalAPIError: The service refused a request.
            RetriableAPIError: The service gave no usable answer, however often it was asked.
        """
        high_water = self.get_replication_key_signpost(context)
        since = self._since()
        checkpoint = None if self.config["full_refresh"] else self.stream_state.get(CHECKPOINT)
        self._living = from_text(self.stream_state.get(LIVING))
        before = self._living.copy()
        # a state without them knows some of the patients only: no set can grow from changes
        self._keeps_living = self._is_comparable and (LIVING in self.stream_state or not since)
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
        if self._is_by_id and self.audit.kind != "full":
            if self._keeps_living:
                yield from self._compared_by_rank()
        elif self.audit.kind != "changes":
            yield from self._tombstones(before - self._seen)
        self.stream_state.pop(CHECKPOINT, None)
        if high_water and self.replication_key:
            self.stream_state["replication_key"] = self.replication_key
            self.stream_state["replication_key_value"] = to_utc(high_water)
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
        """Whether all patients are delivered, under ids of which a set can be kept."""
        return self.schema["properties"][PRIMARY_KEY]["type"] == ["integer"] and not self.config.get("start_date")

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
            tied = False
            seen: set[Any] = set()
            read = rejected = 0
            for page, end in self._scanner.read_pages(order, first=first, to_the_end=False):
                tied = tied or end.tied
                read = end.page.offset + len(end.page.rows) - first.offset
                rejected += len(page.rejected)
                seen.update(record[PRIMARY_KEY] for record in page.records)
                yield from (record for record in self._take(page) if is_change(record, order, floor))
                if is_past(end.page, order, floor):
                    break
            if tied and len(seen) + rejected < read:
                # rows of one instant changed places from page to page, and some were in none: by id they cannot
                for page, _ in self._scanner.read_pages(self._plan.load):
                    yield from (record for record in self._take(page) if is_change(record, order, floor))

    def _compared_by_rank(self) -> Iterator[Record]:
        """Yield who was missed so far, and tombstones of those who are gone."""
        self._forbid(len(self._living) - self.audit.total_items_after)
        comparison = RankComparison(self._scanner, self._plan.load, self._living)
        for page in comparison.pages(self.audit.total_items_after):
            missed = [row for row in page.rows if any(each not in self._living for each in ids_of([row]))]
            for record in self._take(replace(page, rows=missed)):
                self.audit.repaired += 1
                yield record
        yield from self._tombstones(comparison.gone)

    def _tombstones(self, gone: BitMap64) -> Iterator[Record]:
        """Yield a tombstone for each patient that the source confirms to be gone."""
        if not self.mask.get(("properties", DELETED_AT), False):
            # a tombstone without it would pass for a patient
            return
        self._forbid(len(gone))
        for patient in gone:
            if self._client.is_gone(patient):
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
            self.stream_state[LIVING] = to_text(self._living)
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


class SyncsStream(Stream):
    """One record a run: what was done, and from which bookmark to which."""

    name = "syncs"
    schema = th.PropertiesList(
        th.Property("started_at", th.DateTimeType, description="When the first request was sent."),
        th.Property("ended_at", th.DateTimeType, description="When the last record was read."),
        th.Property("kind", th.StringType, description="first_load, changes, or full: everything, on every run."),
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
