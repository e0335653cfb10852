"""Handlers and filters of Meltano's own log. They run inside Meltano, and only `logging.yaml` names them."""
