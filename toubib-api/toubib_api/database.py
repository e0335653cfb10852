"""The SQLite file that holds the patients."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from random import Random

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Date,
    DateTime,
    Index,
    Integer,
    MetaData,
    NullPool,
    String,
    Table,
    create_engine,
    func,
    insert,
    select,
)
from sqlalchemy.schema import CreateIndex, CreateTable

from toubib_api.people import people
from toubib_api.schemas import SortField

_BATCH = 10_000

patients_table = Table(
    "patients",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("email", String, nullable=False),
    Column("first_name", String, nullable=False),
    Column("last_name", String, nullable=False),
    Column("date_of_birth", Date, nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("updated_at", DateTime, nullable=False),
    Column("total_visits", Integer, nullable=False),
    # the id of a removed patient is not used again
    sqlite_autoincrement=True,
)
for _field in SortField:
    if _field != SortField.ID:
        Index(f"patients_by_{_field}", patients_table.c[_field], unique=_field == SortField.EMAIL)


def database_url(database: Path) -> str:
    """Return the URL of a database file. Connections wait up to 30 seconds for another one's write."""
    return URL.create("sqlite", database=str(database.resolve()), query={"timeout": "30"}).render_as_string()


@contextmanager
def transaction(database: Path) -> Iterator[Connection]:
    """Open a database file for one transaction, also while a server is running on it."""
    engine = create_engine(database_url(database), poolclass=NullPool)
    with engine.begin() as connection:
        yield connection


def prepare(database: Path, patients: int = 0, seed: int = 0) -> int:
    """Create a database file if it does not exist, make up patients if it has none, and return their number."""
    with transaction(database) as connection:
        # readers and a writer can work at once; the file keeps this mode
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        connection.execute(CreateTable(patients_table, if_not_exists=True))
        count = select(func.count()).select_from(patients_table)
        if not connection.scalar(count):
            rows = islice(people(Random(seed), first_number=1), patients)  # noqa: S311 (made-up people, no secret)
            while batch := list(islice(rows, _BATCH)):
                connection.execute(insert(patients_table), batch)
        # sorting once is faster than maintaining the indexes during the inserts
        for index in sorted(patients_table.indexes, key=lambda index: str(index.name)):
            connection.execute(CreateIndex(index, if_not_exists=True))
        return connection.scalar(count) or 0
