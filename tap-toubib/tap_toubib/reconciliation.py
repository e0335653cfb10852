"""Find patients deleted from the source, and patients that earlier runs missed.

Sorted by id, each patient has a rank in the source and a rank among the known ids. Between two patients of known rank,
both must have equally many patients; if not, a page in the middle is read. So a difference costs about
log2(patients / page length) requests, and neighbouring differences share them.

If equally many patients were deleted and missed, the counts agree, and only a page with one of these patients shows it.
So each run also reads one random page.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import randrange
from typing import NamedTuple

from singer_sdk.exceptions import FatalAPIError

from tap_toubib.columns import DELETED_AT, PRIMARY_KEY
from tap_toubib.known_ids import KnownIds
from tap_toubib.pagination import Scanner, WindowError
from tap_toubib.plan import BY_ID
from tap_toubib.records import Page, list_ids
from tap_toubib.values import now

logger = logging.getLogger("tap-toubib.reconciliation")


class Interval(NamedTuple):
    """The patients between two others, given by id (None: no bound) and rank."""

    low: int | None
    low_rank: int
    high: int | None
    high_rank: int


class Reconciliation:
    """Finds the differences between the known ids and the source at the end of a run."""

    def __init__(self, scanner: Scanner, known: KnownIds, total_items: int, max_deleted_percent: int) -> None:
        self._scanner = scanner
        self._known = known
        self._total_items = total_items
        self._max_deleted_percent = max_deleted_percent
        # the ids expected in the source; each page corrects them
        self._expected = known.copy()
        # known ids that the source did not show at their rank; some may only have moved, so deletions are confirmed
        self._absent = KnownIds()

    def _check_deletion_limit(self, deletions: int) -> None:
        """End the run if it would mark more patients as deleted than `max_deleted_percent` allows."""
        is_single = deletions == 1 < len(self._known)
        if deletions > len(self._known) * self._max_deleted_percent / 100 and not is_single:
            raise FatalAPIError(
                f"{deletions} of {len(self._known)} patients are not in the source any more, and max_deleted_percent "
                f"allows {self._max_deleted_percent} %: none was marked as deleted. If they were deleted for good, set "
                "TAP_TOUBIB_MAX_DELETED_PERCENT=100 for one run; if the source is incomplete, complete it first"
            )

    def read_differences(self) -> Iterator[Page]:
        """Yield pages of unknown patients, then tombstones; both are found by rank."""
        try:
            for page in self._search():
                self._total_items = page.total_items
                self._check_deletion_limit(len(self._absent))
                yield replace(
                    page, rows=[row for row in page.rows if any(each not in self._known for each in list_ids([row]))]
                )
        except WindowError as error:
            logger.warning("%s. This run may miss deletions", error)
        yield from self.read_tombstones(self._absent)

    def read_tombstones(self, absent: KnownIds) -> Iterator[Page]:
        """Yield a tombstone for each absent patient whose deletion the source confirms."""
        self._check_deletion_limit(len(absent))
        with ThreadPoolExecutor(self._scanner.max_parallel_requests) as executor:
            answers = executor.map(self._scanner.client.is_deleted, absent)
            for patient, is_deleted in zip(absent, answers, strict=True):
                if is_deleted:
                    deleted_at = now()
                    tombstone = {PRIMARY_KEY: patient, DELETED_AT: deleted_at}
                    yield Page([tombstone], self._total_items, read_at=deleted_at)

    def _search(self) -> Iterator[Page]:
        """Yield every page that the search reads. Their rows include all patients that the known ids lack."""
        # start at the end: patients created during this run have the highest ids
        end = self._scanner.read_near_end(BY_ID, max(self._total_items, len(self._known)))
        ids: list[int] = []
        for page, _ in self._scanner.read_pages(BY_ID, first=end, to_the_end=False):
            yield page
            ids += list_ids(page.rows)
        first = min(ids, default=None)
        if first is not None:
            self._settle(ids, first - 1, None)
        intervals = [Interval(None, -1, first, end.offset)]
        if end.offset:
            # one random page, even if all counts agree
            page = self._scanner.read_page(BY_ID, randrange(end.offset))  # noqa: S311  # not a secret
            yield page
            intervals = self._split(intervals[0], page)
        while intervals:
            interval = intervals.pop()
            between = interval.high_rank - interval.low_rank - 1
            if between <= 0:
                self._settle([], interval.low, interval.high)
            elif between != self._expected.count_between(interval.low, interval.high):
                offset = interval.low_rank + 1 + max((between - self._scanner.page_length) // 2, 0)
                page = self._scanner.read_page(BY_ID, offset)
                yield page
                intervals += self._split(interval, page)

    def _split(self, interval: Interval, page: Page) -> list[Interval]:
        """Return the parts of an interval before and after a page; none if the page shows no id of the interval."""
        ranks = _rank(page)
        low, high = interval.low, interval.high
        ids = [each for each in ranks if (low is None or low < each) and (high is None or each < high)]
        if not ids:
            return []
        self._settle(ids, ids[0] - 1, ids[-1] + 1)
        return [
            Interval(low, interval.low_rank, ids[0], ranks[ids[0]]),
            Interval(ids[-1], ranks[ids[-1]], high, interval.high_rank),
        ]

    def _settle(self, shown: list[int], low: int | None, high: int | None) -> None:
        """Compare all ids that the source showed between two ids with the expected ones."""
        between = self._expected.select_between(low, high)
        self._absent.update(between - KnownIds(shown))
        self._expected.discard(between)
        self._expected.update(shown)


def _rank(page: Page) -> dict[int, int]:
    """Return the rank of each id on a page, ascending."""
    return {each: page.offset + place for place, row in enumerate(page.rows) for each in list_ids([row])}
