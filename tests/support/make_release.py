"""Makes `releases/<version>.tar.xz`: a destination of the current release, for the tests of upgrades.

Run it once for each release: `.venvs/dev/bin/python tests/support/make_release.py`. Its patients are made up.
"""

from __future__ import annotations

import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from support import Destination, bundled_api

RELEASES = Path(__file__).with_name("releases")


def main() -> None:
    """Load three patients, change one, delete one, load again, and pack the file, its state and the source."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        destination = Destination(folder / "patients.duckdb")
        with bundled_api(folder / "toubib.sqlite", patients=3) as api:
            for change in (lambda: api.update(1, last_name="Changed"), lambda: api.delete(2)):
                outcome = destination.run("run", API_BASEURL=api.url, TAP_TOUBIB_MAX_DELETED_PERCENT="100")
                assert outcome.returncode == 0, outcome.stdout
                change()
            outcome = destination.run("run", API_BASEURL=api.url, TAP_TOUBIB_MAX_DELETED_PERCENT="100")
            assert outcome.returncode == 0, outcome.stdout
        RELEASES.mkdir(exist_ok=True)
        with tarfile.open(RELEASES / f"{version('toubib-connector')}.tar.xz", "w:xz") as archive:
            for file in sorted(folder.glob("*.*")):
                if file.is_file():
                    archive.add(file, file.name)


if __name__ == "__main__":
    main()
