"""Environments belong to the folder in which they were made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support import PROJECT, run

SOURCES = [
    "Makefile",
    "meltano.yml",
    "bin",
    "requirements",
    *(f"{name}/pyproject.toml" for name in ("connector", "tap-toubib", "target-duckdb", "toubib-api")),
]
STAMPS = [".venv/installed", ".meltano/installed", ".venvs/toubib-api/installed"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with spaces in its path, in which everything looks installed."""
    folder = tmp_path / "my projects" / "toubib"
    for name in SOURCES:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (PROJECT / name).is_dir() else shutil.copy)(PROJECT / name, target)
    for name in STAMPS:
        stamp = folder / name
        stamp.parent.mkdir(parents=True)
        stamp.write_text(f"{folder}\n")
    return folder


def installs(folder: Path) -> list[str]:
    """Return which environments `make build` would make."""
    outcome = run("make", "--dry-run", f"--directory={folder}", "build", "RUNNER=local")
    assert outcome.returncode == 0, outcome.stdout
    return [line.split(" into ")[1].strip('"') for line in outcome.stdout.splitlines() if line.startswith("echo")]


def test_installed_environments_are_not_installed_again(project: Path) -> None:
    assert installs(project) == []


@pytest.mark.parametrize("bring", [shutil.move, shutil.copytree], ids=["moved", "copied"])
def test_a_moved_or_copied_project_installs_everything_again_first(project: Path, bring: Any) -> None:
    other = project.parents[1] / "an other folder"
    bring(project, other)
    outcome = run(other / "bin" / "toubib-connector", "status")
    assert outcome.returncode == 1
    assert outcome.stdout == f"Error: run `make build` in {other} first\n"
    assert installs(other) == [".venv", ".meltano", ".venvs/toubib-api"]
    assert not project.exists() or installs(project) == []
