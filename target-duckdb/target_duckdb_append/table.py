"""The table of a stream, and the one way in which rows get into it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from itertools import chain, count
from pathlib import Path
from typing import Any

import duckdb
from target_duckdb import add_metadata_columns_to_schema, db_sync

from target_duckdb_append.errors import LoadError, describe

LARGEST_RECORD = 2**28
"""Bytes; DuckDB's own bound of 16 MiB is one that a record can reach."""

registry_column_type = db_sync.column_type


def column_type(schema: Mapping[str, Any]) -> str:
    """Return DuckDB's type for a property: the registry's, which has none for a date."""
    return "date" if schema.get("format") == "date" else str(registry_column_type(schema))


# the methods of DbSync look it up in their module
db_sync.column_type = column_type


class Table(db_sync.DbSync):  # type: ignore[misc]  # the package has no types
    """The table of a stream: created and altered by the registry's target, appended to by its own `append`.

    Args:
        config: The target's settings.
        message: A SCHEMA message. Its keys do not count: a table with a primary key holds one version of a row.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, config: Mapping[str, Any], message: Any) -> None:
        message = {**message, "key_properties": []}
        if config.get("add_metadata_columns"):
            add_metadata_columns_to_schema(message)
            message["schema"]["properties"]["_sdc_deleted_at"]["format"] = "date-time"
        super().__init__(connection, config, message)
        self.stream = message["stream"]
        # in the order of the schema, which the registry's target sorts by name
        properties: dict[str, Any] = self.flatten_schema
        self.flatten_schema: dict[str, Any] = {name: properties[name] for name in message["schema"]["properties"]}
        self._types = dict(zip(self.flatten_schema, self.column_types(), strict=True))
        with self._explain():
            self.create_schema_if_not_exists()
            self._renew_table()
            self.sync_table()
            self._comment_on_columns()

    @property
    def _address(self) -> tuple[str, str, str]:
        return self.catalog_name, self.schema_name, self.table_name(self.stream, without_schema=True).strip('"')

    def _renew_table(self) -> None:
        """Have an empty table created again, with columns in today's order, and one with a primary key hold any row."""
        table = self.table_name(self.stream)
        [known] = self.query(
            "select count(*) as tables, coalesce(bool_or(has_primary_key), false) as has_key from duckdb_tables() "
            "where database_name = ? and schema_name = ? and table_name = ?",
            self._address,
        )
        if known["tables"] and not self.query(f"select 1 from {table} limit 1"):
            self.query(f"drop table {table}")
        elif known["has_key"]:
            self.query(f"create or replace table {table} as from {table}")

    def _comment_on_columns(self) -> None:
        """Give each column that has no comment the description of its property."""
        uncommented = self.query(
            "select column_name from duckdb_columns() where comment is null "
            "and database_name = ? and schema_name = ? and table_name = ?",
            self._address,
        )
        for column in uncommented:
            if description := self.flatten_schema.get(column["column_name"], {}).get("description"):
                name, text = _quote(column["column_name"]), description.replace("'", "''")
                self.query(f"comment on column {self.table_name(self.stream)}.{name} is '{text}'")

    def version_column(self, column_name: str, stream: str) -> None:
        """Rename a column whose type has changed; unlike the registry's names these are unique within a minute."""
        table = self.table_name(stream, without_schema=True)
        taken = {column["column_name"] for column in self.get_table_columns(table)}
        name = column_name.strip('"') + time.strftime("_%Y%m%d_%H%M", time.gmtime())
        names = chain([name], (f"{name}_{number}" for number in count(2)))
        unique = next(each for each in names if each not in taken)
        self.query(f'ALTER TABLE {self.table_name(stream)} RENAME COLUMN {column_name} TO "{unique}"')

    def append(self, *files: Path, compression: str = "uncompressed") -> None:
        """Append the records of files of JSON Lines, all of them or none.

        Args:
            files: The files.
            compression: `uncompressed` or `gzip`.
        """
        values = {
            name: _convert_to_utc(name) if kind == "timestamp" else _quote(name) for name, kind in self._types.items()
        }
        if "_sdc_batched_at" in values:
            values["_sdc_batched_at"] = "now() at time zone 'UTC'"
        columns = ", ".join(f"{value} as {db_sync.safe_column_name(name)}" for name, value in values.items())
        insert = f"insert into {self.table_name(self.stream)} by name select {columns} from "
        with self._explain(*files, compression=compression):
            self.conn.begin()
            try:
                for file in files:
                    self.conn.execute(insert + _read(self._types, compression), [escape(str(file))])
            except duckdb.Error:
                self.conn.rollback()
                raise
            self.conn.commit()

    @contextmanager
    def _explain(self, *files: Path, compression: str = "uncompressed") -> Iterator[None]:
        """Raise an error of DuckDB again as one that names the stream and, where a value is at fault, the field."""
        try:
            yield
        except duckdb.Error as error:
            fields = (self._find_unreadable_field(file, compression) for file in files)
            reason = next(filter(None, fields), describe(error))
            raise LoadError(f"Cannot load {self.stream}: {reason}") from error

    def _find_unreadable_field(self, file: Path, compression: str) -> str | None:
        """Return what is wrong with a field of a file, None if all of them can be read."""
        for name, kind in self._types.items():
            try:
                self.conn.execute(
                    f"select count({_quote(name)}) from {_read({name: kind}, compression)}", [escape(str(file))]
                )
            except duckdb.InvalidInputException as error:
                if "Malformed JSON" in str(error):
                    return f"{file.name} does not hold JSON Lines"
                return f"a value of the field {name} does not fit its type, {kind}"
            except duckdb.Error:
                return None
        return None


def _read(types: Mapping[str, str], compression: str) -> str:
    """Return the table function that reads some fields of a file; the file is its parameter."""
    # as a plain timestamp DuckDB would drop an offset from UTC
    kinds = {name: "timestamptz" if kind == "timestamp" else kind for name, kind in types.items()}
    columns = ", ".join(f"{_quote(name)}: '{kind}'" for name, kind in kinds.items())
    return (
        f"read_json(?, format = 'newline_delimited', columns = {{{columns}}}, "
        f"compression = '{compression}', maximum_object_size = {LARGEST_RECORD})"
    )


def _convert_to_utc(name: str) -> str:
    return f"{_quote(name)} at time zone 'UTC'"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
