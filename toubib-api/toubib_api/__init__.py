"""The Toubib API with made-up patients, behind the same contract as the real service."""

from toubib_api.app import create_app
from toubib_api.change import change
from toubib_api.database import prepare

__all__ = ["change", "create_app", "prepare"]
