"""Command line of the tap."""

import sys

from singer_sdk.exceptions import ConfigValidationError, SingerSDKError

from tap_toubib.tap import TapToubib


def main() -> None:
    """Run the tap; what the user can act on ends it with one line each and exit code 1, without a traceback."""
    try:
        TapToubib.cli()
    except ConfigValidationError as error:
        for line in error.errors:
            TapToubib.logger.critical("%s", line)
        sys.exit(1)
    except SingerSDKError as error:
        TapToubib.logger.critical("%s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
