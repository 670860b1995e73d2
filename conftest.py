"""For our own tests only. The plugin itself comes by its entry point; named here too it would be a start-up error."""

from __future__ import annotations

pytest_plugins = ["pytester"]
