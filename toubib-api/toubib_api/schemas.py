"""Schemas of requests and answers."""

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel
from typing_extensions import TypedDict


class SortField(StrEnum):
    """Fields by which a list can be sorted."""

    ID = "id"
    EMAIL = "email"
    FIRST_NAME = "first_name"
    LAST_NAME = "last_name"
    DATE_OF_BIRTH = "date_of_birth"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"


class SortDirection(StrEnum):
    """Directions in which a list can be sorted."""

    ASC = "asc"
    DESC = "desc"


# SQLite keeps no offset
Instant = Annotated[datetime, AfterValidator(lambda value: value.replace(tzinfo=UTC))]


class Patient(BaseModel):
    """A patient; the service sets the id and both instants."""

    id: int
    email: str
    first_name: str
    last_name: str
    date_of_birth: date
    created_at: Instant
    updated_at: Instant
    total_visits: int


class PatientCreation(BaseModel):
    """A patient to create, or to put in the place of another."""

    email: str
    first_name: str
    last_name: str
    date_of_birth: date
    total_visits: int = 0


class PatientUpdate(TypedDict, total=False):
    """Values of a patient to change; the others stay."""

    email: str
    first_name: str
    last_name: str
    date_of_birth: date
    total_visits: int
