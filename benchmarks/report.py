"""What was measured, as tables and a picture, from the results alone; of what was not measured it says so."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from statistics import linear_regression, median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Row = dict[str, Any]
COSTS = {"seconds": "wall, s", "cpu": "CPU, s", "megabytes": "largest process, MB", "requests": "list requests"}
RUNS = ("first load", "no change", "1,000 changes", "10,000 changes")
LOSSES = {
    "updated_unseen": "updated during the first load, not seen",
    "others_unseen": "not touched, not seen",
    "removed_unseen": "removed during the first load, still current",
    "removed_between_unseen": "removed between two runs, still current",
    "two_current_rows": "patients with two current rows",
}
OUT_OF = {name: name.removesuffix("_unseen") for name in LOSSES if name not in {"others_unseen", "two_current_rows"}}
AFTER_A_KILL = {
    "requests": "list requests until it was finished",
    "refused": "starts refused",
    "until_first_request": "seconds until its first request",
    "lacking": "patients lacking at the end",
    "two_current_rows": "rows too many at the end",
}


class Results:
    """The results of a benchmark."""

    def __init__(self, rows: list[Row]) -> None:
        """Take the results."""
        self._rows = rows

    def find(self, section: str, **wanted: Any) -> list[Row]:
        """Return the results of a section that have these values."""
        of_section = (row for row in self._rows if row["section"] == section)
        return [row for row in of_section if all(row.get(name) == value for name, value in wanted.items())]

    def middle(self, value: str, section: str, **wanted: Any) -> float:
        """Return the median of a value; not a number when there is none."""
        found = [row[value] for row in self.find(section, **wanted) if row.get(value) is not None]
        return float(median(found)) if found else math.nan

    def total(self, value: str, section: str, **wanted: Any) -> float:
        """Return the sum of a value; not a number when there is none."""
        found = self.find(section, **wanted)
        return sum(row[value] for row in found) if found else math.nan

    def ratio(self, section: str, value: str, above: Row, below: Row) -> float:
        """Return the median of a value over seconds, of pairs that were measured in turn."""
        pairs = zip(self.find(section, **above), self.find(section, **below), strict=False)
        ratios = [one[value] / other["seconds"] for one, other in pairs if one[value] is not None]
        return median(ratios) if ratios else math.nan

    def slope(self, contender: str, what: str) -> float:
        """Return how a run's time grows with the collection: the exponent."""
        run = {"contender": contender, "what": what, "api": "fast"}
        sizes = sorted({row["patients"] for row in self.find("growth", **run)})
        times = [self.middle("seconds", "growth", patients=size, **run) for size in sizes]
        return (
            linear_regression(*([math.log(each) for each in all_] for all_ in (sizes, times))).slope
            if sizes[1:]
            else math.nan
        )

    def startups(self) -> float:
        """Return the sum of the start-ups of a run's parts, in seconds."""
        parts = dict.fromkeys((row["what"], row["times"]) for row in self.find("parts") if "times" in row)
        return sum(self.middle("seconds", "parts", what=name) * times for name, times in parts) or math.nan


def bounds(results: Results) -> Iterator[tuple[str, float | str, float]]:
    """Yield what must hold: what it is, the bound, and what was measured."""
    sqlite, fast, dlt = {"api": "SQLite-backed"}, {"api": "fast"}, {"contender": "dlt"}
    size = max((row["patients"] for row in results.find("limits", contender="connector")), default=0)
    bare = {"what": "bare client", "patients": size, "parallel": 4}
    own = {"what": "first load", "patients": size, "contender": "connector"}
    loads = f"first load of {size:,}"
    to_bare = "from first request to last row / bare client"
    yield f"{loads}, SQLite-backed: {to_bare}", 1.15, results.ratio("limits", "loading", own | sqlite, bare | sqlite)
    beside = results.ratio("limits", "seconds", own | sqlite, own | sqlite | dlt)
    yield f"{loads}, SQLite-backed: whole run / dlt", 0.9, beside
    slow = fast | {"latency": 0.04}
    yield f"{loads}, fast, 40 ms: {to_bare}", 1.1, results.ratio("limits", "loading", own | slow, bare | slow)
    prompt = results.middle("loading", "limits", **own | fast | {"latency": 0})
    alone = results.middle("seconds", "limits", what="loader alone")
    alone -= results.middle("seconds", "limits", what="loader alone, no records")
    yield f"{loads}, fast: from first request to last row / loader alone without its start-up", 1.5, prompt / alone
    size = max((row["patients"] for row in results.find("growth", contender="connector")), default=0)
    own = {"what": RUNS[-1], "patients": size, "contender": "connector"} | sqlite
    beside = results.ratio("growth", "seconds", own, own | dlt)
    yield f"{RUNS[-1]} at {size:,}, SQLite-backed: whole run / dlt", 0.7, beside
    few = [row["requests"] for row in results.find("growth", contender="connector", what="1,000 changes")]
    yield "1,000 changes: list requests", 15, max(few, default=math.nan)
    unchanged = results.middle("seconds", "parts", what="no change", contender="connector")
    yield "no change: whole run / sum of the start-ups of its parts", 1.25, unchanged / results.startups()
    beside = results.middle("seconds", "parts", what="no change", contender="dlt")
    yield "no change: whole run / dlt", "as near as can be had", unchanged / beside
    for what in RUNS[1:]:
        yield f"{what}: slope of the time over the size", 0.05, results.slope("connector", what)
    for name, text in LOSSES.items():
        yield text, 0, results.total(name, "correctness", what="unrest", contender="connector")
    yield "starts refused after a kill", 0, results.total("refused", "correctness", what="kill", contender="connector")


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table in Markdown."""
    lines: list[list[str]] = [[*head], *([shown(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def shown(value: Any) -> str:
    """Return a value as it stands in a table."""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if math.isnan(value):
        return "not measured"
    return f"{value:,.0f}" if value >= 100 or value.is_integer() else f"{value:.2f}"  # noqa: PLR2004 (three figures)


def costs(results: Results, section: str, *keys: str) -> str:
    """Return a table of the medians of what was measured, by its keys."""
    rows = [row for row in results.find(section) if "seconds" in row]
    lines = []
    for values in dict.fromkeys(tuple(row.get(name, "") for name in keys) for row in rows):
        same = [row for row in rows if tuple(row.get(name, "") for name in keys) == values]
        numbers = [float(median(row.get(name, math.nan) for row in same)) for name in COSTS]
        went_well = all(row.get("is_complete", True) for row in same)
        lines.append([*values, *("" if math.isnan(each) else each for each in numbers), len(same), went_well])
    return table([*keys, *COSTS.values(), "measured, times", "all well"], lines)


def losses(results: Results) -> str:
    """Return a table of what each contender lost."""
    names = list(dict.fromkeys(row["contender"] for row in results.find("correctness")))
    lines: list[list[Any]] = []
    for key, text in LOSSES.items():
        found = [{"section": "correctness", "what": "unrest", "contender": name} for name in names]
        whole = [f" of {results.total(OUT_OF[key], **each)}" if key in OUT_OF else "" for each in found]
        lines.append([text, *(f"{results.total(key, **each)}{of}" for each, of in zip(found, whole, strict=True))])
    for what, rows in (("kill", AFTER_A_KILL), ("faults", {"exit_code": "exit code", "lacking": "patients lacking"})):
        for key, text in rows.items():
            values = [results.middle(key, "correctness", what=what, contender=name) for name in names]
            lines.append([f"{what}: {text}", *values])
    return table(["", *names], lines)


def defeats(results: Results) -> str:
    """Return a table of the runs, with what a peer takes less of than the connector."""
    lines = []
    runs = [row for row in results.find("growth") if "api" in row]
    for patients, what, api in dict.fromkeys((row["patients"], row["what"], row["api"]) for row in runs):
        cells = []
        for value in COSTS:
            by_name = {
                name: results.middle(value, "growth", contender=name, patients=patients, what=what, api=api)
                for name in ("connector", "dlt", "plain")
            }
            own = by_name.pop("connector")
            less = [f"{peer} {shown(other)}" for peer, other in by_name.items() if other < own]
            cells.append(f"{shown(own)}; {', '.join(less)}" if less else "")
        lines.append([patients, what, api, *cells])
    return table(["patients", "run", "service", *COSTS.values()], lines)


def markdown(results: Results) -> str:
    """Return the tables."""
    held = [
        [text, bound, measured, "" if isinstance(bound, str) or math.isnan(measured) else measured <= bound]
        for text, bound, measured in bounds(results)
    ]
    names = dict.fromkeys(row["contender"] for row in results.find("growth"))
    slopes = [[name, *(results.slope(name, what) for what in RUNS)] for name in names]
    left_out = [
        f"{row['contender']} at {row['patients']:,} patients is left out: by the size before, its runs would take "
        f"{row['expected']:.0f} seconds.\n"
        for row in results.find("growth", what="left out")
    ]
    machine = [[name, text] for name, text in results.find("machine")[-1].items() if name != "section"]
    conditions = ("patients", "what", "contender", "api", "latency", "parallel")
    sections = {
        "What must hold": [table(["", "bound", "measured", "holds"], held)],
        "Runs": [
            "![Seconds by the size of the collection](results.svg)\n",
            costs(results, "growth", *conditions[:4]),
            *left_out,
        ],
        "How the time grows with the size, fast API: the exponent": [table(["", *RUNS], slopes)],
        "First loads beside what bounds them": [costs(results, "limits", *conditions)],
        f"The start-ups of a run's parts: {shown(results.startups())} s in all": [
            costs(results, "parts", "what", "contender", "times")
        ],
        "What is lost": [losses(results)],
        "The transform alone": [costs(results, "transform", "patients", "what")],
        "Where the connector is not the best: what it takes, and what a peer takes that takes less": [defeats(results)],
        "On what, and with which versions": [table(["", ""], machine)],
    }
    return "# Results of the benchmark\n" + "".join(
        f"\n## {title}\n\n" + "\n".join(parts) for title, parts in sections.items()
    )


def picture(results: Results) -> str:
    """Return the seconds of runs by the size of the collection, as SVG."""
    import vl_convert  # noqa: PLC0415 (installed by `make bench` and `make report`)

    rows = [row for row in results.find("growth", api="fast") if row["what"] in RUNS]
    logarithmic = {"type": "quantitative", "scale": {"type": "log"}}
    specification = {
        "data": {
            "values": [{name: row[name] for name in ("patients", "what", "contender", "seconds")} for row in rows]
        },
        "facet": {"field": "what", "sort": RUNS, "title": None},
        "columns": 2,
        "spec": {
            "width": 360,
            "height": 200,
            "mark": {"type": "line", "point": True},
            "encoding": {
                "x": {"field": "patients", "axis": {"format": "~s"}} | logarithmic,
                "y": {"field": "seconds", "aggregate": "median", "title": "seconds"} | logarithmic,
                "color": {"field": "contender", "type": "nominal", "title": None},
            },
        },
    }
    return str(vl_convert.vegalite_to_svg(json.dumps(specification), allowed_base_urls=[]))


def main(folder: Path) -> None:
    """Write the report beside the results."""
    results = Results([json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()])
    (folder / "results.md").write_text(markdown(results))
    (folder / "results.svg").write_text(picture(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
