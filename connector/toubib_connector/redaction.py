"""Keeps patients' values out of the log: an error of a plugin or of DuckDB can quote what it stumbled on."""

from __future__ import annotations

import re

ERROR = re.compile(
    r"^(?P<prefix>.*?)(?P<kind>[A-Z]\w*(?: [A-Za-z]+)*? ?(?:Error|Exception)|Unable to parse):(?: +\S|$)"
)
"""A line that tells an error: DuckDB's `Conversion Error: ...`, Python's `ValueError: ...`, the loader's own."""

HARMLESS = {
    *("Binder Error", "Catalog Error", "IO Error", "Out of Memory Error", "Parser Error", "Permission Error"),
    *("Syntax Error", "Transaction Error", "TransactionContext Error"),
}
"""What these quote is SQL, names and paths."""

BEGINNING = re.compile(r"\d\d:\d\d:\d\d")
"""How dbt begins a line of its own. A line without it belongs to the error before: values can have several lines."""


class Redaction:
    """Withholds what follows the kind of an error, up to where the message ends."""

    def __init__(self) -> None:
        """Begin with nothing withheld."""
        self._withholding: set[str] = set()

    def __call__(self, logger: str, message: str) -> str | None:
        """Return what of a line may be shown, None for nothing.

        Args:
            logger: Which part of a run said it; each has its own errors under way.
            message: One line.
        """
        if BEGINNING.match(message):
            self._withholding.discard(logger)
        if logger in self._withholding:
            return None
        error = ERROR.match(message)
        if error is None or error["kind"] in HARMLESS:
            return message
        self._withholding.add(logger)
        return f"{error['prefix']}{error['kind']}: (withheld, since it can quote a patient)"
