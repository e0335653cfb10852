"""`python -m toubib_api`."""

from toubib_api.cli import main

main(prog_name="toubib-api")
