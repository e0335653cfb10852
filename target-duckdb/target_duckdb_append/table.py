"""The table of a stream."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

import duckdb
from target_duckdb.db_sync import column_type

from target_duckdb_append.errors import LoadError, describe

INSTANT = "TIMESTAMP WITH TIME ZONE"
METADATA = {name: {"format": "date-time"} for name in ("_sdc_extracted_at", "_sdc_batched_at", "_sdc_deleted_at")}
"""The properties that `add_metadata_columns` adds."""


class Table:
    """A table in the current schema of a connection, created or altered to hold a stream.

    Args:
        properties: The stream's properties in JSON schema.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, stream: str, properties: Mapping[str, Any]) -> None:
        self._connection = connection
        self._stream = stream
        self._name = quote(stream.lower())
        self._types = {name: self._choose_type(name, schema) for name, schema in properties.items()}
        columns = {name.lower(): kind for name, kind in self._types.items()}
        with self._explain():
            self._create(columns)
            self._alter(columns)
            self._comment(properties)
        self._batched_at = self._read_clock() if "_sdc_batched_at" in columns else ""

    def _choose_type(self, name: str, schema: Any) -> str:
        """Return the registry's type for a property, except for dates and instants."""
        match schema:
            case {"format": "date"}:
                return "DATE"
            case {"format": "date-time"}:
                return INSTANT
            case {"type": str() | list()}:
                return str(column_type(schema)).upper()
            case _:
                raise LoadError(f"Cannot load {self._stream}: its schema gives no type for the field {name}")

    def _create(self, columns: Mapping[str, str]) -> None:
        """Create the table. Replace an empty one whose columns differ or are in another order."""
        definition = f"{self._name} ({', '.join(f'{quote(name)} {kind}' for name, kind in columns.items())})"
        self._connection.execute(f"create table if not exists {definition}")
        is_empty = not self._connection.execute(f"select 1 from {self._name} limit 1").fetchone()
        if is_empty and list(self._read_columns().items()) != list(columns.items()):
            self._connection.execute(f"create or replace table {definition}")

    def _alter(self, columns: Mapping[str, str]) -> None:
        """Add new columns. A column whose type changed is renamed, and a new one takes its place."""
        existing = self._read_columns()
        for name, kind in columns.items():
            if existing.get(name, kind) != kind:
                retired = name + time.strftime("_%Y%m%d_%H%M", time.gmtime())
                if twins := sum(each.startswith(retired) for each in existing):
                    retired += f"_{twins + 1}"
                self._connection.execute(f"alter table {self._name} rename column {quote(name)} to {quote(retired)}")
            self._connection.execute(f"alter table {self._name} add column if not exists {quote(name)} {kind}")

    def _read_columns(self) -> dict[str, str]:
        return {name: kind for name, kind, *_ in self._connection.execute(f"describe {self._name}").fetchall()}

    def _comment(self, properties: Mapping[str, Any]) -> None:
        """Use the description of a property as the comment of its column, unless the column has one."""
        here = "(database_name, schema_name, table_name) = (current_catalog(), current_schema(), ?)"
        query = f"select column_name from duckdb_columns() where comment is null and {here}"
        uncommented = self._connection.execute(query, [self._stream.lower()]).fetchall()
        for name, schema in properties.items():
            if (name.lower(),) in uncommented and (description := schema.get("description")):
                text = str(description).replace("'", "''")
                self._connection.execute(f"comment on column {self._name}.{quote(name.lower())} is '{text}'")

    def _read_clock(self) -> str:
        """Return an SQL expression for now, later than every earlier load even if the clock was set back."""
        query = f"select max(_sdc_batched_at) + interval 1 microsecond from {self._name}"
        [(floor,)] = self._connection.execute(f"select ({query})::varchar").fetchall()
        # now() is the start of the transaction
        return f"greatest(now(), timestamptz '{floor}')" if floor else "now()"

    def append(self, *files: Path) -> None:
        """Append the records of files of JSON Lines, all of them or none.

        Raises:
            LoadError: A file or a value in it cannot be loaded.
        """
        values = {name: self._batched_at if name == "_sdc_batched_at" else quote(name) for name in self._types}
        columns = ", ".join(f"{value} as {quote(name.lower())}" for name, value in values.items())
        with self._explain(*files):
            self._connection.execute(
                f"insert into {self._name} by name select {columns} from {_read_json(self._types)}",
                [[escape(str(file)) for file in files]],
            )

    @contextmanager
    def _explain(self, *files: Path) -> Iterator[None]:
        """Raise a LoadError for an error of DuckDB; it names the stream and, if a value is at fault, the field."""
        try:
            yield
        except duckdb.Error as error:
            reason = next(filter(None, map(self._find_unreadable_field, files)), describe(error))
            raise LoadError(f"Cannot load {self._stream}: {reason}") from error

    def _find_unreadable_field(self, file: Path) -> str | None:
        for name, kind in self._types.items():
            try:
                query = f"select count({quote(name)}) from {_read_json({name: kind})}"
                self._connection.execute(query, [[escape(str(file))]])
            except duckdb.Error as error:
                if "Malformed JSON" in str(error):
                    return f"{file.name} does not hold JSON Lines"
                if isinstance(error, duckdb.InvalidInputException):
                    return f"a value of the field {name} does not fit its type, {kind}"
        return None


def quote(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _read_json(types: Mapping[str, str]) -> str:
    """Return the table function that reads some fields of files; the list of files is its parameter."""
    columns = ", ".join(f"{quote(name)}: '{kind}'" for name, kind in types.items())
    # a record can be larger than DuckDB's default of 16 MiB
    return f"read_json(?, format = 'newline_delimited', columns = {{{columns}}}, maximum_object_size = {2**28})"
