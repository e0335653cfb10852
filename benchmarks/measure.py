"""Measure the cost of a command with all processes that it starts and waits for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

PROJECT = Path(__file__).parents[1]
LONGEST = 1_800
"""Seconds after which a command is killed."""


@dataclass(frozen=True)
class Cost:
    """The cost of a command.

    Attributes:
        seconds: Wall time.
        cpu: Seconds of user and system time, of all processes.
        megabytes: Memory of the largest process.
        exit_code: Negative if a signal ended the command.
        loading: Seconds until the command printed that everything is loaded; None if it did not.
    """

    seconds: float
    cpu: float
    megabytes: float
    exit_code: int
    loading: float | None


def start(command: Sequence[str | Path], environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a command in a session of its own, in the project's folder, as if from a shell and not from `make`."""
    ours = ("MAKE", "MFLAGS", "PYTHONPATH")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.Popen(
        command,
        cwd=PROJECT,
        env=inherited | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def measure(
    command: Sequence[str | Path],
    environment: dict[str, str] | None = None,
    *,
    log: Path = Path(os.devnull),
    loaded: str | None = None,
) -> Cost:
    """Run a command to its end.

    Args:
        command: The command line.
        environment: Added to this process's own.
        log: The file for the command's output.
        loaded: Part of the line by which the command says that everything is loaded.
    """
    loading = None
    with tempfile.NamedTemporaryFile("r") as usage:
        began = time.monotonic()
        with (
            start([sys.executable, "-S", __file__, usage.name, *command], environment or {}) as process,
            log.open("w") as file,
        ):
            timer = Timer(LONGEST, os.killpg, [process.pid, signal.SIGKILL])
            timer.daemon = True
            timer.start()
            for line in process.stdout or ():
                file.write(line)
                if loaded and loading is None and loaded in line:
                    loading = time.monotonic() - began
            timer.cancel()
        return Cost(**json.load(usage), loading=loading)


def succeed(cost: Cost) -> Cost:
    """Return the cost of a command that succeeded.

    Raises:
        RuntimeError: It failed, so its cost cannot be compared.
    """
    if cost.exit_code:
        raise RuntimeError(f"The measured command failed: {cost}")
    return cost


def main(usage: str, *command: str) -> None:
    """Run a command and write its cost into a file.

    The peak memory of a child starts at its parent's, so the parent is this small process and not the benchmark.
    """
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(pid, 0)
    cost = {
        "seconds": time.monotonic() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "megabytes": used.ru_maxrss / 1024,
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    Path(usage).write_text(json.dumps(cost))


if __name__ == "__main__":
    main(*sys.argv[1:])
