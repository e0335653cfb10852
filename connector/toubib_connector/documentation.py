"""The page that describes the tables."""

from __future__ import annotations

import re
from pathlib import Path

SHOWN_AT_FIRST = re.compile(r'resource_types:\["model"[^]]*\](?=,depth:1)')


def show_models_first(page: Path) -> None:
    """Let the lineage begin with tables only; tests and queries can be chosen on the page, and dbt has no setting."""
    text = page.read_text(encoding="utf-8")
    page.write_text(SHOWN_AT_FIRST.sub('resource_types:["model","source"]', text), encoding="utf-8")
