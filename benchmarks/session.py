"""One run of the benchmark: its folder, its results, and the names that the results are found by."""

from __future__ import annotations

import json
from dataclasses import dataclass
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

    def record(self, **result: Any) -> None:
        """Add a result to the file, and print it."""
        line = json.dumps({"section": self.section} | result)
        with self.results.open("a") as file:
            file.write(f"{line}\n")
        click.echo(line)

    def destination(self, contender: Contender, patients: int) -> Path:
        """Return the folder of a contender's destination."""
        return self.folder / self.section / f"{contender.name}-{patients}"
