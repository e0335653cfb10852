"""What was measured, as tables and a picture, from the results alone; of what was not measured it says so."""

from __future__ import annotations

import json
import math
import sys
from itertools import groupby
from pathlib import Path
from statistics import linear_regression, median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Row = dict[str, Any]
FIRST_LOAD = "first load"
PERIODIC = ("no change", "1,000 changes", "10,000 changes")
LOSSES = {
    "updated_unseen": "updated during the first load, not seen",
    "others_unseen": "neither updated nor removed, not seen",
    "removed_unseen": "removed during the first load, still current",
    "removed_between_unseen": "removed between two runs, still current",
    "two_current_rows": "patients with two current rows",
}


class Results:
    """The results of a benchmark."""

    def __init__(self, rows: list[Row]) -> None:
        """Take the results."""
        self._rows = rows

    def find(self, section: str, **wanted: Any) -> list[Row]:
        """Return the results of a section that have these values."""
        return [
            row
            for row in self._rows
            if row["section"] == section and all(row.get(name) == value for name, value in wanted.items())
        ]

    def middle(self, value: str, section: str, **wanted: Any) -> float:
        """Return the median of a value; not a number when there is none."""
        found = [row[value] for row in self.find(section, **wanted) if row.get(value) is not None]
        return median(found) if found else math.nan

    def ratio(self, one: tuple[str, Row], other: tuple[str, Row], section: str) -> float:
        """Return the median of the ratios of pairs that were measured in turn.

        Args:
            one: The name of a value, and which results have it.
            other: What it is divided by.
            section: Where both are.
        """
        values = [[row[value] for row in self.find(section, **wanted)] for value, wanted in (one, other)]
        ratios = [above / below for above, below in zip(*values, strict=False) if above is not None]
        return median(ratios) if ratios else math.nan

    def slope(self, contender: str, what: str) -> float:
        """Return how a run's time grows with the collection: the exponent."""
        found = self.find("growth", contender=contender, what=what, api="FastApi")
        sizes = sorted({row["patients"] for row in found})
        if len(sizes) == 1 or not sizes:
            return math.nan
        times = [
            self.middle("seconds", "growth", contender=contender, what=what, api="FastApi", patients=size)
            for size in sizes
        ]
        return linear_regression([math.log(size) for size in sizes], [math.log(each) for each in times]).slope

    def startups(self) -> float:
        """Return the sum of the start-ups of a run's parts, in seconds."""
        parts = [row for row in self.find("parts") if "times" in row]
        names = dict.fromkeys((row["what"], row["times"]) for row in parts)
        return sum(self.middle("seconds", "parts", what=name) * times for name, times in names) or math.nan


def bounds(results: Results) -> Iterator[tuple[str, float, float]]:
    """Yield what must hold: what is divided by what, the bound, and what was measured."""
    sqlite, fast = {"api": "SqliteApi"}, {"api": "FastApi"}
    connector, bare = {"contender": "connector"}, {"contender": "bare client"}
    size = max((row["patients"] for row in results.find("limits", **connector)), default=0)
    at_size = {"patients": size}
    prompt, slow = {"what": f"{FIRST_LOAD}, 0 ms"} | connector, {"what": f"{FIRST_LOAD}, 40 ms"} | connector
    yield (
        f"first load of {size:,}, SQLite-backed: first request to last row / bare client",
        1.15,
        results.ratio(("loading", prompt | sqlite), ("seconds", bare | sqlite), "limits"),
    )
    yield (
        f"first load of {size:,}, SQLite-backed: whole run / dlt",
        0.9,
        results.ratio(("seconds", prompt | sqlite), ("seconds", sqlite | {"contender": "dlt"}), "limits"),
    )
    yield (
        f"first load of {size:,}, fast, 40 ms: first request to last row / bare client",
        1.1,
        results.ratio(
            ("loading", slow | fast), ("seconds", bare | fast | at_size | {"latency": 0.04, "parallel": 4}), "limits"
        ),
    )
    loader = results.middle("seconds", "limits", what="loader")
    idle = results.middle("seconds", "limits", what="loader, no records")
    yield (
        f"first load of {size:,}, fast, no latency: first request to last row / target-duckdb alone, start-up taken off",
        1.5,
        results.middle("loading", "limits", **prompt, **fast) / (loader - idle),
    )
    largest = max((row["patients"] for row in results.find("growth", **connector)), default=0)
    many = {"what": PERIODIC[-1], "patients": largest} | sqlite
    yield (
        f"{PERIODIC[-1]} of {largest:,}, SQLite-backed: whole run / dlt",
        0.7,
        results.ratio(("seconds", many | connector), ("seconds", many | {"contender": "dlt"}), "growth"),
    )
    few = results.find("growth", what=PERIODIC[1], **connector)
    yield f"{PERIODIC[1]}: list requests, at most", 15, max((row["requests"] for row in few), default=math.nan)
    unchanged = results.middle("seconds", "parts", what=PERIODIC[0], **connector)
    yield "no change: whole run / sum of the start-ups of its parts", 1.25, unchanged / results.startups()
    yield (
        "no change: whole run / dlt (as near as can be had)",
        math.inf,
        unchanged / results.middle("seconds", "parts", what=PERIODIC[0], contender="dlt"),
    )
    for what in PERIODIC:
        yield f"{what}: slope of the time over the size", 0.05, results.slope("connector", what)
    for name, text in LOSSES.items():
        yield text, 0, total(results.find("correctness", what="unrest", **connector), name)
    yield "starts refused after a kill", 0, total(results.find("correctness", what="kill", **connector), "refused")


def total(rows: list[Row], name: str) -> float:
    """Return the sum of a value; not a number when there is none."""
    return sum(row[name] for row in rows) if rows else math.nan


def table(head: str, rows: Iterable[Iterable[Any]]) -> str:
    """Return a table in Markdown."""
    lines = [head, "|" + "---|" * (head.count("|") - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(map(shown, row))} |" for row in rows)]) + "\n"


def shown(value: Any) -> str:
    """Return a value as it stands in a table."""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if math.isnan(value):
        return "not measured"
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"  # noqa: PLR2004 (three figures)


def costs(results: Results, section: str, *keys: str) -> Iterator[list[Any]]:
    """Yield the medians of what was measured, by its keys."""

    def key(row: Row) -> list[Any]:
        return [row.get(name, "") for name in keys]

    rows = [row for row in results.find(section) if "seconds" in row]
    order = {value: place for place, value in enumerate(str(key(row)) for row in rows[::-1])}
    for values, same in groupby(sorted(rows, key=lambda row: -order[str(key(row))]), key):
        found = list(same)

        def middle(name: str, found: list[Row] = found) -> float:
            known = [row[name] for row in found if row.get(name) is not None]
            return float(median(known)) if known else math.nan

        went_well = not any(row["exit_code"] for row in found) and all(row.get("is_complete", True) for row in found)
        numbers = [middle(name) for name in ("seconds", "cpu", "megabytes", "requests")]
        yield [*values, *("" if math.isnan(each) else each for each in numbers), len(found), went_well]


def losses(results: Results) -> Iterator[list[Any]]:
    """Yield what each contender lost."""
    names = list(dict.fromkeys(row["contender"] for row in results.find("correctness")))
    for key, text in LOSSES.items():
        of = {"updated_unseen": "updated", "removed_unseen": "removed", "removed_between_unseen": "removed_between"}
        found = [results.find("correctness", what="unrest", contender=name) for name in names]
        yield [text, *(f"{total(rows, key)}" + (f" of {total(rows, of[key])}" if key in of else "") for rows in found)]
    after: dict[str, tuple[str, Callable[[Row], Any]]] = {
        "a kill at half: list requests until it was finished": ("kill", lambda row: row["requests"]),
        "a kill at half: starts refused": ("kill", lambda row: row["refused"]),
        "a kill at half: seconds until the first request": ("kill", lambda row: row["until_first_request"]),
        "a kill at half: patients lacking at the end": ("kill", lambda row: row["lacking"]),
        "a kill at half: rows too many at the end": ("kill", lambda row: row["two_current_rows"]),
        "a service that fails at times: exit code": ("faults", lambda row: row["exit_code"]),
        "a service that fails at times: patients lacking": ("faults", lambda row: row["lacking"]),
    }
    for text, (what, value) in after.items():
        rows = [results.find("correctness", what=what, contender=name) for name in names]
        yield [text, *(value(found[0]) if found else math.nan for found in rows)]


def defeats(results: Results) -> Iterator[str]:
    """Yield where a peer does with less than the connector."""
    measures = {"seconds": "s", "cpu": "s of CPU", "megabytes": "MB", "requests": "list requests"}
    runs = dict.fromkeys((row["patients"], row["what"], row.get("api")) for row in results.find("growth") if "api" in row)
    for patients, what, api in runs:
        where = {"patients": patients, "what": what, "api": api}
        for value, unit in measures.items():
            own = results.middle(value, "growth", contender="connector", **where)
            for peer in ("dlt", "plain"):
                other = results.middle(value, "growth", contender=peer, **where)
                if other < own:
                    yield f"{what} at {patients:,} ({api}): {shown(own)} {unit}, {peer} {shown(other)}"


def markdown(results: Results) -> str:
    """Return the tables."""
    machine = results.find("machine")[-1]
    head = "| wall, s | CPU, s | largest process, MB | list requests | measured, times | all well |"
    held = [
        (text, bound if bound < math.inf else "", measured, measured <= bound if measured == measured else math.nan)  # noqa: PLR0124
        for text, bound, measured in bounds(results)
    ]
    left_out = [
        f"- {row['contender']} at {row['patients']:,} patients: by the size before, its first load would take "
        f"{row['expected']:.0f} seconds"
        for row in results.find("growth", what="left out")
    ]
    contenders = list(dict.fromkeys(row["contender"] for row in results.find("growth")))
    slopes = [[name, *(results.slope(name, what) for what in (FIRST_LOAD, *PERIODIC))] for name in contenders]
    losers = list(dict.fromkeys(row["contender"] for row in results.find("correctness")))
    return "\n".join(
        [
            "# Results of the benchmark\n",
            f"On {machine['cores']} cores ({machine['cpu']}), {machine['memory']:.0f} GB, {machine['system']}, "
            f"Python {machine['python']}. All ratios are of one run on one machine, medians of pairs measured in turn.\n",
            *(f"- {name}: {', '.join(versions)}" for name, versions in machine["versions"].items()),
            "\n## What must hold\n",
            table("| | bound | measured | holds |", held),
            "## Runs\n\n![Seconds of runs by the size of the collection](results.svg)\n",
            table("| patients | run | service | |" + head[1:], costs(results, "growth", "patients", "what", "api", "contender")),
            *(["Left out:\n", *left_out, ""] if left_out else []),
            "How the time grows with the size, as an exponent (fast API):\n",
            table("| | first load | " + " | ".join(PERIODIC) + " |", slopes),
            "## First loads beside what bounds them\n",
            table(
                "| patients | | service | | latency, s | in flight |" + head[1:],
                costs(results, "limits", "patients", "what", "api", "contender", "latency", "parallel"),
            ),
            "Of bare client and tap alone, the wall time is from the first request to the last answer.\n",
            f"## The start-ups of a run's parts: {shown(results.startups())} s in all\n",
            table("| | | times |" + head[1:], costs(results, "parts", "what", "contender", "times")),
            "## What is lost\n",
            table("| | " + " | ".join(losers) + " |", losses(results)),
            "## The transform alone\n",
            table("| patients | |" + head[1:], costs(results, "transform", "patients", "what")),
            "## Where the connector is not the best\n",
            *(f"- {each}" for each in defeats(results)),
            "",
        ]
    )


def picture(results: Results) -> str:
    """Return the seconds of runs by the size of the collection, as SVG."""
    import vl_convert  # noqa: PLC0415 (installed by `make bench` and `make report`)

    rows = [row for row in results.find("growth", api="FastApi") if row["what"] in {FIRST_LOAD, *PERIODIC}]
    values = [{name: row[name] for name in ("patients", "what", "contender", "seconds")} for row in rows]
    logarithmic = {"type": "quantitative", "scale": {"type": "log"}}
    specification = {
        "data": {"values": values},
        "facet": {"field": "what", "sort": [FIRST_LOAD, *PERIODIC], "title": None},
        "columns": 2,
        "spec": {
            "width": 360,
            "height": 200,
            "mark": {"type": "line", "point": True},
            "encoding": {
                "x": {"field": "patients", "title": "patients", "axis": {"format": "~s"}} | logarithmic,
                "y": {"field": "seconds", "aggregate": "median", "title": "seconds"} | logarithmic,
                "color": {"field": "contender", "type": "nominal", "title": None},
            },
        },
    }
    return vl_convert.vegalite_to_svg(json.dumps(specification), allowed_base_urls=[])


def main(folder: Path) -> None:
    """Write the report beside the results."""
    results = Results([json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()])
    (folder / "results.md").write_text(markdown(results))
    (folder / "results.svg").write_text(picture(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
