"""The JSON of a release, and its documentation."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, cast

from fastapi_sqla import Item, Page
from pydantic import AfterValidator, BaseModel, FiniteFloat, create_model

from toubib_api.release import STAMPS, TOTAL_VISITS, Column, Release


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


# SQLite keeps no offset, and JSON has no infinity.
_TYPES: dict[type, Any] = {datetime: Annotated[datetime, AfterValidator(_utc)], float: FiniteFloat}


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


@dataclass(frozen=True)
class Schemas:
    """The models of a release.

    Attributes:
        one: The answer that holds a patient.
        page: The answer that holds a page of patients.
        creation: A patient, as sent to be created or replaced.
        update: The columns of a patient to change; a column left out keeps its value.
        sort_field: The fields a list can be sorted by.
    """

    one: Any
    page: Any
    creation: type[BaseModel]
    update: type[BaseModel]
    sort_field: type[StrEnum]


def _type(column: Column) -> Any:
    base = _TYPES.get(column.type, column.type)
    return base | None if column.nullable else base


def _default(column: Column) -> Any:
    if column.name == TOTAL_VISITS.name:
        return 0
    return None if column.nullable else ...


def _model(name: str, fields: dict[str, Any]) -> type[BaseModel]:
    return create_model(name, **fields)


def schemas(release: Release) -> Schemas:
    """Build the models of a release."""
    columns = release.columns
    stamps = {column.name for column in STAMPS}
    writable = [column for column in columns if column.name not in stamps]
    patient = _model("Patient", {"id": (int, ...)} | {column.name: (_type(column), ...) for column in columns})
    return Schemas(
        # What `Item[patient]` does, which type checkers refuse of a class made at run time.
        one=Item.__class_getitem__(patient),
        page=Page.__class_getitem__(patient),
        creation=_model("PatientCreation", {column.name: (_type(column), _default(column)) for column in writable}),
        update=_model("PatientUpdate", {column.name: (_type(column), None) for column in writable}),
        sort_field=cast("type[StrEnum]", StrEnum("SortField", {name: name for name in release.sortable})),
    )
