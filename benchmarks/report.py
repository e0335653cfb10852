"""What was measured, as a page and a picture, from the results alone; of what was not measured it says so."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

import vl_convert

Row = dict[str, Any]
NAMES = ("connector", "dlt", "plain")
FIRST_LOAD = "first load"
RUNS = (FIRST_LOAD, "no change", "1,000 changes", "10,000 changes")
MIDDLE = 100_000
COSTS = {"seconds": "seconds", "cpu": "CPU", "megabytes": "memory", "requests": "list requests"}
LOSSES = ("rows never seen", "two current rows", "deletions unseen", "refused starts", "values changed on the way")


class Results(list[Row]):
    """The results of a benchmark."""

    def find(self, value: str, **wanted: Any) -> list[Any]:
        """Return a value of the results that have it and these others, in the order in which they were measured."""
        return [
            row[value]
            for row in self
            if row.get(value) is not None and all(row.get(name) == each for name, each in wanted.items())
        ]

    def middle(self, value: str, **wanted: Any) -> float:
        """Return the median of a value; not a number when there is none."""
        found = self.find(value, **wanted)
        return float(median(found)) if found else math.nan

    def total(self, value: str, **wanted: Any) -> float:
        """Return the sum of a value; not a number when there is none."""
        found = self.find(value, **wanted)
        return sum(found) if found else math.nan

    def ratio(self, value: str, above: Row, below: Row) -> float:
        """Return the median of the ratios of a value, of what was measured in turn; not a number when there is none."""
        pairs = zip(self.find(value, **above), self.find(value, **below), strict=False)
        ratios = [one / other for one, other in pairs]
        return median(ratios) if ratios else math.nan

    def slope(self, what: str) -> float:
        """Return how the time of the connector's runs grows with the collection: the exponent."""
        run = {"contender": "connector", "what": what}
        sizes = sorted({*self.find("patients", **run)})
        times = [self.middle("seconds", patients=size, **run) for size in sizes]
        logarithms = [[math.log(each) for each in values] for values in (sizes, times)]
        return linear_regression(*logarithms).slope if sizes[1:] else math.nan


def bounds(results: Results) -> Iterator[tuple[str, float, float, str]]:
    """Yield what must hold: what it is, the bound, what was measured, and the peers' figures where they are counted."""

    def beside(value: str, what: str, other: str, **same: Any) -> float:
        above, below = ({"what": what, "contender": name, **same} for name in ("connector", other))
        return results.ratio(value, above, below)

    sizes = sorted({*results.find("patients", contender="connector")}) or [0]
    largest, middle = sizes[-1], max((each for each in sizes if each <= MIDDLE), default=0)
    measured = beside("seconds", FIRST_LOAD, "dlt", patients=largest)
    yield f"first load of {largest:,}, fast API: whole run / dlt", 0.75, measured, ""
    measured = beside("cpu", FIRST_LOAD, "dlt", patients=middle)
    yield f"first load of {middle:,}, fast API: CPU of the whole run / dlt's", 1.6, measured, ""
    for api, bound in (("SQLite-backed", 1.25), ("40 ms a page", 1.1)):
        text = "extraction and loading / bare client and start-ups of Meltano, tap and loader"
        measured = beside("loading", f"{FIRST_LOAD}, {api}", "bare client")
        yield f"first load of {min(MIDDLE, largest):,}, {api}: {text}", bound, measured, ""
    measured = results.middle("loading_cpu", what="loader alone")
    yield f"loader's CPU for {min(MIDDLE, largest):,} patients, start-up not counted, s", 0.5, measured, ""
    few = results.find("requests", contender="connector", what="1,000 changes")
    yield "periodic run, 1,000 changes: list requests, at most", 15, max(few, default=math.nan), ""
    slopes = [results.slope(what) for what in RUNS[1:]]
    text = f"slope of the time over {sizes[0]:,} to {largest:,}, the largest of {', '.join(RUNS[1:])}"
    yield f"periodic runs: {text}", 0.05, math.nan if math.isnan(sum(slopes)) else max(slopes), ""
    measured = results.ratio("seconds", {"what": "run without change"}, {"what": "start-ups"})
    yield "run without change / sum of the start-ups of its parts", 1.2, measured, ""
    measured = beside("megabytes", FIRST_LOAD, "dlt", patients=largest)
    yield f"first load of {largest:,}: largest process / dlt's", 1.0, measured, ""
    build = {"what": "build after 1,000 changes"}
    small, large = sorted({*results.find("patients", **build)}) or (0, 0)
    measured = results.ratio("seconds", build | {"patients": large}, build | {"patients": small})
    yield f"transform of 1,000 changes at {large:,} patients / at {small:,}", 1.5, measured, ""
    for kind in LOSSES:
        own, *peers = (results.total("count", kind=kind, contender=name) for name in NAMES)
        yield kind, 0, own, ", ".join(f"{name} {shown(each)}" for name, each in zip(NAMES[1:], peers, strict=True))


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
    digits = 0 if value >= 100 or value.is_integer() else 1 if value >= 10 else 2  # noqa: PLR2004 (three figures)
    return f"{value:,.{digits}f}"


def better(results: Results) -> Iterator[list[str]]:
    """Yield of runs how many times what a peer takes the connector takes, least to most, where it ever takes more."""
    for what in dict.fromkeys(results.find("what", contender="dlt", is_complete=True)):
        for peer in NAMES[1:]:
            cells = []
            for value in COSTS:
                ratios = []
                for patients in {*results.find("patients", what=what, contender=peer)}:
                    own, other = (
                        results.middle(value, what=what, contender=name, patients=patients)
                        for name in ("connector", peer)
                    )
                    ratios.append(round(own / other, 1))
                least, most = min(ratios, default=0), max(ratios, default=0)
                cells.append("" if not most > 1 else f"{least}" if least == most else f"{least} to {most}")
            if any(cells):
                yield [what, peer, *cells]


def runs(results: Results) -> Iterator[list[str]]:
    """Yield what runs cost, by size and contender."""
    own = {"contender": "connector"}
    for patients, what in dict.fromkeys(zip(results.find("patients", **own), results.find("what", **own), strict=True)):
        cells = []
        for name in (*NAMES, "bare client"):
            run = {"patients": patients, "what": what, "contender": name}
            costs = [shown(results.middle(value, **run)) for value in COSTS if results.find(value, **run)]
            is_complete = all(results.find("is_complete", **run))
            cells.append(" · ".join(costs) + ("" if is_complete else " (**incomplete**)"))
        yield [f"{patients:,}", what, *cells]


def losses(results: Results) -> Iterator[list[str]]:
    """Yield what each contender lost."""
    kinds = zip(results.find("kind"), results.find("detail"), strict=True)
    for kind, detail in sorted(dict.fromkeys(kinds), key=lambda each: (*LOSSES, "failed runs").index(each[0])):
        totals = [
            [shown(results.total(value, kind=kind, detail=detail, contender=name)) for value in ("count", "whole")]
            for name in NAMES
        ]
        yield [f"{kind}: {detail}".removesuffix(": "), *(f"{count} of {whole}" for count, whole in totals)]


def page(results: Results) -> str:
    """Return the results as a page of Markdown."""
    held = [
        [text, bound, measured, "" if math.isnan(measured) else measured <= bound, peers]
        for text, bound, measured, peers in bounds(results)
    ]
    [versions] = results.find("versions")[-1:]
    steps = results.find("steps")
    taken = [[name, f"{median(each[name] for each in steps):.1f}"] for name in (steps or [{}])[0]]
    parts = dict.fromkeys(results.find("part", section="parts"))
    started = ", ".join(f"{part} {results.middle('seconds', section='parts', part=part):.1f}" for part in parts)
    whole, alone = (shown(results.middle("seconds", what=what)) for what in ("run without change", "start-ups"))
    sections = {
        "What must hold": [table(["", "bound", "measured", "holds", "peers"], held)],
        "Where others are better": [
            "How many times what a peer takes the connector takes, over the sizes; empty where it never takes more.\n",
            table(["run", "peer", *COSTS.values()], better(results)),
        ],
        "Runs": [
            "Seconds · seconds of CPU · MB of the largest process · list requests, where the service counts them.\n",
            table(["patients", "run", *NAMES, "bare client"], runs(results)),
        ],
        "What is lost": [table(["", *NAMES], losses(results))],
        "Where the seconds of a run without change go": [
            table(["step", "seconds"], taken),
            f"{whole} in all. With nothing to do, its parts start in {alone}: {started}; the tap is started twice.\n",
        ],
        "On what, and with which versions": [table(["", ""], versions.items())],
    }
    return "# Results of the benchmark\n" + "".join(
        f"\n## {title}\n\n" + "\n".join(parts) for title, parts in sections.items()
    )


def picture(results: Results) -> str:
    """Return what decides as SVG: what each contender loses, and what its periodic runs take by size."""
    lost = [
        {"contender": name, "kind": kind, "patients": sum(results.find("count", kind=kind, contender=name))}
        for name in NAMES
        for kind in ("rows never seen", "deletions unseen", "two current rows")
    ]
    run = {"what": "1,000 changes"}
    taken = [
        {"contender": name, "patients": patients}
        | {value: results.middle(value, contender=name, patients=patients, **run) for value in ("seconds", "requests")}
        for name in NAMES
        for patients in sorted({*results.find("patients", contender=name, **run)})
    ]
    contender = {"field": "contender", "type": "nominal", "sort": NAMES}
    by_contender = contender | {"scale": {"domain": NAMES, "range": ["#1f77b4", "#d95f02", "#777777"]}, "title": None}
    of_kind = {"field": "kind", "type": "nominal", "title": None, "scale": {"range": ["#c0392b", "#e59866", "#7d3c98"]}}
    total = {"field": "patients", "type": "quantitative", "aggregate": "sum", "title": "patients, in all tests"}
    y = contender | {"title": "contender"}
    sizes = sorted({each["patients"] for each in taken})
    x = {
        "field": "patients",
        "type": "quantitative",
        "scale": {"type": "log", "padding": 25, "nice": False},
        "title": "patients in the source",
    }
    specification = {
        "background": "white",
        "config": {"font": "sans-serif", "legend": {"orient": "bottom"}},
        "resolve": {"scale": {"color": "independent"}},
        "hconcat": [
            {
                "title": "Patients lost, left current or doubled",
                "data": {"values": lost},
                "width": 330,
                "height": 220,
                "layer": [
                    {"mark": "bar", "encoding": {"y": y, "x": total, "color": of_kind}},
                    {
                        "mark": {"type": "text", "align": "left", "dx": 4},
                        "encoding": {"y": y, "x": total, "text": total},
                    },
                ],
            },
            {
                "title": "A run after 1,000 changes; numbers: its list requests",
                "data": {"values": taken},
                "width": 330,
                "height": 220,
                "encoding": {
                    "x": x | {"axis": {"values": sizes, "format": ","}},
                    "y": {"field": "seconds", "type": "quantitative", "title": "seconds"},
                    "color": by_contender,
                },
                "layer": [
                    {"mark": {"type": "line", "point": True}},
                    {
                        "mark": {"type": "text", "dy": -9},
                        "encoding": {"text": {"field": "requests", "type": "quantitative", "format": ","}},
                    },
                ],
            },
        ],
    }
    return str(vl_convert.vegalite_to_svg(json.dumps(specification), allowed_base_urls=[]))


def report(folder: Path) -> None:
    """Write the report beside the results."""
    results = Results([json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()])
    (folder / "results.md").write_text(page(results))
    (folder / "results.svg").write_text(picture(results))


if __name__ == "__main__":
    report(Path(sys.argv[1]))
