"""One run of the benchmark: where it works, and where its results go."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from contenders import Contender


@dataclass
class Bench:
    """One run of the benchmark.

    Attributes:
        folder: Where it works.
        results: Where each result goes at once, one JSON object a line.
        sizes: How many patients the services hold, ascending.
        repeat: How often what is compared is measured.
        section: What is measured now.
    """

    folder: Path
    results: Path
    sizes: list[int]
    repeat: int
    section: str = ""
    _began: float = field(default_factory=time.monotonic)

    def record(self, **result: Any) -> None:
        """Keep a result and show it."""
        with self.results.open("a") as file:
            file.write(json.dumps({"section": self.section} | result) + "\n")
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        shown = " ".join(
            f"{name}={value:.2f}" if isinstance(value, float) else f"{name}={value}"
            for name, value in result.items()
            if value and name not in {"started_at", "marked_at"}
        )
        click.echo(f"{minutes:02}:{seconds:02} {self.section}: {shown}")

    def destination(self, contender: Contender, patients: int) -> Path:
        """Return the folder of a contender's destination."""
        return self.folder / self.section / f"{contender.name}-{patients}"

    def write(self, name: str, content: dict[str, Any]) -> Path:
        """Write a file of JSON and return its path."""
        path = self.folder / name
        path.write_text(json.dumps(content))
        return path
