"""What ends a command in one line, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
import duckdb

from toubib_connector.log import Failure
from toubib_connector.redaction import Redaction


@contextmanager
def fail_in_one_line() -> Iterator[None]:
    """Tell in one line what is wrong with a setting, what DuckDB cannot do, and what the operating system refuses.

    Raises:
        Failure: With that line, in which no value of a patient stands.
    """
    try:
        yield
    except click.BadParameter as error:
        raise Failure(error.format_message()) from error
    except duckdb.Error as error:
        line = str(error).partition("\n")[0]
        raise Failure(f"DuckDB says: {Redaction().redact('duckdb', line)}") from error
    except OSError as error:
        raise Failure(f"{error.filename or 'Cannot write'}: {error.strerror or error}") from error
