"""Failures: errors that end a command in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click
import duckdb

from toubib_connector.log import is_json, say
from toubib_connector.meltano_log.redaction import redact_line


class Failure(click.ClickException):
    """Ends a command with one line and exit code 1.

    Attributes:
        message: What happened, to what, what to do.
        log: The full log, for details.
    """

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log

    def show(self, file: IO[Any] | None = None) -> None:  # noqa: ARG002 (click's signature)
        """Print the line, to the log or to standard error."""
        line = f"{self.message.rstrip('.')}. The full log is {self.log}" if self.log else self.message
        say(line if is_json() else f"Error: {line}", "critical")


@contextmanager
def fail_in_one_line() -> Iterator[None]:
    """Raise a Failure for an error of DuckDB or the operating system, without a value of a patient."""
    try:
        yield
    except duckdb.Error as error:
        line = str(error).partition("\n")[0]
        raise Failure(f"DuckDB says: {redact_line(line)}") from error
    except BrokenPipeError:  # click ends quietly
        raise
    except OSError as error:
        raise Failure(f"{error.filename or 'Cannot write'}: {error.strerror or error}") from error
