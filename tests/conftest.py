"""What holds for every test: no example fails for being slow, and a failure can be replayed.

A first example may pay for a lazy import, and the machine may be busy; neither is a fact about the code.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")
