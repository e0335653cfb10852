"""For the tests of all packages: no proxy of this machine's, and how many examples the properties try.

There are few by default, and many with `--hypothesis-profile complete`.
"""

import os

from hypothesis import settings

# the servers of the tests are on this machine; a test of a proxy sets one
for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)

settings.register_profile("default", max_examples=10, deadline=None)
settings.register_profile("complete", max_examples=100, deadline=None)
settings.load_profile("default")
