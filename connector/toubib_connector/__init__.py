"""The commands of the Toubib connector: what surrounds a `meltano run`."""
