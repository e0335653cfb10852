"""Running Meltano on a destination."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.log import is_verbose
from toubib_connector.settings import MELTANO, PROJECT, make_meltano_environment
from toubib_connector.system_database import discard_half_made

LEAST_ROOM = 1_000_000
"""Bytes on the disk; with less a run fails of whatever it writes first, and cannot keep why."""

STOP_TIMEOUT = 5
"""Seconds that the parts of a stopped run have to end by themselves."""


def run_meltano(destination: Destination, *arguments: str) -> int:
    """Run Meltano; return how many tests of the data passed. SIGTERM and SIGINT end it, and with it this process.

    What a person sees of it, Meltano shows itself, by `logging.yaml`; its full log goes beside the destination.

    Args:
        destination: Where data and state go.
        arguments: Of the command line.

    Raises:
        Failure: It failed; the message is the error that the loader, the tap or dbt ended with.
    """
    discard_half_made(destination)
    _make_system_folder(destination)
    progress = destination.scratch / "progress.json"
    progress.unlink(missing_ok=True)
    with destination.log.open("a") as log:
        exit_code = run_until_stopped(
            # what `.env` says is in the environment already
            [str(MELTANO), f"--env-file={os.devnull}", f"--log-config={PROJECT / 'logging.yaml'}", *arguments],
            cwd=PROJECT,
            env=make_meltano_environment(destination) | {"TOUBIB_PROGRESS": str(progress)},
            stderr=None if is_verbose() else log,
            close_fds=False,
        )
    kept = _read_progress(progress)
    if exit_code:
        reason = kept.get("reason") or f"meltano {arguments[0]} ended with exit code {exit_code}"
        if not kept.get("reason") and shutil.disk_usage(destination.work_folder).free < LEAST_ROOM:
            reason = f"{destination.shown(destination.work_folder)}: No space left on device"
        raise Failure(reason, None if is_verbose() else destination.shown(destination.log), kept.get("patients_read"))
    return int(kept.get("tests_passed", 0))


def run_until_stopped(command: list[str], **options: Any) -> int:
    """Return the exit code of a command. SIGTERM and SIGINT end it with all that it started, and then this process."""
    received: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def stop(signum: int, _: object) -> None:
        received.append(signum)
        if process:
            _end(process.pid)

    previous = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        process = subprocess.Popen(command, **options)
        # one that came while the process was being started
        if received:
            _end(process.pid)
        exit_code = process.wait()
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
    if received:
        sys.exit(128 + received[0])
    return exit_code


def _end(pid: int) -> None:
    """End a process and all that it started."""
    with suppress(psutil.NoSuchProcess):
        # Meltano alone would leave a dbt that has just begun behind, to meet the next run
        run = psutil.Process(pid)
        parts = [run, *run.children(recursive=True)]
        for part in parts:
            with suppress(psutil.NoSuchProcess):
                part.terminate()
        _, deaf = psutil.wait_procs(parts, timeout=STOP_TIMEOUT)
        for part in deaf:
            with suppress(psutil.NoSuchProcess):
                part.kill()


def _read_progress(path: Path) -> dict[str, Any]:
    """Return what was kept of a run; nothing where it did not begin, or a full disk cut it short."""
    with suppress(FileNotFoundError, ValueError):
        return dict(json.loads(path.read_text()))
    return {}


def _make_system_folder(destination: Destination) -> None:
    """Make Meltano's own folder for a destination: the plugins are shared, configurations and catalogs are not."""
    folder = destination.scratch / "meltano"
    if not folder.exists():
        folder.mkdir()
        for plugins in ("extractors", "loaders", "utilities"):
            (folder / plugins).symlink_to(PROJECT / ".meltano" / plugins)
