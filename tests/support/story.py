"""The main story: a first run, changes through the API, a second run at the most verbose log level, and a third one,
at a terminal, with nothing to do.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from support import CONNECTOR, Api, Destination, bundled_api

PATIENTS = 1_234
UPDATED = [7, 500, PATIENTS]
DELETED = 900
HOSTILE = [
    "O'Brien-Łukasiewicz",
    'say "hello"',
    "two\nlines",
    "carriage\r\nreturn",
    "comma, semicolon; tab\t and | pipe",
    "emoji 😀 and 👩‍⚕️",
    "田中 Ω é ñ",
    "back\\slash",
    "NULL",
    " spaces ",
    "'; drop table patients; --",
    "\u2028 line separator",
]
MARKER = "Marker7f3a"
"""In every text that the second run loads, on two lines."""
TOKEN = "Token-5c1e"  # noqa: S105 (made up)
"""The token of the second run."""
TALKATIVE = {
    "MELTANO_CLI_LOG_LEVEL": "debug",
    "TAP_TOUBIB_LOGLEVEL": "DEBUG",
    "DBT_DEBUG": "true",
    "DBT_LOG_LEVEL": "debug",
}
"""Everything that makes a run log more."""


@dataclass(frozen=True)
class Story:
    """The results of each run, in order.

    Attributes:
        folder: Holds the destination, its state and the copies.
        source: The patients of the API.
        printed: The output, without the codes of a terminal.
        created: The ids of the patients created after the first run.
    """

    folder: str
    source: list[list[dict[str, Any]]]
    printed: list[str]
    created: list[int]

    @property
    def destination(self) -> Destination:
        """The destination after the last run."""
        return Destination(Path(self.folder) / "destination" / "clinic.duckdb")

    @property
    def database(self) -> Path:
        """The API's database after the last run."""
        return Path(self.folder) / "toubib.sqlite"

    def copy_destination(self, folder: Path) -> Destination:
        """Copy the destination and its state into a new folder, because tests share the story."""
        shutil.copytree(self.destination.path.parent, folder)
        return Destination(folder / self.destination.path.name)

    @property
    def after(self) -> list[Destination]:
        """A copy of the destination and the files beside it after each run."""
        name = self.destination.path.name
        return [Destination(Path(self.folder) / f"after_{number}" / name) for number in range(len(self.printed))]


def tell_story(folder: Path) -> Story:
    """Run on a destination in a folder that does not exist yet."""
    folder.mkdir()
    story = Story(str(folder), [], [], [])
    with bundled_api(story.database, PATIENTS) as api:
        for patient_id, name in enumerate(HOSTILE, start=100):
            api.update(patient_id, first_name=name)
        assert story.destination.make("init-db").returncode == 0
        run(story, api)
        for patient_id in UPDATED:
            api.update(patient_id, last_name=f"Née-{patient_id}")
        story.created.extend(create(api, number)["id"] for number in range(2))
        api.delete(DELETED)
        run(story, api, TAP_TOUBIB_AUTH_TOKEN=TOKEN, **TALKATIVE)
        keep(story, api, run_at_terminal(story.destination, api.url))
    return story


def run(story: Story, api: Api, **environment: str) -> None:
    variables = [f"{name}={value}" for name, value in environment.items()]
    outcome = story.destination.make("run", *variables, api_url=api.url)
    assert outcome.returncode == 0, outcome.stdout
    keep(story, api, outcome.stdout)


def run_at_terminal(destination: Destination, api_url: str) -> str:
    environment = ["TERM=xterm", "COLUMNS=80", f"API_BASEURL={api_url}", f"DESTINATION_DUCKDB_PATH={destination.path}"]
    shown = b""

    def read(terminal: int) -> bytes:
        nonlocal shown
        chunk = os.read(terminal, 1 << 16)
        shown += chunk
        return chunk

    status = pty.spawn(["env", *environment, str(CONNECTOR), "run", "--publish"], read)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert os.waitstatus_to_exitcode(status) == 0, text
    return text


def keep(story: Story, api: Api, printed: str) -> None:
    story.printed.append(printed)
    story.source.append([*api.patients().values()])
    story.copy_destination(story.after[-1].path.parent)


def create(api: Api, number: int) -> dict[str, Any]:
    return api.create(
        email=f"{MARKER}{number}@example.org",
        first_name=f"{MARKER}\n{MARKER}",
        last_name=f"{MARKER}\n{MARKER}",
        date_of_birth="2001-02-03",
        total_visits=0,
    )


def read_story(file: Path) -> Story:
    return Story(**json.loads(file.read_text()))


def write_story(story: Story, file: Path) -> None:
    file.write_text(json.dumps(asdict(story)))


def find_leaks(destination: Destination, printed: str) -> list[str]:
    """Return the places outside the database that contain the marker or the token."""
    files = [path for path in destination.path.parent.rglob("*") if path.is_file() and path.suffix != ".duckdb"]
    assert f"{destination.path.name}.meltano.db" in {path.name for path in files}
    texts = {str(path): path.read_bytes() for path in files} | {"output": printed.encode()}
    texts |= {f"{path} (token)": path.read_bytes() for path in destination.path.parent.glob("*.duckdb")}
    return [
        where
        for where, text in texts.items()
        if TOKEN.encode() in text or (MARKER.encode() in text and "(token)" not in where)
    ]
