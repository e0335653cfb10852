"""What the commands print: text for people, JSON lines for what collects logs."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta

import click

COLORS = {"warning": "yellow"}
UNITS = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}


def is_verbose() -> bool:
    """Tell whether the full log is wanted where otherwise little is shown."""
    return os.environ.get("VERBOSE", "") not in {"", "0"}


def has_terminal() -> bool:
    """Tell whether a person watches, on a terminal on which lines can be drawn again."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not is_verbose()


def is_json() -> bool:
    """Tell whether JSON lines are wanted: Meltano's own variable says so, and nobody sits at a terminal."""
    return os.environ.get("MELTANO_CLI_LOG_FORMAT") == "json" and not sys.stdout.isatty()


def describe_age(age: timedelta) -> str:
    """Return an age in its largest unit: `3 days`."""
    seconds = max(int(age.total_seconds()), 0)
    unit, size = next(((unit, size) for unit, size in UNITS.items() if seconds >= size), ("second", 1))
    return f"{seconds // size} {unit}{'' if seconds // size == 1 else 's'}"


def say(message: str, level: str = "info", logger: str = "toubib-connector") -> None:
    """Print a line.

    Args:
        message: One line of text.
        level: As Meltano names it: `info`, `warning`, `error`, `critical`.
        logger: Which part of a run says it.
    """
    if is_json():
        timestamp = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        click.echo(json.dumps({"timestamp": timestamp, "level": level, "logger": logger, "event": message}))
    else:
        click.secho(message, fg=COLORS.get(level))
