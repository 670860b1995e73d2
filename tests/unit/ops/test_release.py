"""Apps that were kept for a look are removed, with their realms."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_ccci.ops import release as releasing
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm import realms


def test_a_realm_that_somebody_else_removes_just_now_is_asked_for_again(
    settings: Settings, state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = SimpleNamespace(recipe="docs", domain="docs-1.ci.test", realm=object())
    asked: list[object] = []
    machine = SimpleNamespace(keycloak=object, engine=None)
    monkeypatch.setattr(releasing, "kept_apps", lambda _: (app,))
    monkeypatch.setattr(releasing, "open_machine", lambda *_, **__: machine)
    monkeypatch.setattr(releasing, "reap_dead_runs", lambda _: SimpleNamespace(problems=()))
    monkeypatch.setattr(releasing, "app_inventory", lambda *_: SimpleNamespace(things=()))
    monkeypatch.setattr(realms, "reap", lambda *_: asked.append(1))
    monkeypatch.setattr(
        realms, "load_owners", lambda _: () if len(asked) > 1 else (SimpleNamespace(domain=app.domain),)
    )
    assert releasing.release(settings, state, "docs").problems == ()
    assert len(asked) == 2
