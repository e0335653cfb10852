"""Fixtures: an API, and a way to run the tap."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tap_toubib import client
from tap_toubib.known_ids import KnownIds
from tap_toubib.streams.patients import PatientsStream
from tap_toubib.tap import TapToubib
from tap_toubib.testing import Api, Row, serving
from toubib_api import create_app, prepare
from toubib_api.testing import serving as serving_app


def unpack(batch: Row) -> Iterator[Row]:
    """Yield the records of a BATCH message as RECORD messages."""
    for url in batch["manifest"]:
        path = Path(unquote(urlsplit(url).path))
        content = path.read_bytes()
        path.unlink()
        for line in content.splitlines():
            record = json.loads(line)
            extracted_at = record.pop("_sdc_extracted_at")
            yield {"type": "RECORD", "stream": batch["stream"], "record": record, "time_extracted": extracted_at}


@dataclass(frozen=True)
class Output:
    """The messages of a run."""

    messages: list[Row]

    @classmethod
    def of(cls, text: bytes) -> Output:
        """Read the messages of a run; like a loader, read and remove the files of BATCH messages."""
        messages = [json.loads(line) for line in text.splitlines()]
        return cls(
            [each for message in messages for each in (unpack(message) if message["type"] == "BATCH" else [message])]
        )

    def records(self, stream: str = "patients") -> list[Row]:
        """Return the records of a stream, without the column that names the run."""
        records = [each["record"] for each in self.messages if each["type"] == "RECORD" and each["stream"] == stream]
        return [{key: value for key, value in each.items() if key != "_sdc_sync_started_at"} for each in records]

    @property
    def ids(self) -> list[Any]:
        return [record["id"] for record in self.records()]

    @property
    def sync(self) -> Row:
        [record] = self.records("syncs")
        return record

    @property
    def schemas(self) -> dict[str, Row]:
        return {each["stream"]: each["schema"] for each in self.messages if each["type"] == "SCHEMA"}

    @property
    def state(self) -> Row | None:
        return next((each["value"] for each in reversed(self.messages) if each["type"] == "STATE"), None)

    @property
    def patients(self) -> Row:
        """The last state of the patients."""
        patients: Row = (self.state or {})["bookmarks"]["patients"]
        return patients

    @property
    def bookmark(self) -> str | None:
        return self.patients.get("replication_key_value")

    @property
    def known_ids(self) -> list[int]:
        """The ids that the last state holds."""
        return [*KnownIds.from_text(self.patients["known_ids"])]


@dataclass
class Runner:
    """Runs the tap in this process.

    Attributes:
        folder: The folder for files, if records leave in files.
        output: The messages of the last run, even if it failed.
    """

    api: Api
    read: Callable[[], bytes]
    folder: Path | None
    output: Output = field(default_factory=lambda: Output([]))

    def __call__(
        self, *, bookmark: str | None = None, state: Row | None = None, catalog: Row | None = None, **config: Any
    ) -> Output:
        if bookmark:
            state = {"bookmarks": {"patients": {"replication_key": "updated_at", "replication_key_value": bookmark}}}
        if self.folder:
            storage = {"root": self.folder.as_uri()}
            encoding = {"format": "jsonl", "compression": "none"}
            size = PatientsStream.STATE_MSG_FREQUENCY
            config = {"batch_config": {"encoding": encoding, "storage": storage, "batch_size": size}} | config
        self.read()
        try:
            tap = TapToubib(config={"api_url": self.api.url, **config}, state=state, catalog=catalog)
            tap.sync_all()
        finally:
            self.output = Output.of(self.read())
        return self.output


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tap_toubib.client.FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("backoff.random_jitter", lambda wait: wait)


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    api.offer("id", "created_at", "updated_at")
    with serving(api):
        yield api


@pytest.fixture
def connect(api: Api) -> Callable[..., client.ToubibClient]:
    def connect(api_url: str = api.url, auth_token: str | None = None, timeout: float = 5) -> client.ToubibClient:
        return client.ToubibClient(
            api_url, auth_token=auth_token, user_agent="tester/1", timeout=timeout, max_parallel_requests=2
        )

    return connect


both_ways = pytest.mark.parametrize("way", ["records", "files"])


@pytest.fixture
def way() -> str:
    """How records leave, unless a test is run both ways."""
    return "files"


@pytest.fixture
def run(api: Api, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path, way: str) -> Runner:
    return Runner(api, lambda: capsysbinary.readouterr().out, tmp_path / "batches" if way == "files" else None)


@pytest.fixture
def bundled_api(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Serve the bundled API until the test ends, over so many patients, and return its URL."""
    with ExitStack() as servers:

        def serve(patients: int) -> str:
            database = tmp_path / "toubib.sqlite"
            prepare(database, patients)
            return servers.enter_context(serving_app(create_app(database)))

        yield serve
