"""The audit of one run, which the stream `syncs` emits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Audit:
    """The columns of `syncs`; instants are text in UTC."""

    started_at: str
    api_url: str
    is_bundled_api: bool
    kind: str
    bookmark_before: str | None
    total_items_before: int = 0
    total_items_after: int = 0
    records: int = 0
    rejected: int = 0
    deleted: int = 0
    requests: int = 0
    bookmark_after: str | None = None
    ended_at: str | None = None
