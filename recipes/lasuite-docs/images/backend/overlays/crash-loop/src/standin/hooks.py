"""Two places where a version may do something of its own."""

import os


def before_migrations():
    """Read the settings of the new search."""
    if "SEARCH_INDEXER_URL" not in os.environ:
        raise SystemExit("SEARCH_INDEXER_URL is not set")


def not_ready_because():
    """A reason why this version does not want to serve yet, or nothing."""
    return ""
