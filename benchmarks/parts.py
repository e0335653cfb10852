"""A run in which nothing changed beside the start-ups of its parts: what it costs to have these parts at all.

The start-up of a part is what its program takes when it is started as the run starts it and finds nothing to do:

- the connector's command: shows its help;
- `meltano run`: runs three programs that do nothing, in a project of their own;
- the tap, which the run starts twice: discovers the columns;
- the loader: takes no record, on the run's file;
- dbt: builds no model, with the run's project parsed already.

The run starts tap and loader side by side; the sum does not.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING

import yaml
from apis import Collection, fast_api
from contenders import CONNECTOR, DLT
from measure import PROJECT, measure
from runs import TAP, TARGET, first_load, load

if TYPE_CHECKING:
    from pathlib import Path

    from bench import Bench

MELTANO = PROJECT / ".venv/bin/meltano"
DBT = PROJECT / ".meltano/utilities/dbt/venv/bin/dbt"
TIMES = {"tap": 2}
"""How often a run starts a part, where it is not once."""


def parts(bench: Bench) -> None:
    """Measure runs without change, and the start-ups of what they are made of, in turn."""
    patients = bench.sizes[0]
    collection = Collection.made(bench.folder, patients)
    with fast_api(collection.path) as api:
        for contender in (CONNECTOR, DLT):
            first_load(bench, contender, api, collection)
        commands = startups(bench, api.url, bench.destination(CONNECTOR, patients) / "patients.duckdb")
        for name in ("meltano", "dbt"):
            # what they keep for the next time
            bench.succeed(measure(*commands[name], log=bench.folder / f"{name}.log"))
        for _ in range(bench.repeat):
            for contender in (CONNECTOR, DLT):
                load(bench, contender, api, collection, "no change")
            for name, (command, environment) in commands.items():
                cost = bench.succeed(measure(command, environment, log=bench.folder / f"{name}.log"))
                bench.record(what=name, contender=name, times=TIMES.get(name, 1), **asdict(cost))


def startups(bench: Bench, url: str, database: Path) -> dict[str, tuple[list[str | Path], dict[str, str]]]:
    """Return the command line and the environment by which each part is started.

    Args:
        bench: The benchmark.
        url: Of the service.
        database: The DuckDB file of a run.
    """
    idle = bench.folder / "idle"
    shutil.rmtree(idle, ignore_errors=True)
    idle.mkdir()
    nothing = {"namespace": "idle", "executable": "true"}
    project = {
        "version": 1,
        "default_environment": "idle",
        "environments": [{"name": "idle"}],
        "send_anonymous_usage_stats": False,
        "cli": {"disable_version_check": True},
        "plugins": {
            "extractors": [nothing | {"name": "tap-idle"}],
            "loaders": [nothing | {"name": "target-idle"}],
            "utilities": [nothing | {"name": "idle", "commands": {"build": "build"}}],
        },
    }
    (idle / "meltano.yml").write_text(yaml.safe_dump(project))
    tap_config = bench.write("tap.json", {"api_url": url})
    target_config = bench.write("target.json", {"filepath": str(database), "default_target_schema": "raw"})
    transform = PROJECT / "transform"
    of_dbt = {"DBT_DUCKDB_PATH": str(database), "DBT_TARGET_PATH": f"{database}.work/dbt", "TZ": "UTC"}
    run: list[str | Path] = [MELTANO, f"--cwd={idle}", "run", "--force", "tap-idle", "target-idle", "idle:build"]
    build: list[str | Path] = [DBT, "build", "--exclude=*", "--project-dir", transform, "--profiles-dir", transform]
    return {
        "command": ([PROJECT / ".venv/bin/toubib-connector", "--help"], {}),
        "meltano": (run, {"MELTANO_DATABASE_URI": f"sqlite:///{idle}/meltano.db"}),
        "tap": ([TAP, "--config", tap_config, "--discover"], {}),
        "loader": ([TARGET, "--config", target_config], {"TZ": "UTC"}),
        "dbt": (build, of_dbt | {"DBT_LOG_PATH": str(idle), "DBT_LOG_LEVEL_FILE": "none", "DBT_WRITE_JSON": "false"}),
    }
