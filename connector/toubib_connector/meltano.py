"""Running Meltano on a destination."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from toubib_connector.destination import Destination

PROJECT = Path(__file__).parents[2]
CRITICAL = re.compile(r"\[critical *\] *\S+ +(?P<message>.*)")


def run_meltano(destination: Destination, *arguments: str) -> None:
    """Run Meltano and pass its log on.

    Args:
        destination: Where data and state go.
        arguments: Of the command line.

    Raises:
        click.ClickException: It failed; the message is the last critical line of its log, if there is one.
    """
    process = subprocess.Popen(
        [Path(sys.executable).with_name("meltano"), *arguments],
        cwd=PROJECT,
        env=_environment(destination),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    signal.signal(signal.SIGTERM, lambda signum, _: process.send_signal(signum))
    reason = f"meltano {arguments[0]} failed; its log above says why"
    for line in process.stdout or ():
        click.echo(line, nl=False)
        if critical := CRITICAL.search(line):
            reason = critical["message"]
    if process.wait():
        raise click.ClickException(reason)


def _system_folder(destination: Destination) -> Path:
    """Make Meltano's own folder for a destination: the plugins are shared, configurations and catalogs are not."""
    folder = destination.work_folder / "meltano"
    folder.mkdir(exist_ok=True)
    for plugins in ("extractors", "loaders", "utilities"):
        link = folder / plugins
        link.unlink(missing_ok=True)
        link.symlink_to(PROJECT / ".meltano" / plugins)
    return folder


def _environment(destination: Destination) -> dict[str, str]:
    environment = os.environ | {
        "TARGET_DUCKDB_FILEPATH": str(destination.path),
        "DBT_DUCKDB_PATH": str(destination.path),
        "MELTANO_SYS_DIR_ROOT": str(_system_folder(destination)),
        "MELTANO_DATABASE_URI": f"sqlite:///{destination.system_database}",
        "TARGET_DUCKDB_TEMP_DIR": str(destination.work_folder),
        "DBT_TARGET_PATH": str(destination.work_folder / "dbt"),
        "DBT_LOG_PATH": str(destination.work_folder / "logs"),
        "XDG_STATE_HOME": str(destination.work_folder / "logs"),
    }
    # in meltano.yml this one names the state of a destination in a system database that several share
    environment.pop("DESTINATION_DUCKDB_PATH", None)
    return environment
