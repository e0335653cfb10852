"""The tap against the bundled API: FastAPI, fastapi-sqla and SQLite."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from toubib_api import change

from .conftest import Runner

Serve = Callable[..., str]


def test_first_load_then_changes(run: Runner, bundled_api: Serve, tmp_path: Path) -> None:
    url = bundled_api(250)
    first = run(api_url=url)
    assert Counter(first.ids) == Counter(range(1, 251))
    assert first.bookmark == max(record["updated_at"] for record in first.records())
    # newest page, three pages, the last page again, and two to reconcile
    assert first.sync["requests"] == 7
    changes = change(tmp_path / "toubib.sqlite", updates=4, creations=3, seed=1)
    second = run(api_url=url, bookmark=first.bookmark, lookback_seconds=0)
    [newest] = [record["id"] for record in first.records() if record["updated_at"] == first.bookmark]
    assert set(second.ids) - {newest} == {*changes.updated, *changes.created} - {newest}
    assert second.sync["requests"] == 1


def test_page_size_beyond_what_the_service_allows_gives_its_largest_page(run: Runner, bundled_api: Serve) -> None:
    assert run(api_url=bundled_api(150), page_size=1_000).ids == list(range(1, 151))


SUITE = """
import os
from singer_sdk.testing import SuiteConfig, get_tap_test_class
from tap_toubib.tap import TapToubib

TestTap = get_tap_test_class(
    TapToubib,
    config={"api_url": os.environ["API_URL"]},
    suite_config=SuiteConfig(ignore_no_records_for_streams=["rejected_records"]),
)
"""


def test_the_sdks_own_tests_for_taps_pass(bundled_api: Serve, tmp_path: Path) -> None:
    # collecting these tests needs the API, so pytest runs after it was started
    (tmp_path / "test_suite.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:fastapi-sqla", str(tmp_path)]
    environment = os.environ | {"API_URL": bundled_api(20)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout
    assert int(done.stdout.splitlines()[-1].split()[0]) > 30, done.stdout
