"""Measures the connector beside its peers and beside what bounds it: `make bench`."""

from __future__ import annotations

import json
import os
import platform
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import psutil
from correctness import correctness
from measure import PROJECT
from report import report
from runs import first_loads, growth, parts
from session import Bench

from transform import transform

SECTIONS = {each.__name__: each for each in (growth, first_loads, parts, correctness, transform)}
ENVIRONMENTS = ("meltano", "tap-toubib", "target-duckdb", "dbt", "bench-dlt", "bench-plain")


def machine() -> dict[str, Any]:
    """Describe what is measured, by what each environment was asked to have, and on what."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = psutil.virtual_memory().total / 1e9
    return {
        "machine": f"{os.cpu_count()} cores ({cpu[1] if cpu else 'unknown'}), {memory:.0f} GB",
        "system": f"{platform.platform()}, Python {platform.python_version()}",
    } | {name: ", ".join(sorted(pins(name))) for name in ENVIRONMENTS}


def pins(environment: str) -> Iterator[str]:
    """Yield the packages that an environment was asked to have, each with its version."""
    requirements = PROJECT / "requirements"
    pinned = dict(re.findall(r"^(\S+)==(\S+)", (requirements / f"{environment}.txt").read_text(), re.MULTILINE))
    asked = (requirements / f"{environment}.in").read_text()
    for included in re.findall(r"^-r (\S+)", asked, re.MULTILINE):
        asked += (requirements / included).read_text()
    for name in re.findall(r"^[a-z][a-z-]*", asked, re.MULTILINE):
        yield f"{name} {pinned[name]}"


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
    lines.write_text("".join(row for row in kept if json.loads(row)["section"] in SECTIONS.keys() - chosen))
    bench = Bench(folder.resolve(), lines, sorted(map(int, sizes.split(","))), repeat)
    bench.section = "machine"
    bench.record(versions=machine())
    failed = []
    for bench.section in chosen:
        try:
            SECTIONS[bench.section](bench)
        except Exception:  # noqa: BLE001 (what else is to be measured is measured all the same)
            traceback.print_exc()
            failed.append(bench.section)
        report(results)
    if failed:
        raise click.ClickException(f"Not measured to the end: {', '.join(failed)}")


if __name__ == "__main__":
    main()
