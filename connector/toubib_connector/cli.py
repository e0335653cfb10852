"""The command line."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import Any

import click

from toubib_connector.api import check_health, choose_api, hide_credentials
from toubib_connector.destination import Destination
from toubib_connector.errors import fail_in_one_line
from toubib_connector.log import say
from toubib_connector.meltano import run_meltano
from toubib_connector.published_copy import publish_copy
from toubib_connector.recorded_runs import prepare_runs, record_run
from toubib_connector.report import write_report
from toubib_connector.schedule import Scheduler, read_outcome, read_schedules
from toubib_connector.settings import API, DESTINATION, PROJECT, load_environment, locate, say_what_is_ignored
from toubib_connector.source import check_source
from toubib_connector.state import match_state
from toubib_connector.status import show_demo_history, show_status, show_tables
from toubib_connector.system_database import STATE_ID

JOB = "toubib"
SHOWN_AT_FIRST = re.compile(r'resource_types:\["model"[^]]*\](?=,depth:1)')
VERSIONS = "select count(*), count(distinct patient_id) from main.patients_history"


class Commands(click.Group):
    """Commands that fail in one line, their own settings and those of the group included."""

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Take the settings."""
        with fail_in_one_line():
            load_environment()
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with fail_in_one_line():
            return super().invoke(ctx)


@click.group(cls=Commands)
@click.option(
    "--destination",
    envvar=DESTINATION,
    default=str(PROJECT / "data" / "destination.duckdb"),
    help="The DuckDB file.",
    show_envvar=True,
)
@click.pass_context
def main(context: click.Context, destination: str) -> None:
    """Replicate the patients of a Toubib service into a DuckDB file, with their history."""
    # patients' data are their owner's alone
    os.umask(0o077)
    # the first process of a container ignores a signal that it does not handle
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
    context.obj = Destination(locate(destination))


@main.command()
@click.pass_obj
def init_db(destination: Destination) -> None:
    """Make the schemas and the empty tables, where they are missing, and list them."""
    with destination.lock():
        with destination.connect(read_only=False) as connection:
            prepare_runs(connection)
            say("Successfully connected to the destination DB.")
        run_meltano(destination, "run", "dbt:init")
    with destination.connect(read_only=True) as connection:
        show_tables(connection)


@main.command()
@click.option(
    "--api-url",
    envvar=API,
    help="Base URL of the service; by default localhost:8000, if a Toubib answers there, or the bundled API.",
    show_envvar=True,
)
@click.option("--auth-token", envvar="TAP_TOUBIB_AUTH_TOKEN", help="Bearer token, if it wants one.", show_envvar=True)
@click.option(
    "--full-refresh",
    envvar="TAP_TOUBIB_FULL_REFRESH",
    is_flag=True,
    help="Read everything again, whatever the state says.",
    show_envvar=True,
)
@click.option(
    "--publish",
    envvar="TOUBIB_PUBLISH",
    is_flag=True,
    help="Leave a copy that can be read while the next run writes.",
    show_envvar=True,
)
@click.pass_obj
def run(
    destination: Destination, api_url: str | None, auth_token: str | None, *, full_refresh: bool, publish: bool
) -> None:
    """Extract, load, transform, test, and say what changed."""
    with record_run(destination) as record_success, choose_api(api_url) as url:
        is_bundled = check_health(url, auth_token)
        shown_url = hide_credentials(url)
        say(f"Reading from {shown_url}{', the bundled API with made-up patients' if is_bundled else ''}")
        say(f"Writing to {destination.shown()}")
        say_what_is_ignored()
        os.environ[API] = url
        if auth_token:
            os.environ["TAP_TOUBIB_AUTH_TOKEN"] = auth_token
        os.environ["TAP_TOUBIB_FULL_REFRESH"] = str(full_refresh).lower()
        with destination.lock():
            check_source(destination, shown_url, is_bundled=is_bundled)
            if state := match_state(destination, full_refresh=full_refresh):
                run_meltano(destination, "state", "set", "--force", STATE_ID, f"--input-file={state}")
            # the lock is held, so a run that Meltano believes to be under way was killed
            run_meltano(destination, "run", "--force", JOB)
            record_success()
            if publish:
                publish_copy(destination)


@main.command()
@click.pass_obj
def rebuild_history(destination: Destination) -> None:
    """Build the history again from raw alone."""
    destination.check_exists()
    with destination.lock():
        run_meltano(destination, "run", "dbt:rebuild")
    with destination.connect(read_only=True) as connection:
        say("Built {} versions of {} patients".format(*connection.execute(VERSIONS).fetchone() or ()))


@main.command()
@click.pass_obj
def docs(destination: Destination) -> None:
    """Describe the tables and where they come from, as one page to open in a browser."""
    destination.check_exists()
    with destination.lock():
        run_meltano(destination, "run", "dbt:docs")
    page = destination.work_folder / "dbt" / "static_index.html"
    # the lineage begins with tables only; tests and queries can be chosen on the page, and dbt has no setting
    text = SHOWN_AT_FIRST.sub('resource_types:["model","source"]', page.read_text(encoding="utf-8"))
    page.write_text(text, encoding="utf-8")
    say(f"Open {destination.shown(page)}")


@main.command()
@click.pass_obj
def schedule(destination: Destination) -> None:
    """Run by the schedules of meltano.yml, until stopped."""
    Scheduler(destination, read_schedules(JOB)).serve()


@main.command()
@click.option("--check", is_flag=True, help="Exit with 1 if the last run failed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a monitor.")
@click.pass_obj
def status(destination: Destination, *, check: bool, as_json: bool) -> None:
    """Show the last runs, how old the data are, and how many."""
    is_healthy = show_status(destination, as_json=as_json)
    sys.exit(check and not is_healthy)


@main.command()
@click.pass_obj
def report(destination: Destination) -> None:
    """Draw the patients, their changes and the runs into an HTML file beside the DuckDB file."""
    write_report(destination)
    say(f"The report is {destination.shown(destination.report)}")


@main.command(hidden=True)
@click.pass_obj
def where(destination: Destination) -> None:
    """Print the path of the DuckDB file, for `make sql`."""
    click.echo(destination.shown())


@main.command(hidden=True)
@click.pass_obj
def demo_history(destination: Destination) -> None:
    """Show the history of some made-up patients, at the end of `make demo`."""
    with destination.connect_for_reading() as connection:
        show_demo_history(connection)


@main.command()
@click.pass_obj
def healthy(destination: Destination) -> None:
    """Exit with 1 if the last scheduled run failed."""
    outcome = read_outcome(destination)
    if not outcome:
        say("No scheduled run has ended yet.")
    else:
        say("The run of {started_at} ended at {ended_at} with exit code {exit_code}.".format_map(outcome))
        sys.exit(outcome["exit_code"] != 0)
