"""One run: reads new and changed patients, then reconciles the known ids with the source.

The caller writes each page before it asks for the next one, so `state` covers every page yielded so far.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from tap_toubib.client import ToubibClient
from tap_toubib.columns import DELETED_AT, PRIMARY_KEY, UPDATED_AT
from tap_toubib.discovery import Capabilities
from tap_toubib.emitted import Emitted
from tap_toubib.known_ids import KnownIds
from tap_toubib.overlap import End, Ties
from tap_toubib.pagination import Scanner
from tap_toubib.plan import Order, Plan
from tap_toubib.reconciliation import Reconciliation
from tap_toubib.records import Page, PageDecoder, Rejected, list_ids
from tap_toubib.scope import choose_scope, look_back
from tap_toubib.state import State
from tap_toubib.values import now, shift, to_utc

LONGEST_TEXT = 4_000_000
"""Characters of the known ids in the state, at most: Meltano passes on lines of up to 5 MiB."""

PROGRESS_INTERVAL = 2
"""Seconds between two lines of progress."""


class Progress:
    """Logs the progress of one scan, at most once in an interval."""

    def __init__(self, logger: logging.Logger, done: int = 0) -> None:
        self._logger = logger
        self._logged_at, self._done = time.monotonic(), done

    def report(self, done: int, total: int | None = None) -> None:
        """Log how many patients were read, and how fast."""
        elapsed = time.monotonic() - self._logged_at
        if elapsed <= PROGRESS_INTERVAL:
            return
        rate = (done - self._done) / elapsed
        self._logged_at, self._done = time.monotonic(), done
        # the API may have counted before patients came
        total = total and max(total, done)
        read = f"{done} of {total} patients ({100 * done // total} %)" if total else f"{done} changes"
        self._logger.info("%s read, %d a second", read, rate, extra={"done": done, "total": total, "rate": rate})


class Extraction:
    """Reads the pages of one run, and keeps its audit record and its state.

    Attributes:
        audit: The record in `syncs` of the run so far.
        state: The state of the patients after all pages yielded so far; None while the old state is still valid.
    """

    def __init__(  # noqa: PLR0913  # a run needs all of them
        self,
        client: ToubibClient,
        api: Capabilities,
        plan: Plan,
        *,
        config: Mapping[str, Any],
        state: State,
        columns: Sequence[str],
        logger: logging.Logger,
    ) -> None:
        self._client = client
        self._api = api
        self._plan = plan
        self._config = config
        self._columns = columns
        self._logger = logger
        page_size = min(config.get("page_size", api.page_size), api.page_size)
        self._scanner = Scanner(client, PageDecoder(api.schema), page_size, config["max_parallel_requests"])
        self._scope = choose_scope(config, state, plan)
        ids_file = config.get("known_ids_file")
        # after a failed run, the destination can hold newer observations than the state covers
        self._emitted_before = {} if config["full_refresh"] or ids_file else state.emitted
        known = KnownIds.read_file(ids_file) if ids_file else state.known_ids
        self._keeps_ids = known is not None or self._scope.has_all_ids
        if not self._keeps_ids:
            logger.warning("Deletions are not looked for until a full refresh: the ids of earlier runs are not known")
        self._known = known or KnownIds()
        self._unseen = self._known.copy()
        self.state: dict[str, Any] | None = None
        self.audit: dict[str, Any] = {
            "started_at": now(),
            "api_url": client.address,
            "is_bundled_api": api.is_bundled_api,
            "kind": self._scope.kind,
            "records": 0,
            "rejected": 0,
            "deleted": 0,
            "bookmark_before": state.bookmark,
        }

    def read(self) -> Iterator[Page]:
        """Yield pages of new and changed patients, of rejected records, and of tombstones."""
        opening_pages = self._read_opening_pages()
        self.audit["total_items_before"] = next(iter(opening_pages.values())).total_items
        high_water = self._find_high_water(opening_pages)
        self._emitted = Emitted(self._emitted_before, high_water and look_back(high_water, self._config), self._columns)
        if self._scope.since:
            yield from self._read_changes(self._scope.since, opening_pages)
        else:
            yield from self._read_everything(high_water, opening_pages)
        # a request for the patient confirms each deletion
        if self._keeps_ids and self._api.has_single_patients and not self._config.get("start_date"):
            yield from self._reconcile()
        self.audit["bookmark_after"] = high_water or self.audit["bookmark_before"]
        self.audit["requests"] = self._client.list_requests
        self.audit["ended_at"] = now()
        self.state = self._make_final_state()

    def _read_opening_pages(self) -> dict[Order, Page]:
        """Return the first page in each order that the run begins with."""
        if not self._plan.changes:
            return {self._plan.load: self._scanner.read_page(self._plan.load)}
        return {order: self._scanner.read_newest(order) for order in self._plan.changes}

    def _find_high_water(self, opening_pages: Mapping[Order, Page]) -> str | None:
        """Return the next bookmark: the newest change on the opening pages; None if they show none."""
        # never later than the start: a change between these requests can be missing from the first page, and an instant
        # in the future proves nothing about the source's clock
        latest = self.audit["started_at"]
        instants = [row.get(order.field) for order in self._plan.changes for row in opening_pages[order].records]
        changes = [instant for instant in instants if instant]
        return max((change for change in changes if change <= latest), default=latest) if changes else None

    def _read_everything(self, high_water: str | None, opening_pages: Mapping[Order, Page]) -> Iterator[Page]:
        order, checkpoint = self._plan.load, self._scope.checkpoint
        after = None
        if checkpoint:
            high_water = to_utc(checkpoint.high_water)
            after = End(checkpoint.offset, checkpoint.last_id, Page([], 0))
        progress = Progress(self._logger, after.offset if after else 0)
        first = None if after else opening_pages.get(order)
        for page, end in self._scanner.read_pages(order, first=first, after=after):
            progress.report(end.offset + 1, page.total_items)
            if self._scope.kind == "first_load" and self._plan.is_by_id and high_water and end.value is not None:
                self.state = {"checkpoint": {"offset": end.offset, "last_id": end.value, "high_water": high_water}}
            yield self._emit(page)
        if high_water:
            # catch up on changes made during the load; if it began in an earlier run, also on late commits: later runs
            # look back from this bookmark only
            since = look_back(high_water, self._config) if checkpoint else shift(high_water, microseconds=1)
            yield from self._read_changes(since, {})

    def _read_changes(self, since: str, opening_pages: Mapping[Order, Page]) -> Iterator[Page]:
        """Yield pages of the patients changed or created since an instant, newest first."""
        progress = Progress(self._logger)
        for order in self._plan.changes:
            first = opening_pages.get(order) or self._scanner.read_newest(order)
            ties = Ties(first.offset)
            with closing(self._scanner.read_pages(order, first=first, to_the_end=False)) as pages:
                for page, end in pages:
                    ties.add(page, end)
                    yield self._emit_changes(page, order, since)
                    progress.report(end.offset + 1 - first.offset)
                    if order.is_past(end.page, since):
                        break
            if ties.has_hidden_rows:
                # equal values hid rows; the load order has the fewest ties
                for page, _ in self._scanner.read_pages(self._plan.load):
                    yield self._emit_changes(page, order, since)

    def _reconcile(self) -> Iterator[Page]:
        """Yield pages of missed patients, and tombstones, as far as the run can find them."""
        total_items, percent = self.audit["total_items_after"], self._config["max_deleted_percent"]
        reconciliation = Reconciliation(self._scanner, self._known, total_items, percent)
        if self._scope.kind == "full":
            pages = reconciliation.read_tombstones(self._unseen.copy())
        elif self._plan.is_by_id:
            pages = reconciliation.read_differences()
        else:
            return
        for page in pages:
            yield self._emit(page)
            for deleted in [record[PRIMARY_KEY] for record in page.records if record.get(DELETED_AT)]:
                self._known.discard([deleted])
                self.audit["deleted"] += 1

    def _emit_changes(self, page: Page, order: Order, since: str) -> Page:
        rows = [row for row in page.rows if isinstance(row, Rejected) or order.is_changed(row, since)]
        return self._emit(replace(page, rows=rows))

    def _emit(self, page: Page) -> Page:
        """Return a page without repeated rows, and count the others."""
        emitted = replace(page, rows=[row for row in page.rows if not self._emitted.is_repeated(row)])
        if self._unseen:
            self._unseen.discard(list_ids(page.rows))
        self._known.update(list_ids(emitted.rows))
        self.audit["records"] += len(emitted.records)
        self.audit["rejected"] += len(emitted.rejected)
        self.audit["total_items_after"] = page.total_items
        return emitted

    def _make_final_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"synced_at": self.audit["started_at"]}
        if self.audit["bookmark_after"]:
            state |= {"replication_key": UPDATED_AT, "replication_key_value": self.audit["bookmark_after"]}
        if emitted := self._emitted.to_state():
            state["emitted"] = emitted
        if self._keeps_ids:
            state["known_ids"] = self._known.to_text()
            if len(state["known_ids"]) > LONGEST_TEXT:
                self._logger.warning("Too many scattered ids for the state: the next run looks for no deletions")
                del state["known_ids"]
        return state
