"""Command line of the tap."""

import sys

from singer_sdk.exceptions import SingerSDKError

from tap_toubib.tap import TapToubib


def main() -> None:
    """Run the tap; an error that the user can act on ends it with one line and exit code 1, without a traceback."""
    try:
        TapToubib.cli()
    except SingerSDKError as error:
        TapToubib.logger.critical("%s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
