"""Suite properties: the one place that touches pytest's junit internals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_ccci.results.model import RunResult

__all__ = ["add_suite_properties"]


def add_suite_properties(config: pytest.Config, runs: Sequence[RunResult | Mapping[str, str]]) -> None:
    """Put the runs' properties on the suite, if a junit file is being written.

    The documented way, ``record_testsuite_property``, is a fixture and lost under xdist (pytest#7767).
    """
    from _pytest.junitxml import xml_key  # noqa: PLC0415  there is no public way

    from pytest_ccci.results.junit import suite_properties  # noqa: PLC0415  with runs, not with every pytest

    xml = config.stash.get(xml_key, None)
    if xml is None:
        return
    for name, value in suite_properties(runs):
        xml.add_global_property(name, value)
