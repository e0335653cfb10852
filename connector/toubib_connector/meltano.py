"""Running Meltano on a destination."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

from toubib_connector.log import Failure, is_verbose
from toubib_connector.settings import MELTANO, PROJECT, meltano_environment
from toubib_connector.state import discard_half_made

if TYPE_CHECKING:
    from collections.abc import Iterator

    from toubib_connector.destination import Destination


def run_meltano(destination: Destination, *arguments: str) -> int:
    """Run Meltano; return how many checks of the data passed. SIGTERM and SIGINT end it, and with it this process.

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
        process = subprocess.Popen(
            # what `.env` says is in the environment already
            [MELTANO, f"--env-file={os.devnull}", f"--log-config={PROJECT / 'logging.yaml'}", *arguments],
            cwd=PROJECT,
            env=meltano_environment(destination) | {"TOUBIB_PROGRESS": str(progress)},
            stderr=None if is_verbose() else log,
            close_fds=False,
        )
        with _ended_by_signals(process):
            failed = process.wait()
    kept = json.loads(progress.read_text()) if progress.exists() else {}
    if failed:
        reason = kept.get("reason") or f"meltano {arguments[0]} ended with exit code {failed}"
        raise Failure(reason, None if is_verbose() else destination.shown(destination.log), kept.get("patients_read"))
    return int(kept.get("checks_passed", 0))


@contextmanager
def _ended_by_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
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


def _make_system_folder(destination: Destination) -> None:
    """Make Meltano's own folder for a destination: the plugins are shared, configurations and catalogs are not."""
    folder = destination.scratch / "meltano"
    if not folder.exists():
        folder.mkdir()
        for plugins in ("extractors", "loaders", "utilities"):
            (folder / plugins).symlink_to(PROJECT / ".meltano" / plugins)
