"""Output of the commands: text for people, JSON lines for log collectors."""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import UTC, datetime
from typing import Any

import click

COLORS = {"warning": "yellow", "critical": "red"}


def is_json() -> bool:
    """Return whether to print JSON lines: Meltano's variable asks for them, and there is no terminal."""
    return os.environ.get("MELTANO_CLI_LOG_FORMAT") == "json" and not sys.stdout.isatty()


def say(message: str, level: str = "info", logger: str = "toubib-connector", **fields: Any) -> None:
    """Print a message, wrapped by word at a terminal; JSON adds the part of the run that it comes from, and fields."""
    if is_json():
        timestamp = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        event = {"timestamp": timestamp, "level": level, "logger": logger, "event": message}
        click.echo(json.dumps(fields | event, default=datetime.isoformat))
    else:
        is_error = level == "critical"
        if (sys.stderr if is_error else sys.stdout).isatty():
            message = click.wrap_text(message, shutil.get_terminal_size().columns)
        click.secho(message, fg=COLORS.get(level), err=is_error)
