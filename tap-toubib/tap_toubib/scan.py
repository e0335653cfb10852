"""Reading the collection page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_toubib.client import ToubibClient
    from tap_toubib.plan import Order
    from tap_toubib.records import Page, PageDecoder


class Scanner:
    """Reads pages of patients from the API."""

    def __init__(self, client: ToubibClient, decoder: PageDecoder, page_size: int) -> None:
        """Prepare for reading.

        Args:
            client: The connection.
            decoder: Decodes and checks the pages.
            page_size: How many patients to ask for in one request.
        """
        self._client = client
        self._decoder = decoder
        self._page_size = page_size

    def read_page(self, order: Order | None, offset: int = 0) -> Page:
        """Return the page at an offset of the collection in an order; None is the service's own.

        Raises:
            FatalAPIError: The service refused the request.
            RetriableAPIError: The service gave no usable answer, however often it was asked.
        """
        params: dict[str, str | int] = {"offset": offset, "limit": self._page_size}
        if order:
            params |= {"sort_field": order.field, "sort_dir": order.direction}
        return self._client.get_patients(params, self._decoder.decode)

    def read_pages(self, order: Order | None, first: Page | None = None) -> Iterator[Page]:
        """Yield all pages of the collection in an order.

        Args:
            order: The order; None for the service's own.
            first: The first page, if it was read already.
        """
        page = first or self.read_page(order)
        offset = 0
        while page.size:
            yield page
            # by what came, not by what was asked for: a service may give less
            offset += page.size
            if offset >= page.total_items:
                break
            page = self.read_page(order, offset)
