"""Read the collection page by page. Pages overlap and are contiguous, and some are read ahead.

`total_items` is only a hint of where the collection ends; the pages decide. Every scan ends, whatever the service
answers: with few exceptions, each page must end further on than the pages before it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

from singer_sdk.exceptions import FatalAPIError

from tap_toubib.client import ToubibClient
from tap_toubib.overlap import End, find_end, is_contiguous, is_sorted, remove_shown
from tap_toubib.plan import Order
from tap_toubib.records import Page, PageDecoder, Rejected
from tap_toubib.values import now

MAX_SETBACKS = 10
"""Pages of a scan that may end no further on, on top of a quarter of its pages; a changing collection causes a few."""

MAX_HOLES = 2
"""Pages of a scan that may be empty at the end of the page before; a shrinking collection causes one."""

STUCK = "The API's pages are not contiguous: it ignores `offset` or `sort_field`, or gives one patient a page"

logger = logging.getLogger("tap-toubib.pagination")


class WindowError(FatalAPIError):
    """The API shows only a part of the collection."""


@dataclass
class Scanner:
    """Reads pages of patients from the API."""

    client: ToubibClient
    decoder: PageDecoder
    page_size: int
    max_parallel_requests: int
    _longest: int = 0
    _has_warned: bool = False

    @property
    def page_length(self) -> int:
        """The rows of a full page: as many as were asked for, unless the service gives fewer."""
        # overlapping pages have at least two rows
        return max(self._longest, 2) if self._longest else self.page_size

    def read_page(self, order: Order, offset: int = 0) -> Page:
        """Return the page at an offset."""
        place = {"offset": offset, "limit": self.page_size}
        params = place | {"sort_field": order.field, "sort_dir": order.direction}
        page = self.client.get_patients(params, self.decoder.decode)
        page = replace(page, offset=offset, read_at=now())
        if not is_sorted(page, order):
            raise FatalAPIError(f"The API does not keep the order it was asked for ({order.field})")
        if page.end < page.total_items:
            self._longest = max(self._longest, len(page.rows))
        return page

    def read_near_end(self, order: Order, expected: int) -> Page:
        """Return the page at the end of a collection of so many patients; if it is empty, the last page with rows."""
        offset = max(expected - self.page_length + 1, 0)
        page = self.read_page(order, offset)
        if page.rows or offset == 0:
            return page
        return self._bisect(order, offset, lambda page: bool(page.rows))

    def read_newest(self, order: Order) -> Page:
        """Return the page on which the instants of a newest-first order begin, usually the first of all.

        Some databases sort nulls first. There, the page begins with a null.
        """
        page = self.read_page(order)
        if not _begins_with_null(page, order):
            return page
        page, back = self._bisect(order, page.total_items, lambda page: _begins_with_null(page, order)), 1
        # patients in front can have been deleted during the search
        while page.offset > 0 and not _begins_with_null(page, order):
            page, back = self.read_page(order, max(page.offset - back * self.page_length, 0)), back * 2
        return page

    def _bisect(self, order: Order, high: int, is_before: Callable[[Page], bool]) -> Page:
        """Return a page that holds the last offset at which a page `is_before`; at `high`, none is."""
        low = 0
        while high - low >= self.page_length:
            middle = (low + high) // 2
            low, high = (middle, high) if is_before(self.read_page(order, middle)) else (low, middle)
        return self.read_page(order, low)

    def read_pages(
        self, order: Order, *, first: Page | None = None, after: End | None = None, to_the_end: bool = True
    ) -> Generator[tuple[Page, End]]:
        """Yield the pages of the collection in an order, each without the rows of the page before, and their ends.

        A patient that keeps its place in the order is on one of them, whatever happens to the others.

        Args:
            order: The order.
            first: The first page, if it was read already.
            after: The end of the last page that an earlier run read.
            to_the_end: Whether the caller will read all pages; otherwise at most one page is read in vain.
        """
        overlap = 1 if order.is_unique else 2
        parallel = self.max_parallel_requests if to_the_end else min(2, self.max_parallel_requests)
        with ReadAhead(lambda offset: self.read_page(order, offset), parallel) as ahead:
            end = furthest = after
            holes = setbacks = progress = 0
            page = first or ahead.read(after.offset if after else 0)
            while True:
                previous = end
                if previous:
                    holes += not page.rows
                    if holes > MAX_HOLES:
                        raise WindowError(
                            f"The API shows no patients at offset {page.offset}, although it has more (it counts "
                            f"{page.total_items}): the rest is out of reach until that limit of the service is raised. "
                            "What was read before is kept"
                        )
                    page = self._read_contiguous(previous, page, order, ahead)
                fresh = replace(page, rows=remove_shown(page, previous.page)) if previous else page
                end = find_end(page, order)
                if previous and (page.offset == 0 or not fresh.rows or not end.is_beyond(previous, order)):
                    setbacks += 1
                    if setbacks > MAX_SETBACKS + progress // 4:
                        raise FatalAPIError(STUCK)
                elif furthest is None or end.is_beyond(furthest, order):
                    furthest, progress = end, progress + 1
                yield fresh, end
                if not page.rows or self._is_last(page, order):
                    self._warn_of_total(page)
                    return
                ahead.expect(step=max(len(page.rows) - overlap, 1), total_items=page.total_items)
                page = ahead.read(end.offset)

    def _read_contiguous(self, end: End, page: Page, order: Order, ahead: ReadAhead) -> Page:
        """Return this page if it is contiguous with an end, otherwise a contiguous page from further back."""
        back = max(self.page_length // 2, 1)
        while page.offset > 0 and not is_contiguous(end, page, order):
            page = ahead.read(max(0, min(page.offset, end.offset) - back))
            back *= 2
        return page

    def _is_last(self, page: Page, order: Order) -> bool:
        # a full page is never taken for the last one: the total may be older than a row inserted in front
        if len(page.rows) >= self.page_length:
            return False
        return page.end == page.total_items or not self.read_page(order, page.end).rows

    def _warn_of_total(self, last: Page) -> None:
        if last.end != last.total_items and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "The API says that it has %d patients, and its pages end after %d: what the pages show counts",
                last.total_items,
                last.end,
            )


def _begins_with_null(page: Page, order: Order) -> bool:
    # a rejected record counts as one with an instant: beginning too early misses nothing
    return bool(page.rows) and not isinstance(page.rows[0], Rejected) and not page.rows[0].get(order.field)


class ReadAhead:
    """Reads pages ahead, more of them the longer a scan takes, so that a small run wastes no request."""

    def __init__(self, read_page: Callable[[int], Page], max_parallel_requests: int) -> None:
        self._read_page = read_page
        self._executor = ThreadPoolExecutor(max_parallel_requests)
        self._max_parallel_requests = max_parallel_requests
        self._parallel = 1
        self._pages: dict[int, Future[Page]] = {}
        self._step = 0
        self._total_items = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # wait for requests in flight, drop the others
        self._executor.shutdown(wait=True, cancel_futures=True)

    def expect(self, *, step: int, total_items: int) -> None:
        """Set the distance between the next pages, and the expected end of the collection."""
        self._step, self._total_items = step, total_items

    def read(self, offset: int) -> Page:
        """Return the page at an offset, or a page read ahead that begins shortly before it."""
        begin = max((ready for ready in self._pages if offset - self._step // 2 <= ready <= offset), default=offset)
        page = self._pages.pop(begin, None) or self._executor.submit(self._read_page, begin)
        for passed in [ready for ready in self._pages if ready <= begin]:
            self._pages.pop(passed).cancel()
        following = max([begin, *self._pages]) + self._step
        while len(self._pages) < self._parallel - 1 and following < self._total_items:
            self._pages[following] = self._executor.submit(self._read_page, following)
            following += self._step
        self._parallel = min(self._parallel + 1, self._max_parallel_requests)
        return page.result()
