"""Which patients of a newest-first order changed since an instant, and where the search for them ends."""

from __future__ import annotations

from tap_toubib.columns import CREATED_AT, UPDATED_AT
from tap_toubib.plan import Order
from tap_toubib.records import Page, Record


def is_change(record: Record, order: Order, floor: str) -> bool:
    """Tell whether a patient changed since an instant; one is looked for by creation only if it was never updated."""
    if order.field == CREATED_AT and record.get(UPDATED_AT):
        return False
    instant: str | None = record.get(order.field)
    return instant is not None and instant >= floor


def is_past(page: Page, order: Order, floor: str) -> bool:
    """Tell whether no patient behind a page of a newest-first order can have changed since an instant."""
    instants = [record.get(order.field) for record in page.records]
    if instants and instants[-1]:
        return bool(instants[-1] < floor)
    # behind those with an instant come those without one, if they did not come before
    return any(instants)
