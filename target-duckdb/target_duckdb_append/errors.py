"""Errors in one line that quotes no value of a record."""

import duckdb

HARMLESS = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.ParserException,
    duckdb.PermissionException,
    duckdb.TransactionException,
)
"""DuckDB's errors whose messages hold only SQL, names and paths; all others can quote a value."""


class LoadError(Exception):
    """A load that cannot go on; the message is a single line."""


def describe(error: duckdb.Error) -> str:
    """Return the first line of a harmless message, otherwise the name of the exception."""
    return str(error).partition("\n")[0] if isinstance(error, HARMLESS) else type(error).__name__
