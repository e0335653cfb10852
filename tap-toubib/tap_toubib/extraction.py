"""One run of the patients: what it reads, what it leaves in the state for the next one, and what it did.

A run reads everything (a first load, or a full refresh) or what changed since the bookmark, then compares the known ids
with the source. Whoever writes its pages out says so of each record (`note_written`) and saves the state only then, so
that a state never passes a patient by that was not written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from tap_toubib.audit import Audit
from tap_toubib.changes import is_change, is_past
from tap_toubib.client import ToubibClient
from tap_toubib.columns import CREATED_AT, DELETED_AT, PRIMARY_KEY, UPDATED_AT
from tap_toubib.discovery import Capabilities
from tap_toubib.known_ids import KnownIds, ids_of
from tap_toubib.overlap import End, Ties
from tap_toubib.pagination import Scanner
from tap_toubib.plan import Order, Plan
from tap_toubib.progress import Progress
from tap_toubib.reconciliation import Reconciliation
from tap_toubib.records import Page, PageDecoder, Record
from tap_toubib.values import to_utc

CHECKPOINT = "checkpoint"
"""The key in the state of the patients under which a first load remembers how far it came."""


class Extraction:
    """One run.

    Attributes:
        audit: What it did so far.
        known: The ids of all patients written so far and not known to be deleted.
    """

    def __init__(  # noqa: PLR0913  # each is another thing that a run needs
        self,
        client: ToubibClient,
        api: Capabilities,
        plan: Plan,
        *,
        config: Mapping[str, Any],
        state: Mapping[str, Any],
        columns: Sequence[str],
        reject: Callable[[Page], None],
        logger: logging.Logger,
    ) -> None:
        """Begin a run; nothing is read yet.

        The settings and the last state of the patients say what to read; `columns` are those that are emitted, and
        `reject` takes the pages that hold rejected records.
        """
        self._client = client
        self._plan = plan
        self._instants = api.instants
        self._config = config
        self._reject = reject
        self._logger = logger
        page_size = min(config.get("page_size", api.page_size), api.page_size)
        self._decoder = PageDecoder(api.schema)
        self._scanner = Scanner(client, self._decoder, page_size, config["max_parallel_requests"])
        self._bookmark: str | None = state.get("replication_key_value")
        self._checkpoint: dict[str, Any] | None = state.get(CHECKPOINT)
        self.known = KnownIds.load(state)
        self._known_before = self.known.copy()
        self._seen = KnownIds()
        self._is_complete = False
        # only ids that are integers, of patients that can be asked for one by one
        is_integer = api.schema["properties"][PRIMARY_KEY]["type"] == ["integer"]
        self._is_comparable = is_integer and api.has_single_patients
        address = urlsplit(config["api_url"])
        self.audit = Audit(
            started_at=to_utc(datetime.now(UTC)),
            api_url=f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}",
            is_bundled_api=api.is_bundled_api,
            columns=",".join(sorted(columns)),
            bookmark_before=self._bookmark,
        )

    @cached_property
    def _opening_pages(self) -> dict[Order, Page]:
        """The first page in each order that the run begins with."""
        if not self._plan.changes:
            return {self._plan.load: self._scanner.read_page(self._plan.load)}
        return {order: self._scanner.read_newest(order) for order in self._plan.changes}

    @cached_property
    def high_water(self) -> datetime | None:
        """The newest change that the source shows as the run begins, never later than now: the next bookmark."""
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

    @property
    def _is_by_id(self) -> bool:
        return self._plan.load.field == PRIMARY_KEY

    def _look_back(self, instant: datetime) -> datetime:
        """Return how far to read back from an instant: what is committed late carries one from before it."""
        try:
            return instant - timedelta(seconds=self._config["lookback_seconds"])
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)

    def _since(self) -> datetime | None:
        """Return the instant from which changes are wanted, None for everything."""
        instants = []
        if start_date := self._config.get("start_date"):
            instants.append(to_utc(datetime.fromisoformat(start_date)))
        if self._bookmark and not self._config["full_refresh"]:
            instants.append(to_utc(self._look_back(datetime.fromisoformat(self._bookmark))))
        return datetime.fromisoformat(max(instants)) if instants and self._plan.changes else None

    def read(self) -> Iterator[Page]:
        """Yield pages of what the destination lacks."""
        high_water = self.high_water
        since = self._since()
        if self._config["full_refresh"] or not (self._plan.changes and self._is_by_id):
            self._checkpoint = None
        # no set can grow from the rest alone: the patients before it would be missing
        is_whole = (not since or not self._bookmark) and not self._checkpoint
        self.known.is_kept = self._is_comparable and (self.known.is_kept or is_whole)
        if since and not self._checkpoint:
            self.audit.kind = "changes"
            yield from self._read_changes(since, self._opening_pages)
            return
        self.audit.kind = "first_load" if self._plan.changes and not self._bookmark else "full"
        checkpoint = self._checkpoint
        began_at = datetime.fromisoformat(checkpoint["high_water"]) if checkpoint else high_water
        yield from self._read_everything(began_at, checkpoint)
        if began_at and self._plan.changes:
            # what changed during the load; also what was committed late, if the load began in an earlier run: the next
            # one looks back no further than to this one
            since = self._look_back(began_at) if checkpoint else began_at + timedelta(microseconds=1)
            yield from self._read_changes(since, {})

    def reconcile(self) -> Iterator[Page]:
        """Yield pages of patients that were missed so far, and tombstones, as far as the run can tell.

        All pages of `read` must have been written.

        Raises:
            FatalAPIError: More patients would be deleted than `max_deleted_percent` allows.
        """
        if not self.known.is_kept or self._config.get("start_date"):
            return
        reconciliation = Reconciliation(self._client, self.known, self.audit, self._config, self._logger)
        if self.audit.kind == "full" or (self.audit.kind == "first_load" and not self._is_by_id):
            yield from map(self._take, reconciliation.read_tombstones(self._known_before - self._seen))
        elif self._is_by_id:
            opened_at = to_utc(self.high_water) if self.high_water and CREATED_AT in self._instants else None
            yield from map(self._take, reconciliation.read_missed(self._scanner, self._plan.load, opened_at))
        elif not self.audit.total_items_after:
            reconciliation.check_deletion_limit(len(self.known))

    def finish(self) -> None:
        """End the run: the next state to be saved holds its bookmark."""
        self._decoder.warn_of_columns(self._logger)
        self._checkpoint = None
        self._is_complete = True
        if self.high_water and self._plan.changes:
            self._bookmark = to_utc(self.high_water)
        self.audit.bookmark_after = self._bookmark
        self.audit.requests = self._client.list_requests
        self.audit.ended_at = to_utc(datetime.now(UTC))

    def note_written(self, records: Sequence[Record]) -> None:
        """Account for records that were written."""
        self.audit.records += len(records)
        deleted = [record for record in records if record.get(DELETED_AT)]
        self.known.update(ids_of(records))
        if deleted:
            self.known.discard(ids_of(deleted))

    def save(self, state: dict[str, Any]) -> None:
        """Put into the state of the patients what the next run has to know if this one ends here."""
        if not self.known.save(state):
            self._logger.warning("Too many patients with too scattered ids for the state: deletions are not looked for")
        state.pop(CHECKPOINT, None)
        if self._checkpoint:
            state[CHECKPOINT] = self._checkpoint
        if self._is_complete:
            state["synced_at"] = self.audit.started_at
            if self._plan.changes and self._bookmark:
                state["replication_key"] = UPDATED_AT
                state["replication_key_value"] = self._bookmark

    def _read_everything(self, high_water: datetime | None, checkpoint: dict[str, Any] | None) -> Iterator[Page]:
        order = self._plan.load
        after = End(checkpoint["offset"], checkpoint["last_id"], Page([], 0)) if checkpoint else None
        first = None if after else self._opening_pages.get(order)
        # only by id, patients keep their places from one run to the next; a full refresh counts as a whole or not
        is_resumable = self.audit.kind == "first_load" and self._is_by_id and not self._config["full_refresh"]
        progress = Progress(self._logger)
        for page, end in self._scanner.read_pages(order, first=first, after=after):
            yield self._take(page)
            progress.report(end.offset + 1, page.total_items)
            if is_resumable and high_water and end.value is not None:
                self._checkpoint = {"offset": end.offset, "last_id": end.value, "high_water": to_utc(high_water)}

    def _read_changes(self, since: datetime, opening_pages: Mapping[Order, Page]) -> Iterator[Page]:
        """Yield pages of the patients changed or created since an instant, newest first."""
        floor = to_utc(since)
        progress = Progress(self._logger)
        for order in self._plan.changes:
            first = opening_pages.get(order) or self._scanner.read_newest(order)
            ties = Ties(begin=first.offset)
            for page, end in self._scanner.read_pages(order, first=first, to_the_end=False):
                ties.add(page, end)
                yield self._take_changes(page, order, floor)
                progress.report(end.offset + 1 - first.offset)
                if is_past(end.page, order, floor):
                    break
            if ties.hide_rows:
                # in the order of a load they hide least
                for page, _ in self._scanner.read_pages(self._plan.load):
                    yield self._take_changes(page, order, floor)

    def _take_changes(self, page: Page, order: Order, floor: str) -> Page:
        page = self._take(page)
        return replace(page, rows=[record for record in page.records if is_change(record, order, floor)])

    def _take(self, page: Page) -> Page:
        """Account for a page that was read, and quarantine its rejected records."""
        if page.rejected:
            self._reject(page)
            self.audit.rejected += len(page.rejected)
            self.known.update(ids_of(page.rejected))
        self._seen.update(ids_of(page.rows))
        self.audit.total_items_after = page.total_items
        return page
