"""The orders in which a run reads the collection. They depend on the fields that the API can sort by."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tap_toubib.columns import CREATED_AT, PRIMARY_KEY, UPDATED_AT
from tap_toubib.discovery import Capabilities
from tap_toubib.records import Page, Record

EMAIL = "email"
DEFAULT_SORT_FIELD = "last_name"


@dataclass(frozen=True)
class Order:
    """An order of the collection.

    Attributes:
        field: The column that patients are sorted by.
        direction: `asc` or `desc`.
        is_instant: Whether the field holds instants. As text they sort in the same order.
    """

    field: str
    direction: str = "asc"
    is_instant: bool = False

    @property
    def is_unique(self) -> bool:
        """Whether no two patients share a value: rows of equal value can change places between requests."""
        return self.field in {PRIMARY_KEY, EMAIL}

    def is_changed(self, record: Record, since: str) -> bool:
        """Return whether a patient changed since an instant. Creation counts only without an update."""
        if self.field == CREATED_AT and record.get(UPDATED_AT):
            return False
        instant: str | None = record.get(self.field)
        return instant is not None and instant >= since

    def is_past(self, page: Page, since: str) -> bool:
        """Return whether no patient after this page, newest first, can have changed since an instant."""
        instants = [record.get(self.field) for record in page.records]
        if instants and instants[-1]:
            return bool(instants[-1] < since)
        # databases sort nulls either last or first
        return any(instants)


BY_ID = Order(PRIMARY_KEY)


@dataclass(frozen=True)
class Plan:
    """The orders of a run.

    Attributes:
        load: For reading everything: the order with the fewest equal values, in which changes move the fewest patients.
        changes: For reading changes, newest first, back to the bookmark; empty if the API cannot sort by change.
    """

    load: Order
    changes: tuple[Order, ...]

    @property
    def is_by_id(self) -> bool:
        """Whether everything is read by id. In this order, patients keep their offsets between runs."""
        return self.load == BY_ID


def make_plan(api: Capabilities) -> Plan:
    """Return the plan for an API."""
    columns = api.schema["properties"].keys() & api.sortable
    by_update = Order(UPDATED_AT, "desc", is_instant=UPDATED_AT in api.instants)
    by_creation = Order(CREATED_AT, is_instant=CREATED_AT in api.instants)
    any_other = Order(min(columns or api.sortable, default=DEFAULT_SORT_FIELD))
    orders = (BY_ID, Order(EMAIL), by_creation, by_update)
    load = next((order for order in orders if order.field in columns), any_other)
    if UPDATED_AT not in columns & api.instants:
        return Plan(load, ())
    if UPDATED_AT not in api.nullable:
        return Plan(load, (by_update,))
    # a patient that was never updated has no `updated_at`, but it has a `created_at`
    if CREATED_AT in columns & api.instants:
        return Plan(load, (by_update, replace(by_creation, direction="desc")))
    return Plan(load, ())
