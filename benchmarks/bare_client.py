"""The bare limit: fetches the pages of a first load, with as many requests in flight, and does nothing with them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import click
import requests
from requests.adapters import HTTPAdapter

PAGE_SIZE = 100
"""The service's largest; pages overlap by one row, as the tap's do."""


@click.command()
@click.argument("url")
@click.option("--parallel", type=int, default=4)
def main(url: str, parallel: int) -> None:
    """Fetch every page once."""
    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=parallel))

    def fetch(offset: int) -> bytes:
        params: dict[str, str | int] = {"offset": offset, "limit": PAGE_SIZE, "sort_field": "id", "sort_dir": "asc"}
        return session.get(f"{url}/v1/patients", params=params, timeout=60).content

    total = requests.get(f"{url}/v1/patients?offset=0&limit=1&sort_field=id", timeout=60).json()["meta"]["total_items"]
    with ThreadPoolExecutor(parallel) as executor:
        for body in executor.map(fetch, range(0, total, PAGE_SIZE - 1)):
            assert body  # noqa: S101 (nothing else is done with it)


if __name__ == "__main__":
    main()
