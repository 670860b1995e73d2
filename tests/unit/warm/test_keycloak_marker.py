from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci import locks
from pytest_ccci.statedir import open_state
from pytest_ccci.warm import keycloak_marker, realms
from pytest_ccci.warm.realm_model import RealmLease
from tests.unit.warm.test_realms import FakeKeycloak


@pytest.fixture
def keycloak(monkeypatch: pytest.MonkeyPatch) -> Any:
    fake = FakeKeycloak()
    monkeypatch.setattr(keycloak_marker, "open_keycloak", lambda *_a, **_k: fake)
    monkeypatch.setattr(keycloak_marker, "schema_record", lambda *_: ["26.7.3"])
    monkeypatch.setattr(keycloak_marker, "log_in", _let_in)
    return fake


def _let_in(_site: Any, lease: RealmLease) -> str:
    return lease.user.sub


@pytest.fixture
def site(tmp_path: Path) -> Any:
    return SimpleNamespace(state=open_state(tmp_path / "state"), zone=SimpleNamespace(name="ci.test"))


def test_a_marker_that_comes_after_its_recovery_is_reaped_once_its_process_is_gone(site: Any, keycloak: Any) -> None:
    """Keycloak may make the realm when the one who asked is dead and the recovery has looked for it in vain."""
    with locks.hold(site.state.lock("keycloak.ci.test"), wait=0, owner={"doing": "reconcile"}):
        keycloak_marker.write_marker(site, "keycloak", "keycloak_ci_test", "u1")
        (made,) = keycloak.kept
        late = keycloak.kept.pop(made)
        keycloak_marker.drop_marker(site, "keycloak")
        keycloak.kept[made] = late
        assert realms.reap(keycloak, site.state) == ()
    assert realms.reap(keycloak, site.state) == (made,)
    assert keycloak.kept == {}


def test_a_marker_is_found_again_and_removed(site: Any, keycloak: Any) -> None:
    keycloak_marker.write_marker(site, "keycloak", "keycloak_ci_test", "u1")
    keycloak_marker.expect_marker(site, "keycloak", "keycloak_ci_test", same_schema=True)
    keycloak_marker.drop_marker(site, "keycloak")
    assert keycloak.kept == {}
