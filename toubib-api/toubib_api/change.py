"""Random changes to the patients of a file, also while a server is running on it."""

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple

from sqlalchemy import delete, insert, select, update

from toubib_api.database import patients_table, transaction
from toubib_api.people import last_name, people


class Changes(NamedTuple):
    """The ids of the patients that changed."""

    updated: list[int]
    created: list[int]
    removed: list[int]


def change(database: Path, updates: int = 3, creations: int = 2, removals: int = 0, seed: int | None = None) -> Changes:
    """Update, create and remove random patients, all in one transaction.

    An update sets another last name and adds a visit. No patient is both updated and removed. Equal seeds make equal
    changes to equal files.
    """
    random = Random(seed)  # noqa: S311 (made-up people, no secret)
    with transaction(database) as connection:
        # no other connection writes between the reads and the writes below
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        ids = list(connection.scalars(select(patients_table.c.id).order_by(patients_table.c.id)))
        chosen = random.sample(ids, min(updates + removals, len(ids)))
        updated, removed = sorted(chosen[:updates]), sorted(chosen[updates:])
        now = datetime.now(UTC)
        for patient_id in updated:
            connection.execute(
                update(patients_table)
                .where(patients_table.c.id == patient_id)
                .values(last_name=last_name(random), total_visits=patients_table.c.total_visits + 1, updated_at=now)
            )
        # the number in an email never exceeds its patient's id, so numbers above all ids are free
        newcomers = people(random, first_number=max(ids, default=0) + 1)
        created = [
            connection.execute(
                insert(patients_table)
                .values(newcomer | {"created_at": now, "updated_at": now})
                .returning(patients_table.c.id)
            ).scalar_one()
            for newcomer in islice(newcomers, creations)
        ]
        for patient_id in removed:
            connection.execute(delete(patients_table).where(patients_table.c.id == patient_id))
    return Changes(updated, created, removed)
