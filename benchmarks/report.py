"""Write results.md and results.svg from results.jsonl; anything that is not in there is reported as not measured."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from correctness import ALTERED, DOUBLED, FAILED, LOST, REFUSED, UNDELETED
from picture import draw
from session import (
    BUILD,
    CHANGES,
    DBT_IMPORT,
    FIRST_LOAD,
    FULL_REFRESH,
    MILLION,
    NO_CHANGE,
    SLOW_FIRST_LOAD,
    STATUS,
)

Row = dict[str, Any]
NAMES = ("connector", "dlt", "plain")
COSTS = {"seconds": "seconds", "cpu": "CPU", "megabytes": "memory", "requests": "list requests"}
LOSSES = (LOST, DOUBLED, UNDELETED, ALTERED, REFUSED)


class Results(list[Row]):
    """The results of a benchmark."""

    def find(self, value: str, **wanted: Any) -> list[Any]:
        """Return a value of the results that have it and these others, in the order of measurement."""
        return [
            row[value]
            for row in self
            if row.get(value) is not None and all(row.get(name) == each for name, each in wanted.items())
        ]

    def median(self, value: str, **wanted: Any) -> float:
        """Return the median of a value; not a number if there is none."""
        return float(median(self.find(value, **wanted) or [math.nan]))

    def total(self, value: str, **wanted: Any) -> float:
        """Return the sum of a value; not a number if there is none."""
        return float(sum(self.find(value, **wanted) or [math.nan]))

    def ratio(self, value: str, above: Row, below: Row) -> float:
        """Return the median of the ratios of measurements that took turns; not a number if there is none."""
        pairs = zip(self.find(value, **above), self.find(value, **below), strict=False)
        return float(median([one / other for one, other in pairs] or [math.nan]))


def run(what: str, patients: int, contender: str = "connector") -> Row:
    """Return the values by which the results of a run are found."""
    return {"what": what, "patients": patients, "contender": contender}


def bounds(results: Results) -> Iterator[tuple[str, float, float]]:
    """Yield what must hold: a text, the bound and the measured value."""
    small, many = 10_000, 5 * MILLION
    first, first_of_many = run(FIRST_LOAD, MILLION), run(FIRST_LOAD, many)
    dlt, dlt_of_many = run(FIRST_LOAD, MILLION, "dlt"), run(FIRST_LOAD, many, "dlt")
    slow, bare = run(SLOW_FIRST_LOAD, 100_000), run(SLOW_FIRST_LOAD, 100_000, "bare client")
    build, build_of_many = {"what": BUILD, "patients": 50_000}, {"what": BUILD, "patients": many}
    full, startups = "full refresh of 1,000,000 unchanged patients, with compaction", "pages and start-ups alone"
    ratios: list[tuple[str, float, str, Row, Row]] = [
        ("first load of 1,000,000 / dlt's", 0.5, "seconds", first, dlt),
        ("the same, CPU", 0.6, "cpu", first, dlt),
        ("the same, memory of the largest process", 1.2, "megabytes", first, dlt),
        ("first load of 5,000,000 / of 1,000,000", 5.2, "seconds", first_of_many, first),
        ("first load of 5,000,000 / dlt's", 0.55, "seconds", first_of_many, dlt_of_many),
        ("the same, memory of the largest process", 1.3, "megabytes", first_of_many, dlt_of_many),
        ("no change at 5,000,000 / at 10,000", 1.15, "seconds", run(NO_CHANGE, many), run(NO_CHANGE, small)),
        ("first load of 10,000 / dlt's", 3.5, "seconds", run(FIRST_LOAD, small), run(FIRST_LOAD, small, "dlt")),
        (f"{full} / first load", 1, "seconds", run(FULL_REFRESH, MILLION), first),
        (f"extraction and loading of 100,000, 40 ms a page / {startups}", 1.1, "loading", slow, bare),
        ("build after 1,000 changes at 5,000,000 / at 50,000", 1.5, "seconds", build_of_many, build),
        ("no change at 10,000: CPU / an import of dbt", 2.4, "cpu", run(NO_CHANGE, small), {"what": DBT_IMPORT}),
    ]
    for text, bound, value, above, below in ratios:
        yield text, bound, results.ratio(value, above, below)
    for what, bound in ((NO_CHANGE, 3.2), (CHANGES, 5.5)):
        sizes = {*results.find("patients", what=what, contender="dlt")}
        of_sizes = [results.ratio("seconds", run(what, size), run(what, size, "dlt")) for size in sizes]
        yield f"{what} / dlt's, the largest over the sizes", bound, max(of_sizes, default=math.nan)
    yield "`status` over 10,000 runs: seconds", 1, results.median("seconds", what=STATUS)
    yield "`status` over 10,000 runs: failures in 100", 0, results.total("crashes", what=STATUS)
    for kind in LOSSES:
        yield kind, 0, results.total("count", kind=kind, contender="connector")
    incomplete = results.find("is_complete", contender="connector").count(False)
    yield "runs that left a destination incomplete", 0, incomplete


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table in Markdown."""
    lines: list[list[str]] = [[*head], *([format_cell(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def format_cell(value: Any) -> str:
    """Return a value as text, numbers with about three digits."""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if math.isnan(value):
        return "not measured"
    digits = 0 if value >= 100 or value.is_integer() else 1 if value >= 10 else 2  # noqa: PLR2004 (three digits)
    return f"{value:,.{digits}f}"


def find_better_peers(results: Results) -> Iterator[list[str]]:
    """Yield the runs in which a peer is better, with the ratios of the connector's costs, least to most by size."""
    for what in dict.fromkeys(results.find("what", contender="dlt")):
        for peer in NAMES[1:]:
            cells = []
            for value in COSTS:
                ratios = [
                    round(results.median(value, **run(what, size)) / results.median(value, **run(what, size, peer)), 1)
                    for size in {*results.find("patients", what=what, contender=peer)}
                ]
                least, most = min(ratios, default=0), max(ratios, default=0)
                cells.append("" if most <= 1 else f"{least}" if least == most else f"{least} to {most}")
            if any(cells):
                yield [what, peer, *cells]


def runs(results: Results) -> Iterator[list[str]]:
    """Yield the costs of runs, by size and contender."""
    own = {"contender": "connector"}
    for patients, what in dict.fromkeys(zip(results.find("patients", **own), results.find("what", **own), strict=True)):
        cells = []
        for name in (*NAMES, "bare client"):
            wanted = run(what, patients, name)
            costs = [format_cell(results.median(value, **wanted)) for value in COSTS if results.find(value, **wanted)]
            is_complete = all(results.find("is_complete", **wanted))
            cells.append(" · ".join(costs) + ("" if is_complete else " (**incomplete**)"))
        yield [f"{patients:,}", what, *cells]


def losses(results: Results) -> Iterator[list[str]]:
    """Yield the losses of each contender, by test."""
    kinds = zip(results.find("kind"), results.find("detail"), strict=True)
    for kind, detail in sorted(dict.fromkeys(kinds), key=lambda each: (*LOSSES, FAILED).index(each[0])):
        totals = [
            [format_cell(results.total(value, kind=kind, detail=detail, contender=name)) for name in NAMES]
            for value in ("count", "whole")
        ]
        yield [f"{kind}: {detail}".removesuffix(": "), *map(" of ".join, zip(*totals, strict=True))]


def page(results: Results) -> str:
    """Return the results as a page of Markdown."""
    held = [
        [text, bound, measured, "" if math.isnan(measured) else measured <= bound]
        for text, bound, measured in bounds(results)
    ]
    [versions] = results.find("versions")[-1:]
    sections = {
        "What must hold": [table(["", "bound", "measured", "holds"], held)],
        "Where others are better": [
            "The connector's cost divided by the peer's, over the sizes; empty where the peer is never better.\n",
            table(["run", "peer", *COSTS.values()], find_better_peers(results)),
        ],
        "Runs": [
            "Seconds · seconds of CPU · MB of the largest process · list requests.\n",
            table(["patients", "run", *NAMES, "bare client"], runs(results)),
        ],
        "What is lost": [table(["", *NAMES], losses(results))],
        "Machine and versions": [table(["", ""], versions.items())],
    }
    return "# Results of the benchmark\n" + "".join(
        f"\n## {title}\n\n" + "\n".join(parts) for title, parts in sections.items()
    )


def report(folder: Path) -> None:
    """Write the report into the folder of the results."""
    results = Results([json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()])
    (folder / "results.md").write_text(page(results))
    losses = {
        (name, kind): sum(results.find("count", kind=kind, contender=name))
        for name in NAMES
        for kind in (LOST, DOUBLED, UNDELETED)
    }
    times = {
        (what, name, patients): results.median("seconds", **run(what, patients, name))
        for what in (FIRST_LOAD, CHANGES)
        for name in NAMES
        for patients in sorted({*results.find("patients", contender=name, what=what)})
    }
    # nothing counted is not zero
    if results.find("kind"):
        (folder / "results.svg").write_text(draw(losses, times))


if __name__ == "__main__":
    report(Path(sys.argv[1]))
