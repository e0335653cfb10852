"""What a release of the service shows: its columns, and the fields it sorts by."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


class Sex(StrEnum):
    """The values of `sex_at_birth`."""

    MALE = "MALE"
    FEMALE = "FEMALE"


@dataclass(frozen=True)
class Column:
    """A column of the patients.

    Attributes:
        name: Its name in the database and in the JSON.
        type: One of `str`, `int`, `float`, `bool`, `date`, `datetime` and `Sex`.
        nullable: Whether the documentation says that it may be null. A column the database file does not have yet
            is null for every patient already in it.
    """

    name: str
    type: type
    nullable: bool = True


@dataclass(frozen=True)
class Release:
    """One release of the service.

    Attributes:
        columns: The columns beyond `id`. The four columns that name a patient belong to every release; `created_at`
            and `updated_at` are set by the service.
        sortable: The values of `sort_field`; `last_name` is the default if it is one, else the first.
    """

    columns: tuple[Column, ...]
    sortable: tuple[str, ...]


IDENTITY = (
    Column("email", str, nullable=False),
    Column("first_name", str, nullable=False),
    Column("last_name", str, nullable=False),
    Column("date_of_birth", date, nullable=False),
)
STAMPS = (Column("created_at", datetime, nullable=False), Column("updated_at", datetime, nullable=False))
TOTAL_VISITS = Column("total_visits", int, nullable=False)
SEX = Column("sex_at_birth", Sex)

# Every database file has these, whatever its release shows, so that one file serves every release.
STORED = (*IDENTITY, *STAMPS, TOTAL_VISITS, SEX)

_SORTABLE = ("id", *(column.name for column in IDENTITY))

CURRENT = Release(
    columns=(*IDENTITY, *STAMPS, TOTAL_VISITS),
    sortable=(*_SORTABLE, *(column.name for column in STAMPS)),
)
SEX_AT_BIRTH = Release(columns=(*IDENTITY, SEX), sortable=_SORTABLE)

RELEASES = {"current": CURRENT, "sex_at_birth": SEX_AT_BIRTH}
