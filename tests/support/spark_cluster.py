"""A Spark cluster on this machine, and what is run on it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import httpx
from support import PROJECT, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

VENV = PROJECT / ".meltano/utilities/dbt-spark/venv"
HOST = "127.0.0.1"


def spark_home() -> Path:
    """Return the folder of Spark, which its Python package brings."""
    return next(VENV.glob("lib/python3*/site-packages/pyspark"))


@dataclass(frozen=True)
class Spark:
    """A warehouse with a metastore of its own, and the raw files that it is built from.

    Attributes:
        folder: Where all of it is.
        master: The URL of the cluster.
        buckets: In how many raw and the history are kept.
    """

    folder: Path
    master: str
    buckets: int

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    def files(self, table: str) -> list[Path]:
        """Return the files of a table."""
        schema, name = table.split(".")
        return sorted((self.folder / "warehouse" / f"{schema}.db" / name).rglob("*.parquet"))

    def glob(self, table: str) -> str:
        """Return the same as a pattern."""
        schema, name = table.split(".")
        return f"{self.folder}/warehouse/{schema}.db/{name}/*/*.parquet"

    def history(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the files of the history, as the table `history`."""
        files = self.glob("main.patients_history")
        history = duckdb.read_parquet(files, hive_partitioning=True, union_by_name=True)
        return history.query("history", query).fetchall()

    def configure(self, settings: Mapping[str, str]) -> None:
        """Write the configuration of Spark; raw and the warehouse begin empty."""
        self.raw.mkdir(parents=True)
        temporary = self.folder / "temporary"
        temporary.mkdir()
        all_settings = {
            "spark.master": self.master,
            "spark.driver.host": HOST,
            "spark.driver.bindAddress": HOST,
            "spark.sql.warehouse.dir": self.folder / "warehouse",
            "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:{self.folder}/metastore;create=true",
            "spark.driver.extraJavaOptions": f"-Dderby.system.home={self.folder} -Djava.io.tmpdir={temporary}",
            "spark.local.dir": temporary,
            "spark.ui.enabled": "false",
            **settings,
        }
        lines = [f"{name} {value}\n" for name, value in all_settings.items()]
        (self.folder / "spark-defaults.conf").write_text("".join(lines))

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SPARK_CONF_DIR": str(self.folder),
            "SPARK_LOCAL_IP": HOST,
            "DBT_SPARK_RAW": str(self.raw),
            "DBT_TARGET_PATH": str(self.folder / "dbt"),
            "DBT_LOG_PATH": str(self.folder / "logs"),
            "TZ": "UTC",
        }

    def dbt(self, *arguments: str) -> None:
        """Run dbt as Meltano does, without its start-up."""
        outcome = run(
            VENV / "bin/dbt",
            *arguments,
            *("--target", "spark", "--vars", f"{{buckets: {self.buckets}}}"),
            *("--project-dir", "transform", "--profiles-dir", "transform"),
            **self.environment,
        )
        assert outcome.returncode == 0, outcome.stdout

    def export(self, queries: Mapping[str, str]) -> dict[str, str]:
        """Write the results of queries to Parquet files; return for each name which."""
        folder = self.folder / f"exported-{time.monotonic_ns()}"
        statements = [
            f"insert overwrite directory '{folder / name}' using parquet {query}" for name, query in queries.items()
        ]
        command: list[str | Path] = [spark_home() / "bin/spark-sql", "--conf", "spark.sql.session.timeZone=UTC", "-e"]
        outcome = run(*command, ";".join(statements), SPARK_HOME=str(spark_home()), **self.environment)
        assert outcome.returncode == 0, outcome.stdout
        return {name: f"{folder / name}/*.parquet" for name in queries}


def free_port() -> int:
    with socket.socket() as connection:
        connection.bind((HOST, 0))
        return int(connection.getsockname()[1])


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Run a master and two workers of 2 GB and a core each; yield the master's URL."""
    port, page = free_port(), free_port()
    master = f"spark://{HOST}:{port}"
    deploy = "org.apache.spark.deploy"
    worker = [f"{deploy}.worker.Worker", "--host", HOST, "--webui-port", "0", "--cores", "1", "--memory", "2g"]
    commands = [
        [f"{deploy}.master.Master", "--host", HOST, "--port", str(port), "--webui-port", str(page)],
        *([*worker, "--work-dir", str(folder / name), master] for name in ("first", "second")),
    ]
    environment = os.environ | {"SPARK_LOCAL_IP": HOST, "SPARK_DAEMON_MEMORY": "256m"}
    folder.mkdir(parents=True)
    processes = []
    with (folder / "log").open("w") as log:
        for command in commands:
            start: list[str | Path] = [spark_home() / "bin/spark-class", *command]
            processes.append(subprocess.Popen(start, env=environment, stdout=log, stderr=subprocess.STDOUT))
    try:
        wait_for_workers(f"http://{HOST}:{page}/json/", len(processes) - 1)
        yield master
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def wait_for_workers(page: str, number: int) -> None:
    """Wait for workers to be known to the master.

    Raises:
        TimeoutError: They are not after two minutes.
    """
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if httpx.get(page).json()["aliveworkers"] == number:
                return
        except (httpx.TransportError, ValueError):
            pass  # its page is not there yet, or empty
        time.sleep(0.5)
    raise TimeoutError("the cluster did not start")
