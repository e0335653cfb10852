"""What the commands print: text for people, JSON lines for what collects logs."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import IO, Any

import click

NAME = "toubib-connector"


def is_json() -> bool:
    """Tell whether JSON lines are wanted: Meltano's own variable says so, and nobody sits at a terminal."""
    return os.environ.get("MELTANO_CLI_LOG_FORMAT") == "json" and not sys.stdout.isatty()


def say(message: str, level: str = "info", logger: str = NAME, timestamp: str | None = None) -> None:
    """Print a line of the log.

    Args:
        message: One line of text.
        level: As Meltano names it: `info`, `warning`, `error`, `critical`.
        logger: Which part of a run says it.
        timestamp: When, in UTC, as ISO 8601; now when not given.
    """
    now = timestamp or f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    if is_json():
        click.echo(json.dumps({"timestamp": now, "level": level, "logger": logger, "event": message}))
    elif logger == NAME:
        click.echo(message)
    else:
        click.echo(f"{now[11:19]} {logger:13} {'' if level == 'info' else f'{level}: '}{message}".rstrip())


class Failure(click.ClickException):
    """Ends a command with one line and exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line, to the log or to standard error."""
        if is_json():
            say(self.message, "critical")
        else:
            super().show(file)
