"""Keeps patients' values out of the log: an error of a plugin or of DuckDB can quote the value that it failed on."""

from __future__ import annotations

import logging
import re
from typing import Any

ERROR = re.compile(r"^(?P<prefix>.*?)(?P<kind>[A-Z]\w*(?: [A-Za-z]+)*? ?(?:Error|Exception)):(?: +\S|$)")
"""A line that reports an error: DuckDB's `Conversion Error: ...`, Python's `ValueError: ...`."""

HARMLESS = {
    *("Binder Error", "Catalog Error", "Dependency Error", "IO Error", "Out of Memory Error", "Parser Error"),
    *("Permission Error", "Syntax Error", "Transaction Error", "TransactionContext Error"),
}
"""Errors whose messages quote SQL, names and paths only."""

START_OF_DBT_LINE = re.compile(r"\d\d:\d\d:\d\d")
"""The start of a line of dbt's text log. A line without a time continues the previous error."""

WITHHELD = "(withheld, since it can quote a patient)"


def redact_line(line: str) -> str:
    """Return a line. Withhold the text after the kind of an error, unless the error is harmless."""
    error = ERROR.match(line)
    return line if error is None or error["kind"] in HARMLESS else f"{error['prefix']}{error['kind']}: {WITHHELD}"


class Redaction(logging.Filter):
    """Withholds the text of errors that can quote a value, even if a plugin logs it line by line."""

    def __init__(self) -> None:
        super().__init__()
        self._withholding: set[str] = set()
        """Plugins whose last error may continue in their next line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact a record in place, once for all handlers; return whether anything of it is left."""
        if not hasattr(record, "is_shown"):
            record.__dict__["is_shown"] = self._redact_record(record)
        return bool(record.__dict__["is_shown"])

    def _redact_record(self, record: logging.LogRecord) -> bool:
        # Meltano logs with structlog: the message is a dictionary
        event: dict[str, Any] = record.msg if isinstance(record.msg, dict) else {"event": record.getMessage()}
        plugin = event.get("name", "meltano")
        # such messages come whole; plain text of a plugin comes line by line
        if plugin == "meltano" or "plugin_logger" in event:
            self._withholding.discard(plugin)
        # Meltano's last error repeats the plugin's log
        message = str(event["event"]).rstrip().split(" with stderr:\n")[0]
        event["event"] = "\n".join(self._redact_lines(plugin, message.split("\n")))
        # a traceback ends with the same message
        for name in ("exc_info", "exception", "plugin_exception"):
            event.pop(name, None)
        record.exc_info, record.args = None, ()
        if not isinstance(record.msg, dict):
            record.msg = event["event"]
        return bool(event["event"])

    def _redact_lines(self, plugin: str, lines: list[str]) -> list[str]:
        """Return the lines that may be shown."""
        shown = []
        for line in lines:
            if START_OF_DBT_LINE.match(line):
                self._withholding.discard(plugin)
            if plugin not in self._withholding:
                shown.append(redact_line(line))
                if shown[-1].endswith(WITHHELD):
                    self._withholding.add(plugin)
        return shown
