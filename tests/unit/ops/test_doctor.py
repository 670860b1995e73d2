"""What `ccci doctor` says of engines that behave otherwise."""

from __future__ import annotations

import pytest

from pytest_ccci.ops.doctor import _start_period
from pytest_ccci.ops.status import EngineRow


@pytest.mark.parametrize(
    ("api", "cli", "level", "words"),
    [
        ("1.41", "28.2.2", "ok", "no pace of their own"),
        ("1.51", "28.5.2", "ok", "every second in a run"),
        ("1.45", "24.0.9", "note", "every 5 s, also in a run"),
    ],
)
def test_how_often_checks_are_made_in_a_start_period_is_told(api: str, cli: str, level: str, words: str) -> None:
    check = _start_period(EngineRow("private", api_version=api, cli_version=cli))
    assert check.level == level
    assert words in check.seen
