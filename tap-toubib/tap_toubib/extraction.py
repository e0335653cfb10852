"""One run of the patients: what it reads, what it leaves in the state for the next one, and what it did.

A run reads everything (a first load, or a full refresh) or what changed since the bookmark, then reconciles the known
ids with the source. Whoever runs it

1. calls `open`,
2. writes out the pages of `read`, and when all of them are written those of `reconcile`,
3. calls `finish`, and saves the state once more: it holds the next bookmark.

Of each record that was written it says so (`note_written`), and a state is saved only after that: so none passes a
patient by that was not written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tap_toubib.audit import Audit
from tap_toubib.client import ToubibClient
from tap_toubib.columns import CREATED_AT, DELETED_AT, PRIMARY_KEY, UPDATED_AT
from tap_toubib.discovery import Capabilities
from tap_toubib.known_ids import KnownIds
from tap_toubib.overlap import End, Ties
from tap_toubib.pagination import Scanner
from tap_toubib.plan import Order, Plan
from tap_toubib.progress import Progress
from tap_toubib.reconciliation import Reconciliation
from tap_toubib.records import Page, PageDecoder, Record, list_ids
from tap_toubib.values import EARLIEST, move, now

CHECKPOINT = "checkpoint"
"""The key in the state of the patients under which a first load remembers how far it came."""


class Extraction:
    """One run: the settings and the last state of the patients say what it reads.

    Args:
        columns: Those that are emitted.
        reject: Takes the pages that hold rejected records.

    Attributes:
        audit: What it did so far.
        known: The ids of all patients written so far and not known to be deleted.
        high_water: The newest change that the source showed as the run was opened, never later than that: the next
            bookmark. None if the source does not tell.
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
        self._client = client
        self._plan = plan
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
        self._can_reconcile = is_integer and api.has_single_patients
        self._has_creation = CREATED_AT in api.instants
        self._opening_pages: dict[Order, Page] = {}
        self.high_water: str | None = None
        self.audit = Audit(
            started_at=now(),
            api_url=client.address,
            is_bundled_api=api.is_bundled_api,
            columns=",".join(sorted(columns)),
            bookmark_before=self._bookmark,
        )

    def open(self) -> None:
        """Read the first page in each order that the run begins with, and from them where the source stands."""
        if self._plan.changes:
            self._opening_pages = {order: self._scanner.read_newest(order) for order in self._plan.changes}
        else:
            self._opening_pages = {self._plan.load: self._scanner.read_page(self._plan.load)}
        self.audit.total_items_before = next(iter(self._opening_pages.values())).total_items
        changes = [
            record[order.field]
            for order in self._plan.changes
            for record in self._opening_pages[order].records
            if record.get(order.field)
        ]
        # what shows up between two of the pages must not lift the bookmark over what the first was too early for; and
        # one in the future says nothing of where the source's clock stands, which may be behind this one
        latest = self.audit.started_at
        if changes:
            self.high_water = max((change for change in changes if change <= latest), default=latest)

    def read(self) -> Iterator[Page]:
        """Yield pages of what the destination lacks."""
        since = self._choose_since()
        if self._config["full_refresh"] or not (self._plan.changes and self._plan.is_by_id):
            self._checkpoint = None
        # no set can grow from the rest alone: the patients before it would be missing
        is_whole = (not since or not self._bookmark) and not self._checkpoint
        self.known.is_kept = self._can_reconcile and (self.known.is_kept or is_whole)
        if since and not self._checkpoint:
            self.audit.kind = "changes"
            yield from self._read_changes(since, self._opening_pages)
            return
        self.audit.kind = "first_load" if self._plan.changes and not self._bookmark else "full"
        checkpoint = self._checkpoint
        high_water = checkpoint["high_water"] if checkpoint else self.high_water
        yield from self._read_everything(high_water, checkpoint)
        if high_water:
            # what changed during the load; also what was committed late, if the load began in an earlier run: the next
            # one looks back no further than to this one
            since = self._look_back(high_water) if checkpoint else move(high_water, microseconds=1)
            yield from self._read_changes(since, {})

    def reconcile(self) -> Iterator[Page]:
        """Yield pages of recovered patients, and tombstones, as far as the run can tell."""
        if not self.known.is_kept or self._config.get("start_date"):
            return
        total_items, percent = self.audit.total_items_after, self._config["max_deleted_percent"]
        reconciliation = Reconciliation(self._scanner, self.known, total_items, percent, self._logger)
        pages: Iterator[Page] = iter(())
        if self.audit.kind == "full" or (self.audit.kind == "first_load" and not self._plan.is_by_id):
            pages = reconciliation.read_tombstones(self._known_before - self._seen)
        elif self._plan.is_by_id:
            pages = reconciliation.read_differences()
        elif not self._seen:
            reconciliation.check_deletion_limit(len(self.known))
        for page in pages:
            self.audit.recovered += sum(map(self._is_recovered, page.records))
            yield self._take(page)

    def finish(self) -> None:
        """End the run: the next state to be saved holds its bookmark."""
        self._decoder.warn_of_columns(self._logger)
        self._checkpoint = None
        self._is_complete = True
        self._bookmark = self.high_water or self._bookmark
        self.audit.bookmark_after = self._bookmark
        self.audit.requests = self._client.list_requests
        self.audit.ended_at = now()

    def note_written(self, records: Sequence[Record]) -> None:
        """Account for records that were written."""
        deleted = [record for record in records if record.get(DELETED_AT)]
        self.audit.records += len(records)
        self.audit.deleted += len(deleted)
        self.known.update(list_ids(records))
        if deleted:
            self.known.discard(list_ids(deleted))

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

    def _choose_since(self) -> str | None:
        """Return the instant from which changes are wanted, None for everything."""
        instants = []
        if start_date := self._config.get("start_date"):
            instants.append(move(start_date))
        if self._bookmark and not self._config["full_refresh"]:
            instants.append(self._look_back(self._bookmark))
        return max(instants) if instants and self._plan.changes else None

    def _look_back(self, instant: str) -> str:
        """Return how far to read back from an instant: what is committed late carries one from before it."""
        return move(instant, seconds=-self._config["lookback_seconds"])

    def _read_everything(self, high_water: str | None, checkpoint: dict[str, Any] | None) -> Iterator[Page]:
        order = self._plan.load
        after = End(checkpoint["offset"], checkpoint["last_id"], Page([], 0)) if checkpoint else None
        first = None if after else self._opening_pages.get(order)
        # only by id, patients keep their places from one run to the next; a full refresh counts as a whole or not
        is_resumable = self.audit.kind == "first_load" and self._plan.is_by_id and not self._config["full_refresh"]
        progress = Progress(self._logger)
        for page, end in self._scanner.read_pages(order, first=first, after=after):
            yield self._take(page)
            progress.report(end.offset + 1, page.total_items)
            if is_resumable and high_water and end.value is not None:
                self._checkpoint = {"offset": end.offset, "last_id": end.value, "high_water": high_water}

    def _read_changes(self, since: str, opening_pages: Mapping[Order, Page]) -> Iterator[Page]:
        """Yield pages of the patients changed or created since an instant, newest first."""
        progress = Progress(self._logger)
        for order in self._plan.changes:
            first = opening_pages.get(order) or self._scanner.read_newest(order)
            ties = Ties(begin=first.offset)
            for page, end in self._scanner.read_pages(order, first=first, to_the_end=False):
                ties.add(page, end)
                yield self._take_changes(page, order, since)
                progress.report(end.offset + 1 - first.offset)
                if order.is_past(end.page, since):
                    break
            if ties.has_hidden_rows:
                # in the order of a load they hide least
                for page, _ in self._scanner.read_pages(self._plan.load):
                    yield self._take_changes(page, order, since)

    def _take_changes(self, page: Page, order: Order, since: str) -> Page:
        records = self._take(page).records
        return replace(page, rows=[record for record in records if order.is_changed(record, since)])

    def _take(self, page: Page) -> Page:
        """Account for a page that was read, and quarantine its rejected records."""
        if page.rejected:
            self._reject(page)
            self.audit.rejected += len(page.rejected)
            self.known.update(list_ids(page.rejected))
        self._seen.update(list_ids(page.rows))
        self.audit.total_items_after = page.total_items
        return page

    def _is_recovered(self, record: Record) -> bool:
        """Tell whether a patient that reconciliation found was missed; one created since the run began was not."""
        if record.get(DELETED_AT):
            return False
        if not self.high_water or not self._has_creation:
            return True
        created_at: str = record.get(CREATED_AT) or EARLIEST
        return created_at <= self.high_water
