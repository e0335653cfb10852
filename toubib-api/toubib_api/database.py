"""The SQLite file that holds the patients."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from random import Random

from sqlalchemy import (
    URL,
    Boolean,
    Connection,
    Date,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    NullPool,
    String,
    Table,
    create_engine,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy import Column as TableColumn
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from toubib_api.people import people
from toubib_api.release import CURRENT, STORED, Release, Sex

_TYPES = {str: String, int: Integer, float: Float, bool: Boolean, date: Date, datetime: DateTime, Sex: String}
_BATCH = 10_000


def database_url(database: Path) -> str:
    """Return the URL of a database file, whose connections wait up to 30 seconds for another one's write."""
    return URL.create("sqlite", database=str(database.resolve()), query={"timeout": "30"}).render_as_string()


def patients_table(release: Release) -> Table:
    """Describe the patients' table in a file that can serve this release."""
    columns = {column.name: column for column in (*STORED, *release.columns)}
    table = Table(
        "patients",
        MetaData(),
        TableColumn("id", Integer, primary_key=True),
        # Nothing but the release says what may be null: another one, opened on the same file, may say otherwise.
        *(TableColumn(column.name, _TYPES[column.type]) for column in columns.values()),
        # A removed patient's id is never given to another one.
        sqlite_autoincrement=True,
    )
    for name in sorted({"email", *release.sortable} - {"id"}):
        Index(f"patients_by_{name}", table.c[name], unique=name == "email")
    return table


@contextmanager
def transaction(database: Path) -> Iterator[Connection]:
    """Open a database file for one transaction, beside a server that may be running on it."""
    engine = create_engine(database_url(database), poolclass=NullPool, hide_parameters=True)
    with engine.begin() as connection:
        yield connection


def prepare(database: Path, release: Release = CURRENT, patients: int = 0, seed: int = 0) -> int:
    """Make a database file ready to serve a release.

    Args:
        database: The file, created if there is none. A column it lacks is added to it.
        release: The release to serve.
        patients: How many patients to make up, if the file holds none.
        seed: Equal seeds make up equal patients.

    Returns:
        How many patients the file holds.
    """
    table = patients_table(release)
    with transaction(database) as connection:
        # Readers and a writer work at once in this mode, which the file remembers.
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        connection.execute(CreateTable(table, if_not_exists=True))
        present = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in present:
                definition = CreateColumn(column).compile(connection)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
        count = select(func.count()).select_from(table)
        if not connection.scalar(count):
            rows = islice(people(Random(seed), first_number=1), patients)  # noqa: S311 (made-up people, no secret)
            while batch := list(islice(rows, _BATCH)):
                connection.execute(insert(table), batch)
        # Sorting once is faster than keeping the order while the patients come in.
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            connection.execute(CreateIndex(index, if_not_exists=True))
        return connection.scalar(count) or 0
