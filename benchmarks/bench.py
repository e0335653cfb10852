"""Measures the connector beside its peers and beside what bounds it: `make bench`."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import psutil
from correctness import correctness
from measure import PROJECT
from parts import parts
from runs import growth, limits
from transform import transform

if TYPE_CHECKING:
    from contenders import Contender
    from measure import Cost

SECTIONS = {each.__name__: each for each in (growth, limits, parts, correctness, transform)}
VERSIONS = {
    "the connector": ("meltano", "singer-sdk", "target-duckdb", "dbt-core", "dbt-duckdb", "duckdb"),
    "dlt": ("dlt", "duckdb"),
    "plain": ("singer-sdk", "target-duckdb", "dbt-core", "dbt-duckdb", "duckdb"),
}
REQUIREMENTS = {
    "the connector": ("meltano", "tap-toubib", "target-duckdb", "dbt"),
    "dlt": ("bench-dlt",),
    "plain": ("bench-plain",),
}


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
            if value and name != "marked_at"
        )
        click.echo(f"{minutes:02}:{seconds:02} {self.section}: {shown}")

    @staticmethod
    def succeed(cost: Cost) -> Cost:
        """Return a cost that can be compared.

        Raises:
            ClickException: What was measured failed.
        """
        if cost.exit_code:
            raise click.ClickException(f"What was to be measured failed: {cost}")
        return cost

    def destination(self, contender: Contender, patients: int) -> Path:
        """Return the folder of a contender's destination."""
        return self.folder / self.section / f"{contender.name}-{patients}"

    def write(self, name: str, content: dict[str, Any]) -> Path:
        """Write a file of JSON and return its path."""
        path = self.folder / name
        path.write_text(json.dumps(content))
        return path


def machine() -> dict[str, Any]:
    """Describe what is measured, and on what."""
    pinned = {
        name: [
            f"{package} {version}"
            for package in VERSIONS[name]
            for version in sorted({found for file in files for found in pins(file, package)})
        ]
        for name, files in REQUIREMENTS.items()
    }
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": cpu[1] if cpu else platform.processor(),
        "cores": os.cpu_count(),
        "memory": psutil.virtual_memory().total / 1e9,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": pinned,
    }


def pins(file: str, package: str) -> list[str]:
    """Return the versions of a package that a file of requirements pins."""
    text = (PROJECT / "requirements" / f"{file}.txt").read_text()
    return re.findall(rf"^{re.escape(package)}==(\S+)", text, re.MULTILINE)


@click.command()
@click.option("--sizes", default="10000,100000,1000000", help="Patients that the services hold.")
@click.option("--repeat", default=3, help="How often what is compared is measured; medians are shown.")
@click.option("--only", type=click.Choice(list(SECTIONS)), multiple=True, help="Measure these again, keep the rest.")
@click.option("--results", type=click.Path(path_type=Path), default=Path(__file__).with_name("results"))
@click.option("--folder", type=click.Path(path_type=Path), default=PROJECT / ".bench", help="Where it works.")
def main(sizes: str, repeat: int, only: tuple[str, ...], results: Path, folder: Path) -> None:
    """Measure, then report."""
    folder.mkdir(parents=True, exist_ok=True)
    results.mkdir(parents=True, exist_ok=True)
    lines = results / "results.jsonl"
    chosen = only or tuple(SECTIONS)
    kept = lines.read_text().splitlines(keepends=True) if lines.exists() else []
    lines.write_text("".join(row for row in kept if json.loads(row)["section"] not in {"machine", *chosen}))
    bench = Bench(folder.resolve(), lines, sorted(map(int, sizes.split(","))), repeat)
    bench.section = "machine"
    bench.record(**machine())
    for bench.section in chosen:
        SECTIONS[bench.section](bench)
        # by the environment that can draw; what was measured is kept without it
        subprocess.run([PROJECT / ".venv/bin/python", Path(__file__).with_name("report.py"), results], check=False)


if __name__ == "__main__":
    main()
