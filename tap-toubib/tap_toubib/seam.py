"""Whether two neighbouring pages join.

Every page is a query of its own on a collection that moves: a row removed in front of a boundary pulls the next one
across it, where no page shows it. So pages overlap, and each must prove that it begins no later than the one before it
ended, in the order asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tap_toubib.negotiation import PRIMARY_KEY

if TYPE_CHECKING:
    from tap_toubib.plan import Order
    from tap_toubib.records import Page


@dataclass(frozen=True)
class End:
    """Where a page ended.

    Attributes:
        offset: Where the next page has to begin at the latest, if nothing has moved.
        value: What the sort field held there; None if that cannot be compared.
        before: Whether the next page must begin before that value, and not at it: rows of the same value have no order
            that lasts until the next request, so all of them must be in one page.
        ids: The patients of the page.
        tied: Whether that value fills the page, so that neighbours can join and leave out one of its rows all the same.
    """

    offset: int
    value: Any
    before: bool
    ids: frozenset[Any]
    tied: bool = False


def end_of(page: Page, order: Order | None) -> End:
    """Return where a page, which holds at least one record, ended in the order that it was asked for in."""
    ids = frozenset(record[PRIMARY_KEY] for record in page.records)
    last = page.offset + max(page.positions[-1], 1)
    values = [record.get(order.field) if order else None for record in page.records]
    if order is None or values[-1] is None or order.field == PRIMARY_KEY:
        return End(last, values[-1], before=False, ids=ids)
    before = page.positions[values.index(values[-1])] - 1
    if before < 1:
        # nearly a whole page of one value: no page holds all of them and begins before them
        return End(last, values[-1], before=False, ids=ids, tied=True)
    return End(page.offset + before, values[-1], before=True, ids=ids)


def joins(end: End, page: Page, order: Order | None) -> bool:
    """Tell whether a page that does not begin the collection leaves no row out after an end."""
    if not page.records or page.positions[0] > 0:
        # a page that begins with an unloadable record cannot tell; an empty one begins too late
        return page.size > 0
    first = page.records[0].get(order.field) if order else None
    if order is None or first is None or end.value is None:
        return any(record[PRIMARY_KEY] in end.ids for record in page.records)
    if first == end.value:
        return not end.before
    return bool(first < end.value if order.direction == "asc" else first > end.value)
