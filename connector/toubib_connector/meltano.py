"""Running Meltano on a destination."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from toubib_connector.log import Failure, say
from toubib_connector.redaction import Redaction
from toubib_connector.state import discard_half_made

if TYPE_CHECKING:
    from collections.abc import Iterator

    from toubib_connector.destination import Destination

PROJECT = Path(__file__).parents[2]
MELTANO = Path(sys.executable).with_name("meltano")

UNTOLD = re.compile(
    "METRIC$|Force option is enabled|No state was found, complete import|Need help fixing this problem|"
    "Running state operation for environment .* outside of an environment"
)
"""What Meltano tells of runs that are as they should be, three times as a warning, and where it invites to."""


def run_meltano(destination: Destination, *arguments: str, log_level: str = "info") -> None:
    """Run Meltano and pass its log on. SIGTERM and SIGINT end it, and with it this process.

    Args:
        destination: Where data and state go.
        arguments: Of the command line.
        log_level: Never `debug`: at that level Meltano logs every record.

    Raises:
        Failure: It failed; the message is the last error of the tap, if it had one.
    """
    discard_half_made(destination)
    process = subprocess.Popen(
        [MELTANO, f"--log-level={log_level}", "--log-format=json", *arguments],
        cwd=PROJECT,
        env=_environment(destination),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        close_fds=False,
    )
    reason = f"meltano {arguments[0]} failed; its log above says why"
    redact = Redaction()
    with _ended_by_signals(process):
        for line in process.stdout or ():
            record = _record(line)
            logger = record.get("name", "meltano")
            # what a plugin says is told as it says it, not once more when Meltano gives up
            message = redact(logger, record["event"].rstrip().split(" with stderr:\n")[0])
            if message is None or UNTOLD.match(message):
                continue
            say(message, record["level"], logger, record.get("timestamp"))
            if record["level"] in {"error", "critical"} and logger == "tap-toubib":
                reason = message
        failed = process.wait()
    if failed:
        raise Failure(reason)


@contextmanager
def _ended_by_signals(process: subprocess.Popen[str]) -> Iterator[None]:
    """Have SIGTERM and SIGINT end a Meltano with all that it started, and then this process."""
    stopped: list[psutil.Process] = []
    received: list[int] = []

    def stop(signum: int, _: object) -> None:
        received.append(signum)
        with suppress(psutil.NoSuchProcess):
            run = psutil.Process(process.pid)
            # Meltano alone would leave a dbt that has just begun behind, to meet the next run
            stopped.extend([run, *run.children(recursive=True)])
        for part in stopped:
            with suppress(psutil.NoSuchProcess):
                part.terminate()

    previous = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
    if received:
        psutil.wait_procs(stopped)
        sys.exit(128 + received[0])


def _record(line: str) -> dict[str, Any]:
    """Return a line of Meltano's log, or what a plugin printed past it."""
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    return record if isinstance(record, dict) and "event" in record else {"event": line, "level": "info"}


def _system_folder(destination: Destination) -> Path:
    """Make Meltano's own folder for a destination: the plugins are shared, configurations and catalogs are not."""
    folder = destination.scratch / "meltano"
    if not folder.exists():
        folder.mkdir()
        for plugins in ("extractors", "loaders", "utilities"):
            (folder / plugins).symlink_to(PROJECT / ".meltano" / plugins)
    return folder


def _environment(destination: Destination) -> dict[str, str]:
    environment = os.environ | {
        # the state is kept for each
        "MELTANO_ENVIRONMENT": "prod",
        "TARGET_DUCKDB_FILEPATH": str(destination.path),
        "DBT_DUCKDB_PATH": str(destination.path),
        "MELTANO_SYS_DIR_ROOT": str(_system_folder(destination)),
        "MELTANO_DATABASE_URI": f"sqlite:///{destination.system_database}",
        "TARGET_DUCKDB_TEMP_DIR": str(destination.scratch),
        "XDG_STATE_HOME": str(destination.scratch),
        "DBT_TARGET_PATH": str(destination.work_folder / "dbt"),
        # its log is a part of Meltano's; a second one on disk would hold what is withheld in the first
        "DBT_LOG_LEVEL_FILE": "none",
        "DBT_LOG_PATH": str(destination.scratch),
        # nobody reads the artefacts, which take longer to write than most models to build
        "DBT_WRITE_JSON": "false",
        "DBT_LOG_LEVEL": "warn",
        "DBT_USE_COLORS": "false",
    }
    # in meltano.yml this one names the state of a destination in a system database that several share
    environment.pop("DESTINATION_DUCKDB_PATH", None)
    return environment
