"""This release continues the destination of an earlier one."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from make_release import RELEASES
from support import Destination, bundled_api


@pytest.mark.parametrize("release", sorted(RELEASES.glob("*.tar.xz")), ids=lambda path: path.name)
def test_the_file_of_an_earlier_release_keeps_everything_and_takes_up_changes(release: Path, tmp_path: Path) -> None:
    with tarfile.open(release) as archive:
        archive.extractall(tmp_path, filter="data")
    destination = Destination(tmp_path / "patients.duckdb")
    ended = "from main.patients_history where not is_current order by patient_version_id"
    before = destination.query(ended)
    assert len(before) == 2
    with bundled_api(tmp_path / "toubib.sqlite") as api:
        api.update(3, last_name="Changed later")
        outcome = destination.run("run", API_BASEURL=api.url)
        assert outcome.returncode == 0, outcome.stdout
        patients = api.patients()
    assert destination.changes() == {"changed": 1}
    # the state is still in use: a change costs a page, not a full read
    assert destination.runs()[-1]["kind"] == "changes"
    names = destination.query("select patient_id, last_name from main.patients")
    assert dict(names) == {patient["id"]: patient["last_name"] for patient in patients.values()}
    after = destination.query(ended)
    assert after[:2] == before
    assert len(after) == 3
    assert destination.run("rebuild-history").returncode == 0
    assert destination.query(ended) == after
