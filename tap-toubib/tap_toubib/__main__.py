"""Command line of the tap."""

import os
import sys

from simplejson import JSONDecodeError  # type: ignore[import-untyped]  # the package has no types
from singer_sdk.exceptions import ConfigValidationError, SingerSDKError

from tap_toubib.tap import TapToubib


def main() -> None:
    """Run the tap. An error that the user can act on ends it with one line and exit code 1."""
    # only the owner can read files of patients
    os.umask(0o077)
    try:
        TapToubib.cli()
    except ConfigValidationError as error:
        _end(*error.errors)
    except SingerSDKError as error:
        _end(str(error))
    except JSONDecodeError as error:
        _end(f"The state or the catalog is not JSON: {error}")
    except OSError as error:
        _end(f"{error.filename or 'Cannot write'}: {error.strerror or error}")


def _end(*lines: str) -> None:
    for line in lines:
        TapToubib.logger.critical("%s", line)
    sys.exit(1)


if __name__ == "__main__":
    main()
