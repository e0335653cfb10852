"""Run Meltano on a destination, and read the state that it keeps."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from toubib_connector.destination import HOLDER, Destination
from toubib_connector.errors import Failure
from toubib_connector.settings import PROJECT, Settings

STATE_ID = "prod:tap-toubib-to-target-duckdb"

PASSED_ON = re.compile(
    "PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_.*|TZ|TMPDIR|TERM|COLUMNS|NO_COLOR|LD_.*|FAKETIME.*"
    "|(HTTP|HTTPS|ALL|NO)_PROXY|(http|https|all|no)_proxy|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|SSL_CERT_.*"
    "|TAP_TOUBIB_(?!FULL_REFRESH).*|TOUBIB_MEMORY_LIMIT|MELTANO_AUTO_INSTALL|MELTANO_CLI_LOG_FORMAT"
    "|PYTHON(DONTWRITEBYTECODE|PYCACHEPREFIX|UNBUFFERED|UTF8)"
)
"""The user's variables that Meltano and its plugins get. Others could redirect a part of a run."""

STOP_TIMEOUT = 5
"""Seconds that a stopped Meltano has to end by itself."""


def run_meltano(settings: Settings, job: str, run: dict[str, Any] | None = None, **variables: str) -> None:
    """Run a job on a locked destination. A signal ends it, and then this process.

    Meltano itself shows the progress, by `logging.yaml`; its full log goes beside the destination. Its progress is
    added to the line of the run.

    Raises:
        Failure: Meltano failed; the message is the error of the loader, the tap or dbt.
    """
    destination = settings.destination
    if not read_states(destination):
        # a kill or a full disk can leave a system database that Meltano cannot use
        remove_states(destination)
    folder = destination.scratch / "meltano"
    folder.mkdir()
    for plugins in ("extractors", "loaders", "utilities"):
        # destinations share the plugins, but not configurations and catalogs
        (folder / plugins).symlink_to(PROJECT / ".meltano" / plugins)
    options = [f"--env-file={os.devnull}", f"--log-config={PROJECT / 'logging.yaml'}"]
    # this process holds the lock, so a run that Meltano takes for active was killed
    command = [str(Path(sys.executable).with_name("meltano")), *options, "run", "--force", job]
    kept: dict[str, Any] = {}
    try:
        with destination.log.open("w") as log:
            exit_code = run_until_stopped(
                command,
                cwd=PROJECT,
                env=make_environment(settings) | variables,
                stderr=None if settings.is_verbose else log,
                close_fds=False,
            )
    finally:
        # missing if Meltano did not start, incomplete if the disk was full
        with suppress(FileNotFoundError, ValueError):
            kept = json.loads((destination.scratch / "progress.json").read_text())
        if run is not None:
            run |= {
                "read": kept.get("patients_read"),
                "tests": kept.get("tests_passed"),
                "steps": kept.get("steps", {}),
            }
    if exit_code:
        reason = kept.get("reason") or f"meltano run {job} ended with exit code {exit_code}"
        if found := HOLDER.search(reason):
            reason = f"{found[1]} has {destination.path} open. Close it there and run again"
        reason = reason.removeprefix("Error: ").replace(str(destination.path_for_tools), str(destination.path))
        raise Failure(reason, None if settings.is_verbose else destination.log)


def make_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that Meltano and its plugins get."""
    folder = settings.destination.alias
    scratch = folder / "scratch"
    environment = {name: value for name, value in settings.environment.items() if PASSED_ON.fullmatch(name)}
    return environment | {
        "MELTANO_PROJECT_ROOT": str(PROJECT),
        "MELTANO_ENVIRONMENT": "prod",
        "MELTANO_STATE_BACKEND_URI": "systemdb",
        "MELTANO_DATABASE_URI": f"sqlite:///{scratch / 'meltano.db'}",
        "MELTANO_SYS_DIR_ROOT": str(scratch / "meltano"),
        "TAP_TOUBIB_BATCH_CONFIG_STORAGE_ROOT": f"file://{scratch / 'batches'}",
        "TARGET_DUCKDB_FILEPATH": str(settings.destination.path_for_tools),
        "TARGET_DUCKDB_DEFAULT_TARGET_SCHEMA": "raw",
        "TARGET_DUCKDB_ADD_METADATA_COLUMNS": "true",
        "TARGET_DUCKDB_TEMP_DIR": str(scratch),
        "XDG_STATE_HOME": str(scratch),
        "DBT_DUCKDB_PATH": str(settings.destination.path_for_tools),
        "DBT_TARGET": "duckdb",
        "DBT_TARGET_PATH": str(folder / "dbt"),
        # Meltano's log includes dbt's; a file of dbt's own would hold the withheld values
        "DBT_LOG_LEVEL_FILE": "none",
        "DBT_LOG_PATH": str(scratch),
        # dbt's artefacts have no reader, and take longer to write than most models to build
        "DBT_WRITE_JSON": "false",
        # `logging.yaml` reads its progress
        "DBT_LOG_FORMAT": "json",
        "DBT_USE_COLORS": "false",
        "TOUBIB_PROGRESS": str(settings.destination.scratch / "progress.json"),
        "VERBOSE": "1" if settings.is_verbose else "",
    }


def run_until_stopped(command: list[str], **options: Any) -> int:
    """Return the exit code of a command. SIGTERM, SIGINT and SIGHUP end it, its children and this process.

    Raises:
        SystemExit: There was such a signal.
    """
    received: list[int] = []
    # a signal that `nohup` ignores stays ignored
    signums = [
        each for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN
    ]
    previous = {signum: signal.signal(signum, lambda signum, _: received.append(signum)) for signum in signums}
    try:
        # in its own process group: Meltano alone could leave a dbt process behind that has just started
        process = subprocess.Popen(command, start_new_session=True, **options)
        while process.poll() is None and not received:
            time.sleep(0.05)
        if received:
            _end_group(process)
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
    if received:
        sys.exit(128 + received[0])
    return process.returncode


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read_states(destination: Destination) -> dict[str, dict[str, Any]]:
    """Return the bookmark of the patients in each state of Meltano's system database, by the state's id.

    Raises:
        Failure: The system database is damaged.
    """
    path = destination.system_database
    states: dict[str, dict[str, Any]] = {}
    if not path.exists():
        return states
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        try:
            for state_id, *texts in connection.execute("select state_id, completed_state, partial_state from state"):
                states[state_id] = {}
                for text in texts:
                    # missing, or of another tap; the tap itself reports a damaged one
                    with suppress(LookupError, TypeError, ValueError):
                        states[state_id] |= json.loads(text)["singer_state"]["bookmarks"]["patients"]
        except sqlite3.Error as error:
            if "no such table" not in str(error):  # before the first run
                raise Failure(
                    f"Cannot read {path}: {error}. If it is damaged, remove it: the next run reads every patient again."
                ) from error
    return states


def remove_states(destination: Destination) -> None:
    """Remove the system database."""
    for suffix in ("", "-wal", "-shm"):
        destination.system_database.with_name(f"{destination.system_database.name}{suffix}").unlink(missing_ok=True)
