from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import requests

from pytest_ccci.errors import EngineUnavailable, KeycloakUnavailable, TraefikUnavailable
from pytest_ccci.run import host as module
from pytest_ccci.run.host import blamed, outage


def machine(*, engine: bool = True, external: bool = False) -> Any:
    def ping() -> bool:
        if not engine:
            raise requests.ConnectionError("no such socket")
        return True

    site = SimpleNamespace(certificates=None if external else object(), zone=SimpleNamespace(name="ci.test"))
    return SimpleNamespace(engine=SimpleNamespace(client=SimpleNamespace(ping=ping)), site=site, own_keycloak="")


DOWN = {"traefik": TraefikUnavailable("Traefik is down"), "keycloak": KeycloakUnavailable("Keycloak is down")}


@pytest.mark.parametrize(
    ("engine", "external", "keycloak", "down", "found"),
    [
        (True, False, True, set(), None),
        (False, False, True, {"traefik", "keycloak"}, EngineUnavailable),
        (True, False, True, {"traefik", "keycloak"}, TraefikUnavailable),
        (True, True, False, {"traefik"}, None),
        (True, True, True, {"traefik", "keycloak"}, KeycloakUnavailable),
        (True, False, False, {"keycloak"}, None),
    ],
)
def test_the_first_that_is_down_is_named_and_only_what_the_run_uses_is_asked(
    monkeypatch: pytest.MonkeyPatch,
    engine: bool,
    external: bool,
    keycloak: bool,
    down: set[str],
    found: type[Exception] | None,
) -> None:
    monkeypatch.setattr(module, "answers", lambda _site, app, _domain: DOWN[app] if app in down else None)
    seen = outage(machine(engine=engine, external=external), keycloak=keycloak)
    assert (type(seen) if seen else None) is found


def test_what_went_wrong_meanwhile_is_kept_below_what_is_down() -> None:
    text = blamed(KeycloakUnavailable("Keycloak is down"), "login failed\n  seen: 502")
    assert text == "Keycloak is down\n  meanwhile: login failed\n    seen: 502"
