"""What was found out of an engine is known of that engine alone: another Docker or another kernel is tried anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_ccci.engine.client import Engine, EngineFacts
from pytest_ccci.engine.vip_probe import known_vip, vip_works


def _engine(version: str) -> Engine:
    return Engine(None, Path("docker"), "unix:///ours", EngineFacts("AB:CD", version, "1.41", "28.2.2", "overlay2"))


def test_an_answer_is_not_that_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, True])
    monkeypatch.setattr("pytest_ccci.engine.vip_probe._try", lambda _engine: next(answers))
    older, newer = _engine("20.10.24+dfsg1"), _engine("28.5.2")
    options: dict[str, Any] = {"prepare": lambda _image: None}
    assert vip_works(older, tmp_path, **options) is False
    assert (known_vip(older, tmp_path), known_vip(newer, tmp_path)) == (False, None)
    assert vip_works(newer, tmp_path, **options) is True
    assert (known_vip(older, tmp_path), known_vip(newer, tmp_path)) == (False, True)
