"""Check that neighbouring pages are contiguous.

Each page is a separate query on a changing collection. If a row in front of a page boundary is removed, the next row
moves across the boundary, and no page shows it. So pages overlap, and the values on each must prove that it begins no
later than the page before ended.

An example, pages of 5 rows, the one at offset 10, descending:

    offset         10 11 12 13 14
    by id           9  8  7  6  5   The next page begins at 14. It is contiguous if its first id is 5 or more.
    by updated_at   9  8  7  7  7   Rows of equal value can change places before the next request, such as 12 and 15.
                                    So the next page must hold all of them: it begins at 11, and is contiguous if its
                                    first value is above 7 (`is_exclusive`).
    by updated_at   8  7  7  7  7   No page holds all equal rows and the row in front of them. The next page begins at
                                    14, and is contiguous if its first value is 7 or more. A row can be missing from
                                    both pages (`is_tied`); `Ties` detects that.
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
        is_exclusive: Whether the next page must begin in front of that value.
        is_tied: Whether contiguous pages can still miss a row of that value.
    """

    offset: int
    value: Any
    page: Page
    is_exclusive: bool = False
    is_tied: bool = False

    def is_beyond(self, other: End, order: Order) -> bool:
        """Return whether this end is further on than another."""
        if self.value is not None and self.value == other.value:
            return not order.is_unique and self.offset > other.offset
        if self.value is None or not _is_comparable(self.value, other.value, order):
            return self.offset > other.offset
        return bool(self.value > other.value if order.direction == "asc" else self.value < other.value)


def is_sorted(page: Page, order: Order) -> bool:
    """Return whether a page is in order, as far as its values can be compared."""
    values: list[Any] = list_ids(page.rows) if order.field == PRIMARY_KEY else []
    if order.is_instant:
        # to the second: a service that sorts instants as text may order decimals differently
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
    """Return whether no row is missing between an end and a page (not the first of the collection)."""
    if not page.rows:
        return False
    first = page.rows[0]
    if end.value is not None and not isinstance(first, Rejected):
        value: Any = first.get(order.field)
        if value == end.value:
            return not end.is_exclusive
        if value is None and any(record.get(order.field) for record in page.records):
            # this service sorts nulls first
            return True
        if _is_comparable(value, end.value, order):
            return bool(value < end.value if order.direction == "asc" else value > end.value)
    # unchanged rows keep their order relative to each other
    return first in end.page.rows


def _is_comparable(value: object, other: object, order: Order) -> bool:
    # the collation of other texts is unknown
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
    """Detects rows that no page showed, since rows of equal value changed places between requests."""

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
        # a page is one snapshot: a patient on two of its rows did not move, but is listed twice
        self._others += len(page.rows) - len(ids)
        self._read = end.page.offset + len(end.page.rows) - self.first_offset

    @property
    def has_hidden_rows(self) -> bool:
        """Whether the pages covered more offsets than they showed rows."""
        return self._is_tied and len(self._seen) + self._others < self._read
