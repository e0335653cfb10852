"""The summary of a run, the last runs, and the contents of the destination."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click
import duckdb
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.log import describe_age, is_json, say
from toubib_connector.runs import read_runs
from toubib_connector.settings import DEFAULT_FILE, PROJECT
from toubib_connector.sql import query

CHANGES = {"new": "green", "changed": "cyan", "deleted": "magenta", "returned": "green", "recovered": "yellow"}
"""Kinds of changes to patients, each with its colour."""

COUNTS = CHANGES | {"rejected": "red"}
RARE = {"returned", "recovered"}


def show_warnings(connection: duckdb.DuckDBPyConnection) -> None:
    """Warn of the records that the last run rejected, and of a difference between source and destination."""
    if rejected := query(connection, "rejected_by_last_run"):
        names = [row["name"] for row in rejected]
        if (others := rejected[0]["others"]) > 0:
            names.append(f"{others:,} others")
        say(f"Warning: Could not be loaded, and is in raw.rejected_records: {', '.join(names)}", "warning")
    for totals in query(connection, "totals"):
        if totals["source_patients"] != totals["patients"]:
            say(
                "Warning: The source has {source_patients} patients, the destination {patients}".format_map(totals),
                "warning",
            )


def show_summary(run: Mapping[str, Any], destination: Destination) -> None:
    """Print the counts of a run, and the commands that show its data."""
    counts = {name: run[name] for name in COUNTS if run[name] or name not in RARE}
    facts = {"requests": run["requests"], "seconds": round(run["seconds"], 1), "tests passed": run["tests"]}
    if is_json() or not any(counts.values()):
        changes = _join(counts) or "Nothing changed"
        say(f"{changes}: {_join({'patients': run['patients']} | facts)}", **run)
        return
    numbers = {"patients now": run["patients"]} | counts | facts
    width = max(len(f"{number:,}") for number in numbers.values())
    for name, number in numbers.items():
        click.secho(f"{number:>{width},}  {name}", fg=COUNTS.get(name) if number else None, dim=not number)
    file = destination.path
    typed = file.relative_to(PROJECT) if file.is_relative_to(PROJECT) else file
    variable = "" if file == DEFAULT_FILE else f" DESTINATION_DUCKDB_PATH={shlex.quote(str(typed))}"
    click.echo(f"In {file}\nQuery it: make sql{variable}\nSee it: make report{variable}")


def _join(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items() if number)


def show_status(destination: Destination, *, as_json: bool = False) -> bool:
    """Print the last runs, the failed ones included, how old the data are, and how many.

    Args:
        destination: If it cannot be read, only the runs are shown.
        as_json: One JSON object, for a monitor.

    Returns:
        Whether the last run succeeded; True if there is none.

    Raises:
        Failure: There is no run, and the file cannot be read.
    """
    runs = read_runs(destination, 10)
    totals: dict[str, Any] = {}
    try:
        with destination.connect_for_reading() as connection:
            totals = dict(*query(connection, "totals"))
    except Failure as error:
        if not runs:
            raise
        unreadable = error.message
    else:
        unreadable = "" if totals else "Nothing was loaded yet; `make run` loads the patients."
    is_healthy = not runs or runs[0]["outcome"] == "succeeded"
    if as_json:
        status = {"is_healthy": is_healthy, "last_run": next(iter(runs), None)} | totals
        click.echo(json.dumps(status, default=datetime.isoformat))
        return is_healthy
    if runs:
        _show_runs(runs)
    if unreadable:
        say(unreadable, "warning")
    else:
        _show_totals(destination, totals)
    return is_healthy


def _show_runs(runs: list[dict[str, Any]]) -> None:
    # 80 columns at most: the long name of a schedule takes two lines
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
    for name in ("started, UTC", "trigger", "outcome", "kind"):
        table.add_column(name, no_wrap=name != "trigger", overflow="fold")
    for name in ("changes", "rejected", "requests", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        changes = [run[name] for name in CHANGES if run[name] is not None]
        counts = (sum(changes) if changes else None, run["rejected"], run["requests"], run["seconds"])
        table.add_row(
            _format_instant(run["started_at"]),
            *(run[name] or "" for name in ("trigger", "outcome", "kind")),
            *("" if count is None else f"{count:,.0f}" for count in counts),
            style="" if run["outcome"] == "succeeded" else "red",
        )
    Console(highlight=False).print(table)
    # each reason once: a service may be down for a day
    reasons = {run["reason"]: run for run in reversed(runs) if run["reason"]}
    for reason, run in reversed(reasons.items()):
        say(f"The run of {_format_instant(run['started_at'])} {run['outcome']}: {reason}")


def _show_totals(destination: Destination, totals: dict[str, Any]) -> None:
    age = describe_age(datetime.now(UTC) - totals["source_as_of"])
    as_of = f"{totals['source_as_of']:%Y-%m-%d %H:%M:%S} UTC, {age} ago"
    say(f"The source as of {as_of}: {totals['source_patients']:,} patients")
    say(
        "The destination: {patients:,} current patients, {versions:,} versions, {observations:,} observations, "
        "{rejected:,} rejected records".format_map(totals)
    )
    say(f"{destination.path} has {destination.path.stat().st_size / 1e6:.1f} MB")


def _format_instant(instant: datetime) -> str:
    return f"{instant:%d %b %H:%M:%S}"


def show_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Print the tables, at most as wide as the terminal."""
    tables = connection.sql(
        "select database, schema, name, len(column_names) as columns from (show all tables) order by all"
    )
    tables.show(max_width=shutil.get_terminal_size().columns, max_rows=100)
