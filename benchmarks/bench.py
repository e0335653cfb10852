"""Measure the connector beside its peers: `make bench`."""

from __future__ import annotations

import json
import os
import platform
import re
import traceback
from pathlib import Path

import click
import psutil
from correctness import correctness
from measure import PROJECT
from report import report
from runs import extraction, growth, status
from session import Bench

from transform import transform

SECTIONS = {each.__name__: each for each in (growth, extraction, correctness, transform, status)}
ENVIRONMENTS = ("meltano", "tap-toubib", "target-duckdb", "dbt", "bench-dlt", "bench-plain")
PACKAGES = r"^(meltano|singer-sdk|msgspec|target-duckdb|dbt-core|dbt-duckdb|duckdb|dlt)==(\S+)"


def versions() -> dict[str, str]:
    """Return the machine, the system, and the main packages of each environment."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = psutil.virtual_memory().total / 1e9
    return {
        "machine": f"{os.cpu_count()} cores ({cpu[1] if cpu else 'unknown'}), {memory:.0f} GB",
        "system": f"{platform.platform()}, Python {platform.python_version()}",
    } | {
        name: ", ".join(map(" ".join, re.findall(PACKAGES, requirements.read_text(), re.MULTILINE)))
        for name in ENVIRONMENTS
        for requirements in [PROJECT / f"requirements/{name}.txt"]
    }


@click.command()
@click.option("--sizes", default="10000,100000,1000000,5000000", help="Numbers of patients.")
@click.option("--repeat", default=3, help="How often each measurement is repeated; the report shows medians.")
@click.option("--only", type=click.Choice(list(SECTIONS)), multiple=True, help="Measure this section, keep the others.")
@click.option("--results", type=click.Path(path_type=Path), default=Path(__file__).with_name("results"))
@click.option("--folder", type=click.Path(path_type=Path), default=PROJECT / ".bench", help="The working folder.")
def main(sizes: str, repeat: int, only: tuple[str, ...], results: Path, folder: Path) -> None:
    """Measure, then write the report."""
    folder.mkdir(parents=True, exist_ok=True)
    results.mkdir(parents=True, exist_ok=True)
    lines = results / "results.jsonl"
    chosen = only or tuple(SECTIONS)
    rows = lines.read_text().splitlines(keepends=True) if lines.exists() else []
    lines.write_text("".join(row for row in rows if json.loads(row)["section"] in SECTIONS.keys() - chosen))
    bench = Bench(folder.resolve(), lines, sorted(map(int, sizes.split(","))), repeat, "machine")
    bench.record(versions=versions())
    failed = []
    for bench.section in chosen:
        try:
            SECTIONS[bench.section](bench)
        except Exception:  # noqa: BLE001 (the other sections are measured all the same)
            traceback.print_exc()
            failed.append(bench.section)
        report(results)
    if failed:
        raise click.ClickException(f"Failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
