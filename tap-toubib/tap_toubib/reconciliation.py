"""Who was deleted from the source, and who was missed so far.

Sorted by id, the patient at rank k of the source can be compared with the one at rank k of the known ids. Between two
patients of whom both ranks are known, as many must lie in the source as among the known ids; where they do not, a page
is read in the middle. So a difference is found in about log2(patients / page size) requests, and neighbouring ones are
found together.

Where as many patients were deleted as were missed, the numbers agree: only a page that shows one of them tells.
Therefore a page is read at random, another one in each run.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from random import randrange
from typing import Any, NamedTuple

from singer_sdk.exceptions import FatalAPIError

from tap_toubib.audit import Audit
from tap_toubib.client import ToubibClient
from tap_toubib.columns import CREATED_AT, DELETED_AT, PRIMARY_KEY
from tap_toubib.known_ids import KnownIds, ids_of
from tap_toubib.pagination import Scanner
from tap_toubib.plan import Order
from tap_toubib.records import Page
from tap_toubib.values import to_utc


class Reconciliation:
    """Compares the known ids with the source at the end of a run."""

    def __init__(
        self,
        client: ToubibClient,
        known: KnownIds,
        audit: Audit,
        config: Mapping[str, Any],
        logger: logging.Logger,
    ) -> None:
        """Compare nothing yet.

        Args:
            client: Confirms deletions.
            known: The ids of all patients delivered so far.
            audit: Takes note of what is found.
            config: The settings of the tap.
            logger: Is told where ranks cannot be compared.
        """
        self._client = client
        self._known = known
        self._audit = audit
        self._config = config
        self._logger = logger

    def check_deletion_limit(self, deletions: int) -> None:
        """End the run if it would delete more patients than a sound source loses from one run to the next.

        Raises:
            FatalAPIError: They are more than `max_deleted_percent`.
        """
        percent = self._config["max_deleted_percent"]
        allowed = max(len(self._known) * percent / 100, 1 if self._audit.total_items_after else 0)
        if deletions > allowed:
            raise FatalAPIError(
                f"{deletions} of {len(self._known)} patients are not in the source any more, and max_deleted_percent "
                f"allows {percent} %: none was marked as deleted. If they were deleted for good, set "
                "TAP_TOUBIB_MAX_DELETED_PERCENT=100 for one run; if the source is incomplete, complete it first"
            )

    def read_missed(self, scanner: Scanner, order: Order, opened_at: str | None) -> Iterator[Page]:
        """Yield pages of patients that were missed so far, then tombstones, both found by rank.

        Args:
            scanner: Reads the pages.
            order: By id, ascending.
            opened_at: The newest change that the source showed as the run began: who was created since was not missed.
                None if the source does not tell when a patient was created.
        """
        self.check_deletion_limit(len(self._known) - self._audit.total_items_after)
        comparison = RankComparison(scanner, order, self._known)
        try:
            for page in comparison.read_pages(self._audit.total_items_after):
                self.check_deletion_limit(len(comparison.absent))
                missed = [row for row in page.rows if any(each not in self._known for each in ids_of([row]))]
                page = replace(page, rows=missed)  # noqa: PLW2901
                if not opened_at:
                    self._audit.recovered += len(page.records)
                else:
                    self._audit.recovered += sum((each.get(CREATED_AT) or "") <= opened_at for each in page.records)
                yield page
        except RepeatedIdError as error:
            self._logger.warning(
                "The API lists the patient of id %s on more than one row: its ranks say nothing, so deletions are "
                "found by a full refresh only",
                error,
            )
        yield from self.read_tombstones(comparison.absent)

    def read_tombstones(self, absent: KnownIds) -> Iterator[Page]:
        """Yield a tombstone for each of those patients that the source confirms to be deleted."""
        self.check_deletion_limit(len(absent))
        with ThreadPoolExecutor(self._config["max_parallel_requests"]) as executor:
            for patient, is_deleted in zip(absent, executor.map(self._client.is_deleted, absent), strict=True):
                if is_deleted:
                    self._audit.deleted += 1
                    now = to_utc(datetime.now(UTC))
                    tombstone = {PRIMARY_KEY: patient, DELETED_AT: now}
                    yield Page([tombstone], self._audit.total_items_after, read_at=now)


class RepeatedIdError(Exception):
    """An id stands on more than one row of the source."""


class Interval(NamedTuple):
    """What lies between two patients, by their ids (None: no bound) and their ranks."""

    low: int | None
    low_rank: int
    high: int | None
    high_rank: int


class RankComparison:
    """Compares the source with known ids.

    Attributes:
        absent: Known ids that the source did not show where they would be. Whether they are deleted is another
            question: the collection may have moved while it was read.
    """

    def __init__(self, scanner: Scanner, order: Order, known: KnownIds) -> None:
        """Compare nothing yet.

        Args:
            scanner: Reads the pages.
            order: By id, ascending.
            known: The ids; left as they are.
        """
        self._scanner = scanner
        self._order = order
        self._expected = known.copy()
        self.absent = KnownIds()

    def read_pages(self, total_items: int) -> Iterator[Page]:
        """Yield the pages that were read: among their rows are all those that were found to be missing.

        Args:
            total_items: How many patients the source held when it last said so.

        Raises:
            RepeatedIdError: Ranks of the source cannot be compared.
        """
        # from the end: who was created since the last page was read is there
        page = self._scanner.read_last(self._order, total_items)
        yield page
        ranks = self._ranks(page)
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
            if between == self._expected.count_between(interval.low, interval.high):
                continue
            if between > 0:
                middle = interval.low_rank + 1 + max((between - self._scanner.page_length) // 2, 0)
                intervals += yield from self._split(interval, middle)
            else:
                self._settle([], interval.low, interval.high)

    def _split(self, interval: Interval, offset: int) -> Generator[Page, None, list[Interval]]:
        """Yield the page at an offset; return what it leaves of an interval: nothing if it has moved out of there."""
        page = self._scanner.read_page(self._order, offset)
        yield page
        ranks = self._ranks(page)
        low, high = interval.low, interval.high
        ids = [each for each in ranks if (low is None or low < each) and (high is None or each < high)]
        if not ids:
            return []
        self._settle(ids, ids[0] - 1, ids[-1] + 1)
        return [
            Interval(low, interval.low_rank, ids[0], ranks[ids[0]]),
            Interval(ids[-1], ranks[ids[-1]], high, interval.high_rank),
        ]

    def _ranks(self, page: Page) -> dict[int, int]:
        """Return the rank of each id on a page, ascending."""
        ranked = [(each, page.offset + place) for place, row in enumerate(page.rows) for each in ids_of([row])]
        for (one, _), (other, _) in pairwise(ranked):
            if one == other:
                raise RepeatedIdError(one)
            if one > other:
                raise FatalAPIError(f"The API does not keep the order it was asked for ({self._order.field})")
        return dict(ranked)

    def _settle(self, shown: list[int], low: int | None, high: int | None) -> None:
        """Take note of all ids that the source showed after one id and before another."""
        expected = self._expected.between(low, high)
        self.absent.update(expected - KnownIds(shown))
        self._expected.discard(expected)
        self._expected.update(shown)
