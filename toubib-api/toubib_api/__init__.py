"""A stand-in for the Toubib API: made-up patients behind the same contract as the real service."""

from toubib_api.app import create_app
from toubib_api.change import change
from toubib_api.database import prepare
from toubib_api.release import CURRENT, RELEASES, SEX_AT_BIRTH, Column, Release, Sex

__all__ = [
    "CURRENT",
    "RELEASES",
    "SEX_AT_BIRTH",
    "Column",
    "Release",
    "Sex",
    "change",
    "create_app",
    "prepare",
]
