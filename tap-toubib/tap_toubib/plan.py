"""Which orders a run reads the collection in; they follow from what the API can sort by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tap_toubib.columns import CREATED_AT, PRIMARY_KEY, UPDATED_AT

if TYPE_CHECKING:
    from tap_toubib.discovery import Capabilities

EMAIL = "email"
DEFAULT_SORT_FIELD = "last_name"


@dataclass(frozen=True)
class Order:
    """An order of the collection."""

    field: str
    direction: str = "asc"

    @property
    def is_unique(self) -> bool:
        """Whether no two patients have the same place: the order of others changes from one request to the next."""
        return self.field in {PRIMARY_KEY, EMAIL}

    @property
    def is_instant(self) -> bool:
        """Whether it is one of instants, which compare as text, too."""
        return self.field in {CREATED_AT, UPDATED_AT}


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
        instants = {name for name in columns if api.schema["properties"][name].get("format") == "date-time"}
        orders = (Order(PRIMARY_KEY), Order(EMAIL), Order(CREATED_AT), Order(UPDATED_AT, "desc"))
        any_other = Order(min(columns or api.sortable, default=DEFAULT_SORT_FIELD))
        load = next((order for order in orders if order.field in columns), any_other)
        if UPDATED_AT not in instants:
            return cls(load, ())
        if UPDATED_AT not in api.nullable:
            return cls(load, (Order(UPDATED_AT, "desc"),))
        # a patient that was never updated may be without the one instant, but not without the other
        if CREATED_AT in instants:
            return cls(load, (Order(UPDATED_AT, "desc"), Order(CREATED_AT, "desc")))
        return cls(load, ())
