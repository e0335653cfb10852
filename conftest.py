"""How many examples the properties try: few by default, many with `--hypothesis-profile complete`."""

from hypothesis import settings

settings.register_profile("default", max_examples=10, deadline=None)
settings.register_profile("complete", max_examples=100, deadline=None)
settings.load_profile("default")
