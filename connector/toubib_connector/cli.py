"""The command line."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from toubib_connector.errors import fail_in_one_line
from toubib_connector.log import say
from toubib_connector.meltano import run_meltano
from toubib_connector.pipeline import run_pipeline
from toubib_connector.runs import read_runs
from toubib_connector.schedule import read_schedules, serve_schedules
from toubib_connector.settings import DEFAULT_FILE, PROJECT, Settings, load_dotenv, locate
from toubib_connector.status import show_status, show_tables

ANALYSES = PROJECT / "transform" / "analyses"

setting = partial(click.option, show_envvar=True)


class Commands(click.Group):
    """Commands that read `.env` and fail in one line."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the settings."""
        with fail_in_one_line():
            load_dotenv()
        return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with fail_in_one_line():
            return super().invoke(ctx)


@click.group(cls=Commands)
@setting("--destination", envvar="DESTINATION_DUCKDB_PATH", default=str(DEFAULT_FILE), help="The DuckDB file.")
@setting("--verbose", envvar="VERBOSE", is_flag=True, help="Show the full log of Meltano.")
@click.version_option(package_name="toubib-connector")
@click.pass_context
def main(context: click.Context, destination: str, *, verbose: bool) -> None:
    """Replicate the patients of a Toubib service into a DuckDB file, with their history."""
    # only the owner may read patients' data
    os.umask(0o077)
    for signum in (signal.SIGTERM, signal.SIGINT):
        # the first process of a container ignores a signal that it does not handle
        signal.signal(signum, lambda signum, _: sys.exit(128 + signum))
    # an empty variable counts as not set
    context.obj = Settings(locate(destination), {name: value for name, value in os.environ.items() if value}, verbose)


@main.command()
@click.pass_obj
def init_db(settings: Settings) -> None:
    """Make the schemas and the empty tables, where they are missing, and list them."""
    destination = settings.destination
    with destination.lock():
        with destination.connect():
            say("Successfully connected to the destination DB.")
        run_meltano(settings, "dbt:init")
        with destination.connect(read_only=True) as connection:
            show_tables(connection)


@main.command()
@setting(
    "--full-refresh",
    envvar="TAP_TOUBIB_FULL_REFRESH",
    is_flag=True,
    help="Read every patient again, whatever the state says.",
)
@setting("--publish", envvar="TOUBIB_PUBLISH", is_flag=True, help="Leave a copy to be read while the next run writes.")
@click.pass_obj
def run(settings: Settings, /, **options: Any) -> None:
    """Extract, load, transform, test, and say what changed. API_BASEURL names the service; see `.env.example`."""
    run_pipeline(replace(settings, **options))


@main.command()
@click.pass_obj
def rebuild_history(settings: Settings) -> None:
    """Build the history again from raw alone."""
    destination = settings.destination
    destination.check_exists()
    with destination.lock():
        run_meltano(settings, "dbt:rebuild")
        with destination.connect(read_only=True) as connection:
            counts = connection.execute("select count(*), count(distinct patient_id) from main.patients_history")
            say("Built {} versions of {} patients".format(*counts.fetchone() or ()))


@main.command()
@click.pass_obj
def docs(settings: Settings) -> None:
    """Describe the tables and where they come from, as one page to open in a browser."""
    destination = settings.destination
    destination.check_exists()
    with destination.lock():
        run_meltano(settings, "dbt:docs")
        shutil.copyfile(destination.work_folder / "dbt" / "static_index.html", destination.docs)
    say(f"Open {destination.docs}")


@main.command()
@click.pass_obj
def schedule(settings: Settings) -> None:
    """Run by the schedules of meltano.yml, until stopped."""
    serve_schedules(settings.destination, read_schedules())


@main.command()
@click.option("--check", is_flag=True, help="Exit with 1 if the last run failed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a monitor.")
@click.pass_obj
def status(settings: Settings, /, *, check: bool, as_json: bool) -> None:
    """Show the last runs, how old the data are, and how many."""
    is_healthy = show_status(settings.destination, as_json=as_json)
    sys.exit(check and not is_healthy)


@main.command()
@click.pass_obj
def healthy(settings: Settings) -> None:
    """Exit with 1 if the last scheduled run failed or was stopped."""
    scheduled = (run for run in read_runs(settings.destination, 1000) if run["trigger"] != "manual")
    sys.exit(next(scheduled, {"outcome": "succeeded"})["outcome"] != "succeeded")


@main.command()
@click.pass_obj
def report(settings: Settings) -> None:
    """Draw the patients, their changes and the runs into an HTML file beside the DuckDB file."""
    from toubib_connector.report import write_report  # noqa: PLC0415 (other commands start sooner without)

    write_report(settings.destination)
    say(f"The report is {settings.destination.report}")


@main.command()
@click.pass_obj
def sql(settings: Settings) -> None:
    """Open DuckDB's own prompt on the file, read only."""
    path = settings.destination.path
    settings.destination.check_exists()
    if sys.stdin.isatty():
        click.echo(f"{path}, read only. Ready queries:")
        for query in sorted(ANALYSES.glob("*.sql")):
            title = query.read_text(encoding="utf-8").splitlines()[0].removeprefix("-- ")
            click.echo(f"{title}\n  .read {query.relative_to(PROJECT)}")
    os.chdir(PROJECT)
    shell = str(Path(sys.executable).with_name("duckdb"))
    os.execv(shell, [shell, "-readonly", str(path)])  # noqa: S606 (no shell of the system's)
