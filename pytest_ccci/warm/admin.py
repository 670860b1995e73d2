"""The administrator of the warm Keycloak: the password is what the running app holds, not what we remember."""

from __future__ import annotations

from pytest_ccci.errors import EngineUnavailable, InfrastructureFault, KeycloakUnavailable, RecipeFault
from pytest_ccci.recipe.names import app_domain, stack_name
from pytest_ccci.warm.kept_secrets import read_secret
from pytest_ccci.warm.keycloak import Keycloak
from pytest_ccci.warm.warmsite import Site

__all__ = ["open_keycloak"]


def open_keycloak(site: Site, *, domain: str = "", patience: float = 90.0) -> Keycloak:
    """The Keycloak at ``domain`` (default: the warm one), as its administrator; nothing is asked of it yet.

    Raises:
        KeycloakUnavailable: it does not run, or holds no password.
    """
    domain = domain or app_domain("keycloak", site.zone.name)
    try:
        password = read_secret(site.engine, stack_name(domain), "app", "admin_password").strip()
    except EngineUnavailable:
        raise
    except (RecipeFault, InfrastructureFault) as error:
        raise KeycloakUnavailable("Keycloak does not run", where=domain, seen=str(error)) from error
    return Keycloak(site.zone.url(domain), route=site.zone.route, password=password, patience=patience, tell=site.tell)
