"""Errors in one line that quotes no value of a record."""

import duckdb

HARMLESS = ("Binder", "Catalog", "IO", "Out of Memory", "Parser", "Permission", "Transaction")
"""The start of DuckDB's messages that hold only SQL, names and paths; all others can quote a value."""


class LoadError(Exception):
    """The load cannot go on. The message is a single line."""


def describe(error: duckdb.Error) -> str:
    """Return the first line of a harmless message, otherwise the name of the exception."""
    message = str(error).partition("\n")[0]
    return message if message.startswith(HARMLESS) else type(error).__name__
