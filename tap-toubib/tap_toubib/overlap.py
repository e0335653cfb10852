"""Whether two neighbouring pages are contiguous.

Every page is a query of its own on a collection that moves: a row removed in front of a boundary pulls the next one
across it, where no page shows it. So pages overlap, and each must prove that it begins no later than the one before it
ended, in the order asked for.

An example, pages of 5 rows, the one at offset 10, descending:

    offset         10 11 12 13 14
    by id           9  8  7  6  5   The next page begins at 14, with the row that ended this one, and proves so by an id
                                    of 5 or more.
    by updated_at   9  8  7  7  7   Equal values have no order that lasts until the next request: the row at 12 may be
                                    behind 14 by then, and one from behind at 12. So the next page must hold all of
                                    them: it begins at 11, and proves so by a value above 7 (`is_exclusive`).
    by updated_at   8  7  7  7  7   No page holds all of them and the row in front of them. The next begins at 14, any
                                    value from 7 on is contiguous, and a row may be in neither page (`is_tied`): `Ties`
                                    counts whether that happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tap_toubib.columns import PRIMARY_KEY
from tap_toubib.plan import Order
from tap_toubib.records import Page, Record, Rejected, list_ids


@dataclass(frozen=True)
class End:
    """Where a page ended.

    Attributes:
        offset: Where the next page has to begin at the latest, if nothing has moved.
        value: The value of the sort field there, or None.
        page: The page; one without rows if an earlier run read it.
        is_exclusive: Whether the next page must begin before that value, and not at it.
        is_tied: Whether contiguous pages can leave out a row of that value all the same.
    """

    offset: int
    value: Any
    page: Page
    is_exclusive: bool = False
    is_tied: bool = False

    def is_beyond(self, other: End, order: Order) -> bool:
        """Return whether it is further on in the collection than another end."""
        if self.value == other.value:
            return not order.is_unique and self.offset > other.offset
        if _is_comparable(self.value, other.value, order):
            return bool(self.value > other.value if order.direction == "asc" else self.value < other.value)
        return self.offset > other.offset


def is_sorted(page: Page, order: Order) -> bool:
    """Return whether a page is in order, as far as its values can be compared."""
    values: list[Any] = list_ids(page.rows) if order.field == PRIMARY_KEY else []
    if order.is_instant:
        # by seconds: text with and without decimals, in which services may sort, does not sort as instants do
        values = [record[order.field][:19] for record in page.records if record.get(order.field)]
    return values == sorted(values, reverse=order.direction == "desc")


def find_end(page: Page, order: Order) -> End:
    """Return the end of a page in its order."""
    values = [None if isinstance(row, Rejected) else row.get(order.field) for row in page.rows]
    value = page.records[-1].get(order.field) if page.records else None
    last = page.offset + max(len(page.rows) - 1, 1)
    if value is None or order.is_unique:
        return End(last, value, page)
    before = values.index(value) - 1
    if before < 1:
        return End(last, value, page, is_tied=True)
    return End(page.offset + before, value, page, is_exclusive=True)


def is_contiguous(end: End, page: Page, order: Order) -> bool:
    """Return whether a page, other than the first of the collection, leaves no row out after an end."""
    if not page.rows:
        return False
    first = page.rows[0]
    if end.value is not None and not isinstance(first, Rejected):
        value: Any = first.get(order.field)
        if value == end.value:
            return not end.is_exclusive
        if value is None and any(record.get(order.field) for record in page.records):
            # rows without a value are in front of all others in this service
            return True
        if _is_comparable(value, end.value, order):
            return bool(value < end.value if order.direction == "asc" else value > end.value)
    # unchanged rows keep their order relative to each other
    return first in end.page.rows


def _is_comparable(value: object, other: object, order: Order) -> bool:
    # texts other than instants compare by rules of the service's database
    return type(value) is type(other) and (order.is_instant or not isinstance(value, str))


def remove_shown(page: Page, previous: Page) -> list[Record | Rejected]:
    """Return the rows of a page that the previous page did not show."""
    seen = {record[PRIMARY_KEY]: record for record in previous.records}
    return [
        row
        for row in page.rows
        if (row not in previous.rejected if isinstance(row, Rejected) else row != seen.get(row[PRIMARY_KEY]))
    ]


@dataclass
class Ties:
    """Finds out whether rows of one value changed places from page to page, so that no page showed some of them."""

    first_offset: int
    _is_tied: bool = False
    _seen: set[Any] = field(default_factory=set)
    _others: int = 0
    _read: int = 0

    def add(self, page: Page, end: End) -> None:
        """Count the rows of a page that the previous page did not show."""
        self._is_tied = self._is_tied or end.is_tied
        ids = {record[PRIMARY_KEY] for record in page.records}
        self._seen |= ids
        # a page is a view of one moment: a patient on two of its rows is listed twice
        self._others += len(page.rows) - len(ids)
        self._read = end.page.offset + len(end.page.rows) - self.first_offset

    @property
    def has_hidden_rows(self) -> bool:
        """Whether the pages have covered more places than they have shown rows."""
        return self._is_tied and len(self._seen) + self._others < self._read
