"""Other processes that read the destination, during a run and before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from support import Destination, bundled_api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support import Api

pytestmark = pytest.mark.complete
PATIENTS = 400


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with bundled_api(tmp_path_factory.mktemp("api") / "toubib.sqlite", PATIENTS) as running:
        yield running


@pytest.fixture(scope="module")
def destination(tmp_path_factory: pytest.TempPathFactory, api: Api) -> Destination:
    """A destination after a first run that published."""
    made = Destination(tmp_path_factory.mktemp("readers") / "patients.duckdb")
    assert made.run("run", "--publish", API_BASEURL=api.url).returncode == 0
    return made


@pytest.fixture
def published(destination: Destination) -> Path:
    return destination.path.with_name("patients.published.duckdb")


def seen(path: Path) -> tuple[Any, ...]:
    """Return counts, as another process reads them in one query."""
    with duckdb.connect(str(path), read_only=True) as connection:
        row = connection.execute("""
            select
              (select count(*) from main.syncs),
              (select count(*) from raw.patients),
              (select count(*) from main.patients_history),
              (select count(*) from main.patients where last_name like 'Changed%')
        """).fetchone()
    return row or ()


def test_a_reader_is_answered_while_a_run_writes_and_sees_the_run_before_or_this_one(
    destination: Destination, published: Path, api: Api
) -> None:
    before = seen(published)
    for patient_id in range(1, 51):
        api.update(patient_id, last_name=f"Changed {patient_id}")
    running = destination.start("run", "--publish", API_BASEURL=api.url)
    answers = []
    while running.poll() is None:
        answers.append(seen(published))
    assert running.returncode == 0
    after = seen(published)
    assert after == seen(destination.path)
    assert after[3] == 50
    assert answers.count(before) > 10
    assert set(answers) <= {before, after}


def test_a_failed_run_publishes_nothing(destination: Destination, published: Path, api: Api) -> None:
    before = seen(published)
    api.update(60, last_name="Changed 60")
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("update main.patients_history set valid_to = valid_from where patient_id = 61")
        connection.execute("update bookkeeping.builds set tested_until = timestamp '2000-01-01'")
    assert destination.run("run", "--publish", API_BASEURL=api.url).returncode != 0
    assert seen(published) == before

    assert destination.run("rebuild-history").returncode == 0
    assert destination.run("run", "--publish", API_BASEURL=api.url).returncode == 0
    assert seen(published)[3] == before[3] + 1


def test_the_published_copy_keeps_its_mode_and_is_read_only(
    destination: Destination, published: Path, api: Api
) -> None:
    published.chmod(0o640)
    assert destination.run("run", "--publish", API_BASEURL=api.url).returncode == 0
    assert published.stat().st_mode & 0o777 == 0o440


def test_status_works_while_the_file_is_being_written(destination: Destination) -> None:
    with duckdb.connect(str(destination.path)):
        outcome = destination.run("status")
    assert outcome.returncode == 0, outcome.stdout
    assert f"{PATIENTS} current patients" in outcome.stdout


def test_status_shows_only_the_runs_during_a_run_without_a_published_copy(
    destination: Destination, published: Path
) -> None:
    published.unlink()
    with duckdb.connect(str(destination.path)):
        outcome = destination.run("status")
    assert outcome.returncode == 0
    assert "first_load" in outcome.stdout
    assert f"A run is writing to {destination.path}. " in outcome.stdout
