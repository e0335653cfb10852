"""The tap against the bare limit, and its memory at two sizes: ratios, each taken side by side."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click
import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
TAP = HERE.parent / ".venvs/dev/bin/tap-toubib"


@dataclass(frozen=True)
class Measure:
    """What a process cost.

    Attributes:
        seconds: From the first list request to the last answer, as the service saw them.
        memory: Megabytes, at most.
        requests: For pages.
    """

    seconds: float
    memory: float
    requests: int


@contextmanager
def serving(patients: int, latency: float = 0) -> Iterator[str]:
    """Run the fast API and yield its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--patients={patients}", f"--latency={latency}", f"--port={port}"]
    with subprocess.Popen([sys.executable, HERE / "fast_api.py", *options]) as process:
        url = f"http://127.0.0.1:{port}"
        while True:
            try:
                requests.get(f"{url}/health", timeout=60)
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        try:
            yield url
        finally:
            process.terminate()


def measure(url: str, *command: str | Path) -> Measure:
    """Run a client of the service."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"{command[0]} failed")
    seen: dict[str, Any] = requests.get(f"{url}/requests", timeout=60).json()
    return Measure(seen["seconds"], usage.ru_maxrss / 1024, seen["list_requests"])


def tap(url: str, **settings: Any) -> Measure:
    """Make a first load with the tap alone."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
        json.dump({"api_url": url, **settings}, config)
        config.flush()
        return measure(url, TAP, "--config", config.name)


def bare(url: str, parallel: int) -> Measure:
    """Fetch the same pages."""
    return measure(url, sys.executable, HERE / "bare_client.py", url, f"--parallel={parallel}")


@click.command()
@click.option("--repeat", default=3, help="How often each pair is measured; medians are shown.")
def main(repeat: int) -> None:
    """Print the ratios."""
    click.echo("| first load | tap, s | bare client, s | ratio | requests |\n|---|---|---|---|---|")
    for patients, latency, parallel in ((20_000, 0.04, 4), (20_000, 0.04, 8), (20_000, 0, 4)):
        with serving(patients, latency) as url:
            pairs = [(tap(url, max_parallel_requests=parallel), bare(url, parallel)) for _ in range(repeat)]
        taps, bares = zip(*pairs, strict=True)
        ratio = median(one.seconds / other.seconds for one, other in pairs)
        click.echo(
            f"| {patients:,}, {latency * 1000:.0f} ms an answer, {parallel} in flight "
            f"| {median(each.seconds for each in taps):.2f} | {median(each.seconds for each in bares):.2f} "
            f"| {ratio:.2f} | {taps[0].requests}, {bares[0].requests} |"
        )

    click.echo("\n| patients | memory of the tap, MB | ratio |\n|---|---|---|")
    smallest = 0.0
    for patients in (10_000, 300_000):
        with serving(patients) as url:
            memory = tap(url).memory
        smallest = smallest or memory
        click.echo(f"| {patients:,} | {memory:.0f} | {memory / smallest:.2f} |")


if __name__ == "__main__":
    main()
