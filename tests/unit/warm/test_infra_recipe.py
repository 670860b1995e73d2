from __future__ import annotations

import os
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.errors import InfrastructureFault
from pytest_ccci.recipe.compose_facts import ComposeFacts, VolumeFacts
from pytest_ccci.redact import SECRETS
from pytest_ccci.statedir import open_state
from pytest_ccci.warm import infra_recipe
from pytest_ccci.warm.infra_recipe import data_of, keeps_data, live_folders, read_secret, require_access

FACTS = ComposeFacts(services={}, volumes={"db": VolumeFacts("db"), "shared": VolumeFacts("shared", external=True)})
NONE = ComposeFacts(services={}, volumes={"shared": VolumeFacts("shared", external=True)})


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(infra_recipe, "_plain", lambda *_a: None)
    return SimpleNamespace(state=open_state(tmp_path / "state"), engine=SimpleNamespace(socket_path=tmp_path))


def test_only_volumes_of_its_own_are_an_apps_data() -> None:
    assert keeps_data(FACTS)
    assert not keeps_data(NONE)


def test_data_lives_at_one_real_path_however_the_state_directory_is_reached(site: Any, tmp_path: Path) -> None:
    live = live_folders(site, "keycloak", FACTS)
    (tmp_path / "other").mkdir()
    other = open_state(tmp_path / "other")
    (other.root / "infra").symlink_to(site.state.root / "infra")

    assert set(live) == {"db"}
    assert live_folders(SimpleNamespace(state=other, engine=site.engine), "keycloak", FACTS) == live  # type: ignore[arg-type]  # what is asked of it


def test_nothing_is_kept_here_of_an_engine_elsewhere(site: Any) -> None:
    site.engine.socket_path = None

    assert live_folders(site, "keycloak", FACTS) == {}
    with pytest.raises(InfrastructureFault, match="another machine"):
        require_access(site, "keycloak", "stack", FACTS)


def test_data_that_this_user_cannot_copy_is_said_before_anything_is_touched(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = data_of(site.state, "keycloak").live("db")
    require_access(site, "keycloak", "stack", FACTS)
    monkeypatch.setattr(os, "access", lambda place, _mode: Path(place) != live)

    with pytest.raises(InfrastructureFault, match="cannot be copied by this user") as told:
        require_access(site, "keycloak", "stack", FACTS)

    assert told.value.where == str(live)


def test_what_is_read_as_a_secret_in_a_container_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    value = f"Zr{uuid.uuid4().hex}"
    monkeypatch.setattr(infra_recipe, "exec_in", lambda *_a, **_o: SimpleNamespace(rc=0, stdout=value, stderr=""))
    engine: Any = None
    assert read_secret(engine, "keycloak", "app", "admin") == value
    assert SECRETS.scrub(f"no login as {value}") == "no login as [secret]"
