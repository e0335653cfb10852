"""Settings of the tap that Meltano cannot read: it would not say which."""

from __future__ import annotations

import os

import yaml

from toubib_connector.log import Failure
from toubib_connector.meltano import PROJECT


def check_integers() -> None:
    """Make sure that what the environment says of the tap's integers are some.

    Raises:
        Failure: One is none.
    """
    tap = yaml.safe_load((PROJECT / "meltano.yml").read_text())["plugins"]["extractors"][0]
    for setting in tap["settings"]:
        name = f"TAP_TOUBIB_{setting['name'].upper()}"
        try:
            if setting.get("kind") == "integer":
                int(os.environ.get(name) or 0)
        except ValueError as error:
            raise Failure(f"{name} is {os.environ[name]!r}; it must be an integer.") from error
