"""One run of the benchmark: its folder, its results, and the names that the results are found by."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from contenders import Contender

MILLION = 1_000_000
FIRST_LOAD = "first load"
NO_CHANGE = "no change"
CHANGES = "1,000 changes"
FULL_REFRESH = "full refresh"
SLOW_FIRST_LOAD = "first load, 40 ms a page"
DBT_IMPORT = "import of dbt"
STATUS = "status over 10,000 runs"
FIRST_BUILD = "first build"
BUILD = "build after 1,000 changes"


@dataclass
class Bench:
    """One run of the benchmark.

    Attributes:
        folder: Its working folder.
        results: The file of results, one JSON object a line.
        sizes: Numbers of patients, ascending.
        repeat: How often each measurement is repeated.
        section: The section that is being measured.
    """

    folder: Path
    results: Path
    sizes: list[int]
    repeat: int
    section: str = ""
    _began: float = field(default_factory=time.monotonic)

    def record(self, **result: Any) -> None:
        """Write a result to the file, and print it."""
        with self.results.open("a") as file:
            file.write(json.dumps({"section": self.section} | result) + "\n")
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        values = " ".join(
            f"{name}={value:.2f}" if isinstance(value, float) else f"{name}={value}" for name, value in result.items()
        )
        click.echo(f"{minutes:02}:{seconds:02} {self.section}: {values}")

    def destination(self, contender: Contender, patients: int) -> Path:
        """Return the folder of a contender's destination."""
        return self.folder / self.section / f"{contender.name}-{patients}"
