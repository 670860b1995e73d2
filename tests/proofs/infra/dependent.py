"""A small recipe that depends on Keycloak, run as a user runs one: what every update must leave green."""

from __future__ import annotations

import logging
from pathlib import Path

from page import COMPOSE, TOML, write_page

from pytest_ccci.ops.run_pytest import ChildRun, run_pytest
from tests.proofs.infra.ground import Ground

_LOG = logging.getLogger(__name__)

__all__ = ["run_dependent", "write_dependent"]

_ENVIRONMENT = 'RELEASE: "@RELEASE@"'
_COMPOSE = COMPOSE.replace(_ENVIRONMENT, f'{_ENVIRONMENT}, OIDC_ISSUER: "${{OIDC_ISSUER}}"')
_TOML = f"""\
{TOML}
[env]
OIDC_ISSUER = "{{{{ realm.issuer }}}}"
[needs.keycloak]
redirect_paths = ["/callback"]
"""
_TEST = """\
def test_a_person_logs_in(app, keycloak_realm):
    user = keycloak_realm.user
    asked = {
        "grant_type": "password", "scope": "openid", "username": user.username, "password": user.password,
        "client_id": keycloak_realm.client_id, "client_secret": keycloak_realm.client_secret,
    }
    answer = app.new_http().post(keycloak_realm.endpoints.token, data=asked)
    assert answer.status_code == 200, answer.text
"""


def write_dependent(folder: Path) -> Path:
    """Write the recipe into ``folder``."""
    return write_page(folder, compose=_COMPOSE, toml=_TOML, tests=_TEST)


def run_dependent(ground: Ground, folder: Path, *words: str) -> ChildRun:
    """Run it with pytest on the ground, with ``words`` such as ``--quick``."""
    return run_pytest(
        ground.state,
        folder,
        words,
        settings=[word for word in ground.words() if "slots" not in word],
        coloured=False,
        line=lambda row: _LOG.info(f"  {row}") if row.strip() else None,
        env=ground.environment,
    )
