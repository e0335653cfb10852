"""`python -m toubib_connector`."""

from toubib_connector.cli import main

main()
