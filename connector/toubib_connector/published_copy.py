"""The copy of the destination that readers have while the next run writes."""

from __future__ import annotations

import os
import shutil

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure


def publish_copy(destination: Destination) -> None:
    """Put a copy for readers in the place of the last one: they see it whole, or still the other.

    Raises:
        Failure: There is no room for it, for instance.
    """
    copy, published = destination.scratch / "published", destination.published
    try:
        # while it is open, nobody else writes to it
        with destination.connect(read_only=False) as connection:
            connection.execute("checkpoint")
            shutil.copyfile(destination.path, copy)
        # who may read it is decided once, by chmod; nobody may write, lest a log of writes outlive the file
        copy.chmod(0o400 | (published.stat().st_mode & 0o444 if published.exists() else 0))
        with copy.open("rb") as file:
            os.fsync(file)
        copy.replace(published)
    except OSError as error:
        raise Failure(
            f"Cannot publish {destination.shown(published)}: {error.strerror}. "
            f"What was loaded is in {destination.shown()}."
        ) from error
