"""What the source lacks of what was delivered, and the other way round, found by rank.

Sorted by id, the patient at rank k of the source can be compared with the one at rank k of those delivered. Between two
places where both are known, as many patients must lie on either side; where they do not, a page is read in the middle.
So a difference is found in about log2(patients / page size) requests, and neighbouring ones are found together.

Where as many patients vanished as appeared, the numbers agree: only a page that shows one of them tells. Therefore a
page is read at random, another one in each run.
"""

from __future__ import annotations

from random import randrange
from typing import TYPE_CHECKING

from pyroaring import BitMap64

from tap_toubib.living import LARGEST_ID, ids_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_toubib.plan import Order
    from tap_toubib.records import Page
    from tap_toubib.scan import Scanner


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
            FatalAPIError: The service refused a request.
            RetriableAPIError: The service gave no usable answer, however often it was asked.
        """
        # from the end: who was created since the last page was read is there
        page = self._scanner.read_last(self._order, total_items)
        yield page
        ids = ids_of(page.rows)
        begin = ids[0] if ids and page.offset else 0
        self._settle(ids, begin, LARGEST_ID + 1)
        intervals = [(-1, -1, begin, page.offset)]
        # and anywhere, whether the numbers agree or not
        offset = randrange(page.offset) if page.offset else None  # noqa: S311  # no secret
        while intervals:
            low, low_rank, high, high_rank = intervals.pop()
            between = high_rank - low_rank - 1
            if between == self._expected.range_cardinality(low + 1, high) and offset is None:
                continue
            if between <= 0:
                self._settle([], low + 1, high)
                continue
            if offset is None:
                offset = low_rank + 1 + max((between - self._scanner.page_size) // 2, 0)
            page = self._scanner.read_page(self._order, offset)
            yield page
            ids = [each for each in ids_of(page.rows) if low < each < high]
            if ids:
                self._settle(ids, ids[0], ids[-1] + 1)
                rank = page.offset + ids_of(page.rows).index(ids[0])
                intervals += [(low, low_rank, ids[0], rank), (ids[-1], rank + len(ids) - 1, high, high_rank)]
            offset = None

    def _settle(self, shown: list[int], begin: int, end: int) -> None:
        """Take note of all ids that the source showed from one id to before another."""
        before = self._expected.range_cardinality(0, begin)
        expected = self._expected[before : before + self._expected.range_cardinality(begin, end)]
        self.gone |= expected - BitMap64(shown)
        self._expected -= expected
        self._expected |= BitMap64(shown)
