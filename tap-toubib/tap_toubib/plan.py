"""Which orders a run reads the collection in; they follow from what the API can sort by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from tap_toubib.columns import CREATED_AT, PRIMARY_KEY, UPDATED_AT
from tap_toubib.discovery import Capabilities

EMAIL = "email"
DEFAULT_SORT_FIELD = "last_name"


@dataclass(frozen=True)
class Order:
    """An order of the collection.

    Attributes:
        field: What patients are sorted by.
        direction: `asc` or `desc`.
        is_instant: Whether the field holds instants, which sort as text in the same way.
    """

    field: str
    direction: str = "asc"
    is_instant: bool = False

    @property
    def is_unique(self) -> bool:
        """Whether no two patients have the same place: the order of others changes from one request to the next."""
        return self.field in {PRIMARY_KEY, EMAIL}


@dataclass(frozen=True)
class Plan:
    """The orders of a run.

    Attributes:
        load: For reading everything: the one that changes move least in, and ties hide least in.
        changes: For reading what changed, newest first, each until the bookmark; empty when the API cannot tell.
    """

    load: Order
    changes: tuple[Order, ...]

    @classmethod
    def of(cls, api: Capabilities) -> Self:
        """Return the plan for an API."""
        columns = api.schema["properties"].keys() & api.sortable
        by_update = Order(UPDATED_AT, "desc", is_instant=UPDATED_AT in api.instants)
        by_creation = Order(CREATED_AT, is_instant=CREATED_AT in api.instants)
        any_other = Order(min(columns or api.sortable, default=DEFAULT_SORT_FIELD))
        orders = (Order(PRIMARY_KEY), Order(EMAIL), by_creation, by_update)
        load = next((order for order in orders if order.field in columns), any_other)
        if UPDATED_AT not in columns & api.instants:
            return cls(load, ())
        if UPDATED_AT not in api.nullable:
            return cls(load, (by_update,))
        # a patient that was never updated may be without the one instant, but not without the other
        if CREATED_AT in columns & api.instants:
            return cls(load, (by_update, replace(by_creation, direction="desc")))
        return cls(load, ())
