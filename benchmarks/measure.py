"""What a command costs: whole processes, with all that they start and wait for."""

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
LONGEST = 1_200
"""Seconds after which a command that does not end is killed."""


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        seconds: Of wall time.
        cpu: Seconds of user and system time, of the process and all that it waited for.
        megabytes: Of memory, of the largest of them.
        exit_code: Of the process; negative when a signal ended it.
        started_at: When it was started, in seconds since 1970.
        marked_at: When it printed the line that was looked for; `started_at` if it did not.
    """

    seconds: float
    cpu: float
    megabytes: float
    exit_code: int
    started_at: float
    marked_at: float


def start(
    command: Sequence[str | Path], environment: dict[str, str], *, stdin: Path = Path(os.devnull)
) -> subprocess.Popen[str]:
    """Start a command in a session of its own, in the project's folder, as if no `make` had called this."""
    own = ("MAKE", "MFLAGS", "PYTHONPATH")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    with stdin.open() as file:
        return subprocess.Popen(
            command,
            cwd=PROJECT,
            env=inherited | environment,
            stdin=file,
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
    mark: str = "\0",
    stdin: Path = Path(os.devnull),
) -> Cost:
    """Run a command to its end, or for as long as is waited for one.

    Args:
        command: The command line.
        environment: Added to this process's own.
        log: Where what it prints goes.
        mark: What to look for in the lines that it prints.
        stdin: What it reads.
    """
    with tempfile.NamedTemporaryFile("r") as usage:
        helper = [sys.executable, "-S", __file__, usage.name, *command]
        started_at = marked_at = time.time()
        with start(helper, environment or {}, stdin=stdin) as process, log.open("w") as file:
            timer = Timer(LONGEST, os.killpg, [process.pid, signal.SIGKILL])
            timer.daemon = True
            timer.start()
            for line in process.stdout or ():
                file.write(line)
                if marked_at == started_at and mark in line:
                    marked_at = time.time()
            timer.cancel()
        seconds, cpu, megabytes, exit_code = json.load(usage)
        return Cost(seconds, cpu, megabytes, exit_code, started_at, marked_at)


def succeed(cost: Cost) -> Cost:
    """Return a cost that can be compared.

    Raises:
        RuntimeError: What was measured failed.
    """
    if cost.exit_code:
        raise RuntimeError(f"What was to be measured failed: {cost}")
    return cost


def main(usage: str, *command: str) -> None:
    """Run a command and write down what it cost.

    A process begins with the memory of the one that starts it, as far as its largest size is concerned: so a small one
    starts what is measured, not the benchmark.
    """
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(pid, 0)
    seconds = time.monotonic() - began
    cpu, megabytes = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    Path(usage).write_text(json.dumps([seconds, cpu, megabytes, os.waitstatus_to_exitcode(status)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
