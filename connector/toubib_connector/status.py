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
from toubib_connector.log import is_json, say
from toubib_connector.runs import read_runs
from toubib_connector.settings import DEFAULT_FILE, PROJECT
from toubib_connector.sql import query

CHANGES = ("new", "changed", "deleted", "returned", "recovered")
"""Kinds of changes to patients."""


def describe_changes(counts: Mapping[str, Any]) -> str:
    """Return the numbers that are not 0 in words."""
    changes = ", ".join(f"{counts[name]:,} {name}" for name in (*CHANGES, "rejected") if counts.get(name))
    return changes or "Nothing changed"


def show_warnings(connection: duckdb.DuckDBPyConnection) -> None:
    """Warn of the records that the last run rejected, and of a difference between source and destination."""
    if rejected := query(connection, "rejected_by_last_run"):
        names = [row["name"] for row in rejected]
        if (others := rejected[0]["others"]) > 0:
            names.append(f"{others:,} others")
        say(f"Warning: Could not be loaded, and is in raw.rejected_records: {', '.join(names)}", "warning")
    for totals in query(connection, "totals"):
        if totals["source_patients"] != totals["patients"]:
            warning = "Warning: The source has {source_patients} patients, the destination {patients}"
            say(warning.format_map(totals), "warning")


def show_summary(run: Mapping[str, Any], destination: Destination) -> None:
    """Print the counts of a run, and the commands that show its data."""
    facts = "{patients:,} patients, {requests:,} requests, {seconds:,.1f} seconds".format_map(run)
    tests = f", {run['tests']} tests passed" if run["tests"] else ""
    say(f"{describe_changes(run)}: {facts}{tests}", **run)
    # after a build
    if tests and not is_json():
        file = destination.path
        typed = file.relative_to(PROJECT) if file.is_relative_to(PROJECT) else file
        variable = "" if file == DEFAULT_FILE else f" DESTINATION_DUCKDB_PATH={shlex.quote(str(typed))}"
        click.echo(f"In {file}\nQuery it: make sql{variable}\nSee it: make report{variable}")


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
    is_healthy = not runs or runs[0]["outcome"] == "succeeded"
    totals: dict[str, Any] = {}
    missing = "Nothing was loaded yet; `make run` loads the patients."
    try:
        with destination.connect_for_reading() as connection:
            totals = dict(*query(connection, "totals"))
    except Failure as error:
        if not runs:
            raise
        missing = error.message
    if as_json:
        status = {"is_healthy": is_healthy, "last_run": next(iter(runs), None)} | totals
        click.echo(json.dumps(status, default=datetime.isoformat))
        return is_healthy
    if runs:
        _show_runs(runs)
    if totals:
        as_of = totals["source_as_of"].replace(microsecond=0)
        age = datetime.now(UTC).replace(microsecond=0) - as_of
        say(f"The source as of {as_of:%Y-%m-%d %H:%M:%S} UTC, {age} ago: {totals['source_patients']:,} patients")
        say(
            "The destination: {patients:,} current patients, {versions:,} versions, {observations:,} observations, "
            "{rejected:,} rejected records".format_map(totals)
        )
        say(f"{destination.path} has {destination.path.stat().st_size / 1e6:.1f} MB")
    else:
        say(missing, "warning")
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
            f"{run['started_at']:%d %b %H:%M:%S}",
            *(run[name] or "" for name in ("trigger", "outcome", "kind")),
            *("" if count is None else f"{count:,.0f}" for count in counts),
            style="" if run["outcome"] == "succeeded" else "red",
        )
    Console(highlight=False).print(table)
    # each reason once: a service may be down for a day
    reasons = {run["reason"]: run for run in reversed(runs) if run["reason"]}
    for run in reversed(reasons.values()):
        say("The run of {started_at:%d %b %H:%M:%S} {outcome}: {reason}".format_map(run))


def show_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Print the tables, at most as wide as the terminal."""
    tables = connection.sql(
        "select database, schema, name, len(column_names) as columns from (show all tables) order by all"
    )
    tables.show(max_width=shutil.get_terminal_size().columns, max_rows=100)
