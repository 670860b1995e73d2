from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_ccci import process
from pytest_ccci.engine import daemon
from pytest_ccci.errors import EngineUnavailable


def test_an_engine_that_dies_at_once_is_told_with_its_last_words_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spawn(*_: Any, log: Path) -> int:
        log.write_text("failed to start daemon: Devices cgroup isn't mounted\n", encoding="utf-8")
        return 4711

    monkeypatch.setattr(process, "spawn", spawn)
    monkeypatch.setattr(process, "alive", lambda pid: pid != 4711)
    with pytest.raises(EngineUnavailable, match="did not come up\n  seen: failed to start daemon: Devices cgroup"):
        daemon.attach_or_start(tmp_path / "engine", tell=print)
