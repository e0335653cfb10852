"""Reading the collection page by page: pages overlap and are contiguous, and some are read ahead of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

from singer_sdk.exceptions import FatalAPIError

from tap_toubib.client import ToubibClient
from tap_toubib.overlap import End, find_end, is_contiguous, remove_shown
from tap_toubib.plan import Order
from tap_toubib.records import Page, PageDecoder, Rejected
from tap_toubib.values import now

MAX_SETBACKS = 20
"""How many pages may bring nothing new, or throw a scan back to the first one: a collection that moves causes a few."""


@dataclass
class Scanner:
    """Reads pages of patients from the API.

    Attributes:
        client: The connection.
        decoder: Decodes and checks the pages.
        page_size: How many patients to ask for in one request.
        max_parallel_requests: How many requests may be in flight at once.
    """

    client: ToubibClient
    decoder: PageDecoder
    page_size: int
    max_parallel_requests: int
    _longest: int = 0

    @property
    def page_length(self) -> int:
        """How many patients a page holds: as many as are asked for, unless the service gives fewer."""
        # pages that overlap have two rows at least
        return max(self._longest, 2) if self._longest else self.page_size

    def read_page(self, order: Order, offset: int = 0) -> Page:
        """Return the page at an offset of the collection in an order."""
        place = {"offset": offset, "limit": self.page_size}
        params = place | {"sort_field": order.field, "sort_dir": order.direction}
        page = self.client.get_patients(params, self.decoder.decode)
        if offset + len(page.rows) < page.total_items:
            self._longest = max(self._longest, len(page.rows))
        return replace(page, offset=offset, read_at=now())

    def read_last(self, order: Order, total_items: int) -> Page:
        """Return the page that ends the collection.

        Args:
            order: The order.
            total_items: How many patients it held when it last said so.
        """
        offset = max(total_items - self.page_length + 1, 0)
        for _ in range(MAX_SETBACKS):
            page = self.read_page(order, offset)
            if not page.rows and offset:
                offset = max(min(page.total_items, offset) - self.page_length + 1, 0)
            elif self._is_last(page) or len(page.rows) == 1 or not page.rows:
                return page
            elif len(page.rows) < self.page_length:
                # the total is of another moment, or wrong
                offset += len(page.rows) - 1
            else:
                offset = max(offset + len(page.rows) - 1, page.total_items - self.page_length + 1)
        raise FatalAPIError("No page of the API ends the collection: it ignores `offset`, or `total_items` is wrong")

    def read_newest(self, order: Order) -> Page:
        """Return the page with which the instants of a newest-first order begin: the first one, as a rule.

        Some databases put rows without an instant in front of all others. Where those end is found by bisection.
        """
        page = self.read_page(order)
        low, high = 0, page.total_items
        while True:
            # an unloadable record may be of either kind: to begin too early leaves nothing out
            instants = [isinstance(row, Rejected) or row.get(order.field) for row in page.rows]
            if not instants or instants[0]:
                if page.offset == 0:
                    return page
                high = page.offset
                low = low if low < high else 0
            elif instants[-1] or self._is_last(page):
                return page
            else:
                low = page.offset + max(len(page.rows) - 1, 1)
            # where the instants began may have moved back
            page = self.read_page(order, max(low, (low + high) // 2))

    def read_pages(
        self, order: Order, *, first: Page | None = None, after: End | None = None, to_the_end: bool = True
    ) -> Iterator[tuple[Page, End]]:
        """Yield the pages of the collection in an order, each without the rows of the one before it.

        A patient that stays where it is in the order while it is read is in one of them, whatever happens to others.

        Args:
            order: The order.
            first: The first page, if it was read already.
            after: The end of the last page that needs not be read again.
            to_the_end: Whether all pages will be wanted; if not, one at most is read in vain.

        Yields:
            A page, and where it ended.
        """
        overlap = 1 if order.is_unique else 2
        parallel = self.max_parallel_requests if to_the_end else min(2, self.max_parallel_requests)
        with ReadAhead(lambda offset: self.read_page(order, offset), parallel) as ahead:
            end = after
            page = first or ahead.read(after.offset if after else 0)
            setbacks = 0
            while True:
                if end:
                    page = self._read_contiguous(end, page, order, ahead)
                fresh = replace(page, rows=remove_shown(page, end.page)) if end else page
                setbacks += end is not None and (page.offset == 0 or not fresh.rows)
                if setbacks > MAX_SETBACKS:
                    raise FatalAPIError(
                        f"The API does not keep the order it was asked for ({order.field}): pages are not contiguous"
                    )
                end = find_end(page, order)
                yield fresh, end
                if not page.rows or self._is_last(page):
                    return
                ahead.expect(step=max(len(page.rows) - overlap, 1), total_items=page.total_items)
                page = ahead.read(end.offset)

    def _is_last(self, page: Page) -> bool:
        # a full page may hide another row: the total may have been counted before a row came in front of the others
        return page.offset + len(page.rows) >= page.total_items and len(page.rows) != self.page_length

    def _read_contiguous(self, end: End, page: Page, order: Order, ahead: ReadAhead) -> Page:
        """Return a page that is contiguous with an end: this one, or one from further back."""
        back = max(self.page_length // 2, 1)
        while page.offset > 0 and not is_contiguous(end, page, order):
            page = ahead.read(max(0, min(page.offset, end.offset) - back))
            back *= 2
        return page


class ReadAhead:
    """Reads pages, the more of them ahead of time the longer it goes on: a small run wastes no request."""

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
        # what nobody asked for is not waited for
        self._executor.shutdown(wait=True, cancel_futures=True)

    def expect(self, *, step: int, total_items: int) -> None:
        """Say how far apart the next pages are, and where they end."""
        self._step, self._total_items = step, total_items

    def read(self, offset: int) -> Page:
        """Return the page at an offset, or one that was read ahead and begins shortly before it."""
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
