"""The tap against the stand-in for the service: FastAPI, fastapi-sqla and SQLite."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from toubib_api import SEX_AT_BIRTH, change

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Runner

    StandIn = Callable[..., str]


def test_first_load_then_changes(run: Runner, stand_in: StandIn, tmp_path: Path) -> None:
    url = stand_in(250)
    first = run(api_url=url)
    assert Counter(first.ids) == Counter(range(1, 251))
    assert first.bookmark == max(record["updated_at"] for record in first.records())
    # for the columns, the newest, three to load, the last one again, and two to compare by rank
    assert first.sync["requests"] == 8
    changes = change(tmp_path / "toubib.sqlite", updates=4, creations=3, seed=1)
    second = run(api_url=url, bookmark=first.bookmark, lookback_seconds=0)
    [newest] = [record["id"] for record in first.records() if record["updated_at"] == first.bookmark]
    assert set(second.ids) - {newest} == {*changes.updated, *changes.created} - {newest}
    # one for the columns, which a catalog makes needless
    assert second.sync["requests"] == 2


def test_release_without_updates_is_read_as_a_whole(run: Runner, stand_in: StandIn) -> None:
    output = run(api_url=stand_in(120, SEX_AT_BIRTH))
    assert output.ids == list(range(1, 121))
    assert {record["sex_at_birth"] for record in output.records()} == {"MALE", "FEMALE"}
    assert output.bookmark is None


def test_page_size_beyond_what_the_service_allows_gives_its_largest_page(run: Runner, stand_in: StandIn) -> None:
    assert run(api_url=stand_in(150), page_size=1_000).ids == list(range(1, 151))
