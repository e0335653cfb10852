"""What ends a load, told in one line that quotes no value of a record."""

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
"""DuckDB's errors whose messages hold SQL, names and paths; others can hold what could not be stored."""


class LoadError(Exception):
    """Ends a load with one line."""


def describe(error: duckdb.Error) -> str:
    """Return what DuckDB says, or the kind of its error alone where the message can quote a value."""
    return str(error).partition("\n")[0] if isinstance(error, HARMLESS) else type(error).__name__
