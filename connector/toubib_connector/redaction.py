"""Keeps patients' values out of the log: an error of a plugin or of DuckDB can quote what it stumbled on."""

from __future__ import annotations

import logging
import re
from typing import Any

ERROR = re.compile(
    r"^(?P<prefix>.*?)(?P<kind>[A-Z]\w*(?: [A-Za-z]+)*? ?(?:Error|Exception)|Unable to parse):(?: +\S|$)"
)
"""A line that tells an error: DuckDB's `Conversion Error: ...`, Python's `ValueError: ...`, the loader's own."""

HARMLESS = {
    *("Binder Error", "Catalog Error", "Dependency Error", "IO Error", "Out of Memory Error", "Parser Error"),
    *("Permission Error", "Syntax Error", "Transaction Error", "TransactionContext Error"),
}
"""What these quote is SQL, names and paths."""

BEGINNING = re.compile(r"\d\d:\d\d:\d\d")
"""How dbt begins a line of its own. A line without it belongs to the error before: values can have several lines."""

WITHHELD = "(withheld, since it can quote a patient)"


class Redaction(logging.Filter):
    """Withholds what follows the kind of an error, up to where the message ends. `logging.yaml` names it."""

    def __init__(self) -> None:
        super().__init__()
        self._withholding: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact a record in place, once for all handlers; return whether anything of it is left."""
        if not hasattr(record, "is_shown"):
            record.__dict__["is_shown"] = self._redact_record(record)
        return bool(record.__dict__["is_shown"])

    def _redact_record(self, record: logging.LogRecord) -> bool:
        # Meltano logs with structlog: its message is a dictionary
        event: dict[str, Any] = record.msg if isinstance(record.msg, dict) else {"event": record.getMessage()}
        plugin = event.get("name", "meltano")
        if plugin == "meltano" or "plugin_logger" in event:
            # a message that comes whole; a plugin that logs plain text comes line by line
            self._withholding.discard(plugin)
        # what a plugin said is in the log already, not once more when Meltano gives up
        message = str(event["event"]).rstrip().split(" with stderr:\n")[0]
        lines = [shown for line in message.split("\n") if (shown := self.redact(plugin, line)) is not None]
        event["event"] = "\n".join(lines)
        # a traceback ends with the same message
        for name in ("exc_info", "exception", "plugin_exception"):
            event.pop(name, None)
        record.exc_info = None
        if not isinstance(record.msg, dict):
            record.msg, record.args = event["event"], ()
        return bool(event["event"])

    def redact(self, plugin: str, line: str) -> str | None:
        """Return what of a line may be shown, None for nothing.

        Args:
            plugin: Which part of a run said it; each has its own errors under way.
            line: One line.
        """
        if BEGINNING.match(line):
            self._withholding.discard(plugin)
        if plugin in self._withholding:
            return None
        error = ERROR.match(line)
        if error is None or error["kind"] in HARMLESS:
            return line
        self._withholding.add(plugin)
        return f"{error['prefix']}{error['kind']}: {WITHHELD}"
