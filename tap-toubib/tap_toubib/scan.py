"""Reading the collection page by page, in overlapping pages that join, some of them ahead of time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from singer_sdk.exceptions import FatalAPIError

from tap_toubib.negotiation import PRIMARY_KEY
from tap_toubib.seam import end_of, joins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from tap_toubib.client import ToubibClient
    from tap_toubib.plan import Order
    from tap_toubib.records import Page, PageDecoder
    from tap_toubib.seam import End


MAX_RESTARTS = 5
"""How often a scan may be thrown back to the first page by a collection that moves."""


class Scanner:
    """Reads pages of patients from the API."""

    def __init__(self, client: ToubibClient, decoder: PageDecoder, page_size: int, max_parallel_requests: int) -> None:
        """Prepare for reading.

        Args:
            client: The connection.
            decoder: Decodes and checks the pages.
            page_size: How many patients to ask for in one request.
            max_parallel_requests: How many requests may be in flight at once.
        """
        self._client = client
        self._decoder = decoder
        self._page_size = page_size
        self._max_parallel_requests = max_parallel_requests

    def read_page(self, order: Order | None, offset: int = 0) -> Page:
        """Return the page at an offset of the collection in an order; None is the service's own.

        Raises:
            FatalAPIError: The service refused the request.
            RetriableAPIError: The service gave no usable answer, however often it was asked.
        """
        params: dict[str, str | int] = {"offset": offset, "limit": self._page_size}
        if order:
            params |= {"sort_field": order.field, "sort_dir": order.direction}
        return replace(self._client.get_patients(params, self._decoder.decode), offset=offset)

    def read_pages(
        self, order: Order | None, *, first: Page | None = None, after: End | None = None, to_the_end: bool = True
    ) -> Iterator[tuple[Page, End | None]]:
        """Yield the pages of the collection in an order, each without the records of the one before it.

        A patient that stays where it is in the order while it is read is in one of them, whatever happens to others.

        Args:
            order: The order; None for the service's own.
            first: The first page, if it was read already.
            after: The end of the last page that needs not be read again.
            to_the_end: Whether all pages will be wanted; if not, one at most is read in vain.

        Yields:
            A page, and where it ended; None if it holds no loadable record.

        Raises:
            FatalAPIError: The service refused a request.
            RetriableAPIError: The service gave no usable answer, however often it was asked.
        """
        overlap = 1 if order and order.field == PRIMARY_KEY else 2
        parallel = self._max_parallel_requests if to_the_end else min(2, self._max_parallel_requests)
        with ReadAhead(lambda offset: self.read_page(order, offset), parallel) as ahead:
            end = after
            page = first or ahead.read(after.offset if after else 0)
            previous: Page | None = None
            restarts = 0
            while True:
                page = self._join(end, page, order, ahead)
                restarts += bool(end) and page.offset == 0
                if restarts > MAX_RESTARTS:
                    by = order.field if order else "default"
                    raise FatalAPIError(f"The API does not keep the order it was asked for ({by}): pages do not join")
                end = end_of(page, order) if page.records else None
                yield without(previous, page), end
                previous = page
                if not page.size or self._is_last(page):
                    return
                ahead.expect(step=max(page.size - overlap, 1), total_items=page.total_items)
                page = ahead.read(end.offset if end else page.offset + page.size)

    def _is_last(self, page: Page) -> bool:
        # more rows than the total: the one was counted before the others were read, or is no count at all
        read = page.offset + page.size
        return read == page.total_items or (read > page.total_items and page.size < self._page_size)

    def _join(self, end: End | None, page: Page, order: Order | None, ahead: ReadAhead) -> Page:
        """Return a page that joins an end: this one, or one from further back."""
        back = max(self._page_size // 2, 1)
        while end and page.offset > 0 and not joins(end, page, order):
            page = ahead.read(max(0, min(page.offset, end.offset) - back))
            back *= 2
        return page


class ReadAhead:
    """Reads pages, the more of them ahead of time the longer it goes on: a small run wastes no request."""

    def __init__(self, read: Callable[[int], Page], max_parallel_requests: int) -> None:
        """Prepare for reading.

        Args:
            read: Reads the page at an offset.
            max_parallel_requests: How many pages may be read at once.
        """
        self._read = read
        self._executor = ThreadPoolExecutor(max_parallel_requests)
        self._max_parallel_requests = max_parallel_requests
        self._parallel = 1
        self._pages: dict[int, Future[Page]] = {}
        self._step = 0
        self._total_items = 0

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End; what was not asked for in earnest is not waited for."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def expect(self, *, step: int, total_items: int) -> None:
        """Say how far apart the next pages are, and where they end."""
        self._step, self._total_items = step, total_items

    def read(self, offset: int) -> Page:
        """Return the page at an offset, or one that was read ahead and begins shortly before it.

        Raises:
            FatalAPIError: The service refused the request.
            RetriableAPIError: The service gave no usable answer, however often it was asked.
        """
        begin = max((ready for ready in self._pages if offset - self._step // 2 <= ready <= offset), default=offset)
        page = self._pages.pop(begin, None) or self._executor.submit(self._read, begin)
        for passed in [ready for ready in self._pages if ready <= begin]:
            self._pages.pop(passed).cancel()
        following = max([begin, *self._pages]) + self._step
        while len(self._pages) < self._parallel - 1 and following < self._total_items:
            self._pages[following] = self._executor.submit(self._read, following)
            following += self._step
        self._parallel = min(self._parallel + 1, self._max_parallel_requests)
        return page.result()


def without(previous: Page | None, page: Page) -> Page:
    """Return a page without what the one before it showed already."""
    if previous is None:
        return page
    seen = {record[PRIMARY_KEY] for record in previous.records}
    kept = [
        (position, record)
        for position, record in zip(page.positions, page.records, strict=True)
        if record[PRIMARY_KEY] not in seen
    ]
    return replace(
        page,
        positions=[position for position, _ in kept],
        records=[record for _, record in kept],
        rejected=[rejected for rejected in page.rejected if rejected not in previous.rejected],
    )
