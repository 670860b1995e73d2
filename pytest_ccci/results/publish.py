"""What is made of a result once it is written: its row in the index. A run's verdict never depends on it."""

from __future__ import annotations

import logging
from pathlib import Path

from pytest_ccci.results.index import record, row_of
from pytest_ccci.results.write import load_result
from pytest_ccci.statedir import StateDir

__all__ = ["publish"]

_LOG = logging.getLogger(__name__)


def publish(state: StateDir, path: Path) -> None:
    """Enter the result at ``path``, as it was written, without secrets. Never raises: what cannot be done is told."""
    try:
        record(state, row_of(load_result(path)))
    except Exception as error:  # noqa: BLE001  whatever it is, the result stands, and this can be done again from it
        _LOG.warning(f"the run is not in the index yet: {error}")
