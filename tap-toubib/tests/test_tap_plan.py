from __future__ import annotations

import pytest

from tap_toubib.discovery import read_document
from tap_toubib.plan import Order, Plan, make_plan
from tap_toubib.testing import TEXT, Row, openapi

NEWEST_UPDATED = Order("updated_at", "desc", is_instant=True)
CREATED = Order("created_at", is_instant=True)
NEWEST_CREATED = Order("created_at", "desc", is_instant=True)


@pytest.mark.parametrize(
    ("sortable", "nullable", "plan"),
    [
        (("id", "updated_at"), (), Plan(Order("id"), (NEWEST_UPDATED,))),
        (("id", "created_at", "updated_at"), (), Plan(Order("id"), (NEWEST_UPDATED,))),
        (("created_at", "updated_at"), (), Plan(CREATED, (NEWEST_UPDATED,))),
        (("email", "created_at", "updated_at"), (), Plan(Order("email"), (NEWEST_UPDATED,))),
        (("updated_at",), (), Plan(NEWEST_UPDATED, (NEWEST_UPDATED,))),
        (("id", "created_at"), (), Plan(Order("id"), ())),
        (("created_at",), (), Plan(CREATED, ())),
        (("last_name",), (), Plan(Order("last_name"), ())),
        (("surname", "town"), (), Plan(Order("surname"), ())),
        ((), (), Plan(Order("last_name"), ())),
        (("id", "created_at", "updated_at"), ("updated_at",), Plan(Order("id"), (NEWEST_UPDATED, NEWEST_CREATED))),
        (("id", "updated_at"), ("updated_at",), Plan(Order("id"), ())),
    ],
    ids=str,
)
def test_orders_follow_from_the_sortable_fields(
    sortable: tuple[str, ...], nullable: tuple[str, ...], plan: Plan
) -> None:
    assert make_plan(read_document(openapi(*sortable, nullable=nullable, email=TEXT))) == plan


def test_field_that_patients_do_not_have_is_not_sorted_by() -> None:
    assert make_plan(read_document(openapi("id", "updated_at", without=("updated_at",)))) == Plan(Order("id"), ())


@pytest.mark.parametrize(
    "column", [{"type": "integer"}, {"type": "string"}, {"type": "string", "format": "date"}], ids=str
)
def test_only_what_the_document_calls_an_instant_shows_changes(column: Row) -> None:
    assert make_plan(read_document(openapi("id", "updated_at", updated_at=column))) == Plan(Order("id"), ())
    assert make_plan(read_document(openapi("created_at", created_at=column))) == Plan(Order("created_at"), ())
    nullable = openapi("id", "created_at", "updated_at", nullable=("updated_at",), created_at=column)
    assert make_plan(read_document(nullable)) == Plan(Order("id"), ())
