"""The main story: a first run, changes through the API, a second run, and a third one with nothing to do."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from support import Api, Destination, bundled_api

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


@dataclass(frozen=True)
class Story:
    """What is left after each run, in the order of the runs.

    Attributes:
        folder: Of the destination, with its state, and of the copies.
        source: What the API showed.
        printed: What the runs printed.
        created: The ids of the patients that were created after the first run.
    """

    folder: str
    source: list[list[dict[str, Any]]]
    printed: list[str]
    created: list[int]

    @property
    def destination(self) -> Destination:
        """As the last run left it."""
        return Destination(Path(self.folder) / "destination" / "clinic.duckdb")

    @property
    def database(self) -> Path:
        """What the API showed in the end."""
        return Path(self.folder) / "toubib.sqlite"

    def copy_destination(self, folder: Path) -> Destination:
        """Copy the destination and its state into a folder that does not exist yet: tests share the story."""
        shutil.copytree(self.destination.path.parent, folder)
        return Destination(folder / self.destination.path.name)

    @property
    def after(self) -> list[Destination]:
        """Copies, one after each run."""
        return [Destination(Path(self.folder) / f"after_{number}.duckdb") for number in range(len(self.printed))]


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
        run(story, api)
        run(story, api)
    return story


def run(story: Story, api: Api) -> None:
    outcome = story.destination.make("run", api_url=api.url)
    assert outcome.returncode == 0, outcome.stdout
    story.source.append([*api.patients().values()])
    story.printed.append(outcome.stdout)
    story.destination.copy(story.after[-1].path)


def create(api: Api, number: int) -> dict[str, Any]:
    return api.create(
        email=f"new{number}@example.org",
        first_name="Zoë",
        last_name="Ny",
        date_of_birth="2001-02-03",
        total_visits=0,
    )


def read_story(file: Path) -> Story:
    return Story(**json.loads(file.read_text()))


def write_story(story: Story, file: Path) -> None:
    file.write_text(json.dumps(asdict(story)))
