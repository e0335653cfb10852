"""A Spark cluster on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import httpx
from support import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VENV = PROJECT / ".meltano/utilities/dbt-spark/venv"
HOST = "127.0.0.1"


def configure(folder: Path, master: str = "local[2]") -> dict[str, str]:
    """Write the configuration of Spark to a folder, for a warehouse in it; return the environment that names it."""
    folder.mkdir(parents=True)
    settings = {
        "spark.master": master,
        "spark.driver.host": HOST,
        "spark.driver.bindAddress": HOST,
        "spark.driver.memory": "1g",
        "spark.executor.memory": "1g",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.warehouse.dir": folder / "warehouse",
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:{folder}/metastore;create=true",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder} -Djava.io.tmpdir={folder}",
        "spark.local.dir": folder,
        "spark.ui.enabled": "false",
    }
    (folder / "spark-defaults.conf").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    return {
        "SPARK_CONF_DIR": str(folder),
        "SPARK_LOCAL_IP": HOST,
        "DBT_TARGET_PATH": str(folder / "dbt"),
        "DBT_LOG_PATH": str(folder / "logs"),
        "TZ": "UTC",
    }


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Run a master and two workers of 2 GB and a core each; yield the master's URL."""
    port, page = find_free_port(), find_free_port()
    url = f"spark://{HOST}:{port}"
    worker = ["worker.Worker", "--host", HOST, "--webui-port", "0", "--cores", "1", "--memory", "2g"]
    commands = [
        ["master.Master", "--host", HOST, "--port", str(port), "--webui-port", str(page)],
        *([*worker, "--work-dir", str(folder / name), url] for name in ("first", "second")),
    ]
    spark_class = next(VENV.glob("lib/python3*/site-packages/pyspark")) / "bin/spark-class"
    folder.mkdir(parents=True)
    processes = []
    with (folder / "log").open("w") as log:
        for name, *options in commands:
            processes.append(
                subprocess.Popen(
                    [spark_class, f"org.apache.spark.deploy.{name}", *options],
                    env=os.environ | {"SPARK_LOCAL_IP": HOST, "SPARK_DAEMON_MEMORY": "256m"},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    try:
        deadline = time.monotonic() + 120
        while count_workers(f"http://{HOST}:{page}/json/") < len(processes) - 1:
            assert time.monotonic() < deadline, "the cluster did not start"
            time.sleep(0.5)
        yield url
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def find_free_port() -> int:
    with socket.socket() as connection:
        connection.bind((HOST, 0))
        return int(connection.getsockname()[1])


def count_workers(page: str) -> int:
    """Return how many workers the master's page shows."""
    with suppress(httpx.TransportError, ValueError):  # it is not there yet, or empty
        return int(httpx.get(page).json()["aliveworkers"])
    return 0
