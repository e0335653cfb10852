from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbt_process import Dbt
from story import Story, read_story, tell_story, write_story
from support import Api, Destination, bundled_api


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the tests of the main story, which takes longest, on one worker."""
    items.sort(key=lambda item: "story" not in getattr(item, "fixturenames", ()))


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    """A destination in a folder that does not exist yet."""
    return Destination(tmp_path / "some folder" / "patients.duckdb")


@pytest.fixture(scope="session")
def dbt(pytestconfig: pytest.Config) -> Iterator[Dbt]:
    """A dbt process that has parsed the project, for any number of databases."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    with Dbt(pytestconfig.cache.mkdir(f"dbt-{worker}")) as process:
        yield process


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, dbt: Dbt) -> Path:
    """A file with the empty tables, to be copied under the same name."""
    path = tmp_path_factory.mktemp("template") / "patients.duckdb"
    dbt.build(path)
    return path


@pytest.fixture
def empty(template: Path, tmp_path: Path) -> Destination:
    """A destination with the empty tables."""
    return Destination(template).copy(tmp_path / template.name)


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The main story, run once for all workers."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    file = folder / "story.json"
    with (folder / "story.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            write_story(tell_story(folder / "story"), file)
    return read_story(file)


@pytest.fixture
def loaded(story: Story, tmp_path: Path) -> Destination:
    """A copy of the story's destination and state."""
    return story.copy_destination(tmp_path / "folder")


@pytest.fixture
def api(story: Story, tmp_path: Path) -> Iterator[Api]:
    """The API of the story after its last run."""
    with bundled_api(Path(shutil.copy(story.database, tmp_path))) as running:
        yield running
