"""What the source lacks of what was delivered, and the other way round, found by rank.

Sorted by id, the patient at rank k of the source can be compared with the one at rank k of those delivered. Between two
places where both are known, as many patients must lie on either side; where they do not, a page is read in the middle.
So a difference is found in about log2(patients / page size) requests, and neighbouring ones are found together.

Where as many patients vanished as appeared, the numbers agree: only a page that shows one of them tells. Therefore a
page is read at random, another one in each run.
"""

from __future__ import annotations

from random import randrange
from typing import TYPE_CHECKING, NamedTuple

from pyroaring import BitMap64
from singer_sdk.exceptions import FatalAPIError

from tap_toubib.known_ids import LARGEST_ID, ids_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tap_toubib.pagination import Scanner
    from tap_toubib.plan import Order
    from tap_toubib.records import Page


class Interval(NamedTuple):
    """What lies between two patients, by their ids and their ranks."""

    low: int
    low_rank: int
    high: int
    high_rank: int


class RankComparison:
    """Compares the source with the ids delivered.

    Attributes:
        gone: Ids that were delivered and that the source did not show where they would be. Whether they are gone for
            good is another question: the collection may have moved while it was read.
    """

    def __init__(self, scanner: Scanner, order: Order, delivered: BitMap64) -> None:
        """Prepare for comparing.

        Args:
            scanner: Reads the pages.
            order: By id, ascending.
            delivered: The ids; left as they are.
        """
        self._scanner = scanner
        self._order = order
        self._expected = delivered.copy()
        self.gone = BitMap64()

    def pages(self, total_items: int) -> Iterator[Page]:
        """Yield the pages that were read: among their rows are all those that were found to be missing.

        Args:
            total_items: How many patients the source held when it last said so.

        Raises:
            FatalAPIError: The service refused a request, or does not keep the order.
            RetriableAPIError: The service gave no usable answer, however often it was asked.
        """
        # from the end: who was created since the last page was read is there
        page = self._scanner.read_last(self._order, total_items)
        yield page
        ranks = self._ranks(page)
        begin = 0 if page.offset == 0 else min(ranks, default=LARGEST_ID + 1)
        self._settle([*ranks], begin, LARGEST_ID + 1)
        intervals = [Interval(-1, -1, begin, page.offset)]
        if page.offset:
            # and anywhere, whether the numbers agree or not
            intervals = yield from self._split(intervals[0], randrange(page.offset))  # noqa: S311  # no secret
        while intervals:
            interval = intervals.pop()
            between = interval.high_rank - interval.low_rank - 1
            if between == self._expected.range_cardinality(interval.low + 1, interval.high):
                continue
            if between > 0:
                middle = interval.low_rank + 1 + max((between - self._scanner.page_size) // 2, 0)
                intervals += yield from self._split(interval, middle)
            else:
                self._settle([], interval.low + 1, interval.high)

    def _split(self, interval: Interval, offset: int) -> Generator[Page, None, list[Interval]]:
        """Yield the page at an offset; return what it leaves of an interval: nothing if it has moved out of there."""
        page = self._scanner.read_page(self._order, offset)
        yield page
        ranks = self._ranks(page)
        ids = [each for each in ranks if interval.low < each < interval.high]
        if not ids:
            return []
        self._settle(ids, ids[0], ids[-1] + 1)
        return [
            Interval(interval.low, interval.low_rank, ids[0], ranks[ids[0]]),
            Interval(ids[-1], ranks[ids[-1]], interval.high, interval.high_rank),
        ]

    def _ranks(self, page: Page) -> dict[int, int]:
        """Return the rank of each id on a page, ascending."""
        ranked = [(each, page.offset + place) for place, row in enumerate(page.rows) for each in ids_of([row])]
        ranks = dict(ranked)
        if ranked != sorted(ranks.items()):
            raise FatalAPIError(f"The API does not keep the order it was asked for ({self._order.field})")
        return ranks

    def _settle(self, shown: list[int], begin: int, end: int) -> None:
        """Take note of all ids that the source showed from one id to before another."""
        before = self._expected.range_cardinality(0, begin)
        expected = self._expected[before : before + self._expected.range_cardinality(begin, end)]
        self.gone |= expected - BitMap64(shown)
        self._expected -= expected
        self._expected |= BitMap64(shown)
