"""Who was deleted from the source, and who is recovered: was missed before, and is found now.

Sorted by id, a patient has a rank in the source and one among the known ids. Between two patients of whom both ranks
are known, as many must lie in the source as among the known ids; where they do not, a page is read in the middle. So a
difference is found in about log2(patients / page length) requests, and neighbouring ones are found together.

Where as many patients were deleted as were missed, the numbers agree: only a page that shows one of them tells.
Therefore a page is read at random, another one in each run.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import randrange
from typing import NamedTuple

from singer_sdk.exceptions import FatalAPIError

from tap_toubib.columns import DELETED_AT, PRIMARY_KEY
from tap_toubib.known_ids import KnownIds
from tap_toubib.pagination import Scanner
from tap_toubib.plan import BY_ID
from tap_toubib.records import Page, list_ids
from tap_toubib.values import now


@dataclass
class Reconciliation:
    """Finds the differences between the known ids and the source at the end of a run.

    Attributes:
        scanner: Reads the pages; its client confirms deletions.
        known: The ids of all patients delivered so far.
        total_items: How many patients the source held when it last said so.
        max_deleted_percent: The setting.
        logger: Is told where ranks say nothing.
    """

    scanner: Scanner
    known: KnownIds
    total_items: int
    max_deleted_percent: int
    logger: logging.Logger

    def check_deletion_limit(self, deletions: int) -> None:
        """End the run if it would delete more patients than a sound source loses from one run to the next."""
        allowed = max(len(self.known) * self.max_deleted_percent / 100, 1 if self.total_items else 0)
        if deletions > allowed:
            raise FatalAPIError(
                f"{deletions} of {len(self.known)} patients are not in the source any more, and max_deleted_percent "
                f"allows {self.max_deleted_percent} %: none was marked as deleted. If they were deleted for good, set "
                "TAP_TOUBIB_MAX_DELETED_PERCENT=100 for one run; if the source is incomplete, complete it first"
            )

    def read_differences(self) -> Iterator[Page]:
        """Yield pages of patients that are not known, then tombstones, both found by rank."""
        self.check_deletion_limit(len(self.known) - self.total_items)
        search = RankSearch(self.scanner, self.known.copy())
        try:
            for page in search.read_pages(self.total_items):
                self.total_items = page.total_items
                self.check_deletion_limit(len(search.absent))
                yield replace(
                    page, rows=[row for row in page.rows if any(each not in self.known for each in list_ids([row]))]
                )
        except RepeatedIdError as error:
            self.logger.warning(
                "The API lists the patient of id %s on more than one row: its ranks say nothing, so deletions are "
                "found by a full refresh only",
                error,
            )
        yield from self.read_tombstones(search.absent)

    def read_tombstones(self, absent: KnownIds) -> Iterator[Page]:
        """Yield a tombstone for each of those patients that the source confirms to be deleted."""
        self.check_deletion_limit(len(absent))
        with ThreadPoolExecutor(self.scanner.max_parallel_requests) as executor:
            answers = executor.map(self.scanner.client.is_deleted, absent)
            for patient, is_deleted in zip(absent, answers, strict=True):
                if is_deleted:
                    deleted_at = now()
                    tombstone = {PRIMARY_KEY: patient, DELETED_AT: deleted_at}
                    yield Page([tombstone], self.total_items, read_at=deleted_at)


class RepeatedIdError(Exception):
    """An id stands on more than one row of the source."""


class Interval(NamedTuple):
    """What lies between two patients, by their ids (None: no bound) and their ranks."""

    low: int | None
    low_rank: int
    high: int | None
    high_rank: int


@dataclass
class RankSearch:
    """Searches for the differences by rank.

    Attributes:
        scanner: Reads the pages.
        expected: The ids that the source is expected to show; corrected as it shows others.
        absent: Known ids that the source did not show where they would be. Whether they are deleted is another
            question: the collection may have moved while it was read.
    """

    scanner: Scanner
    expected: KnownIds
    absent: KnownIds = field(default_factory=KnownIds)

    def read_pages(self, total_items: int) -> Iterator[Page]:
        """Yield the pages that were read: among their rows are all those that were found to be missing.

        Args:
            total_items: How many patients the source held when it last said so.

        Raises:
            RepeatedIdError: Ranks of the source say nothing.
        """
        # from the end: who was created since the last page was read is there
        page = self.scanner.read_last(BY_ID, total_items)
        yield page
        ranks = self._rank(page)
        if page.offset == 0:
            self._settle([*ranks], None, None)
            return
        first = min(ranks, default=None)
        if first is not None:
            self._settle([*ranks], first - 1, None)
        # and anywhere, whether the numbers agree or not
        anywhere = randrange(page.offset)  # noqa: S311  # not a secret
        intervals = yield from self._split(Interval(None, -1, first, page.offset), anywhere)
        while intervals:
            interval = intervals.pop()
            between = interval.high_rank - interval.low_rank - 1
            if between == self.expected.count_between(interval.low, interval.high):
                continue
            if between > 0:
                middle = interval.low_rank + 1 + max((between - self.scanner.page_length) // 2, 0)
                intervals += yield from self._split(interval, middle)
            else:
                self._settle([], interval.low, interval.high)

    def _split(self, interval: Interval, offset: int) -> Generator[Page, None, list[Interval]]:
        """Yield the page at an offset; return what it leaves of an interval: nothing if it has moved out of there."""
        page = self.scanner.read_page(BY_ID, offset)
        yield page
        ranks = self._rank(page)
        low, high = interval.low, interval.high
        ids = [each for each in ranks if (low is None or low < each) and (high is None or each < high)]
        if not ids:
            return []
        self._settle(ids, ids[0] - 1, ids[-1] + 1)
        return [
            Interval(low, interval.low_rank, ids[0], ranks[ids[0]]),
            Interval(ids[-1], ranks[ids[-1]], high, interval.high_rank),
        ]

    def _rank(self, page: Page) -> dict[int, int]:
        """Return the rank of each id on a page, ascending."""
        ranked = [(each, page.offset + place) for place, row in enumerate(page.rows) for each in list_ids([row])]
        for (one, _), (other, _) in pairwise(ranked):
            if one == other:
                raise RepeatedIdError(one)
            if one > other:
                raise FatalAPIError(f"The API does not keep the order it was asked for ({BY_ID.field})")
        return dict(ranked)

    def _settle(self, shown: list[int], low: int | None, high: int | None) -> None:
        """Take note of all ids that the source showed after one id and before another."""
        between = self.expected.select_between(low, high)
        self.absent.update(between - KnownIds(shown))
        self.expected.discard(between)
        self.expected.update(shown)
