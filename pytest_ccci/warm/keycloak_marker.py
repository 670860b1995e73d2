"""What must be found again after an update of Keycloak: a person who can log in, and the record of its schema.

Written before anything is touched. Health alone would call it good when an old version starts on a new schema.
"""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import requests

from pytest_ccci import web
from pytest_ccci.engine.containers import exec_in
from pytest_ccci.errors import CcciError, DataLost, InfrastructureFault, KeycloakUnavailable, StateDamaged
from pytest_ccci.recipe.names import app_domain
from pytest_ccci.statedir import StateDir, load_state, write_atomic
from pytest_ccci.warm.keycloak import open_keycloak
from pytest_ccci.warm.realm_model import RealmLease, make_lease, realm_body, signing_key
from pytest_ccci.warm.realms import Owner
from pytest_ccci.warm.zone import Site

__all__ = ["drop_marker", "expect_marker", "load_marker", "log_in", "schema_record", "write_marker"]

_LOG = logging.getLogger(__name__)

_RECIPE = "ccci-marker"
_CALLBACK = "https://ccci-marker.invalid/callback"
_SCHEMA = 'psql -qAt -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "select version from migration_model order by 1"'
_MARKED = ("keycloak",)
_PATIENCE = 20.0


@dataclass(frozen=True)
class Marker:
    """What was written before an update: the lease of the marker's realm, and the record of the schema."""

    lease: RealmLease
    schema: list[str] | None


def write_marker(site: Site, app: str, stack: str, ident: str) -> None:
    """Write the marker, and see that it is there: the person logs in.

    Its realm says that it is owned by whoever holds the app's lock, as it may come into being after the process died
    that asked for it, when its recovery has found none: then it is reaped as any lease of a dead run is.

    Raises:
        InfrastructureFault: it cannot be written or found.
    """
    if app not in _MARKED:
        return
    drop_marker(site, app)
    keycloak = open_keycloak(site)
    domain = f"{ident}.marker"
    marker = make_lease(
        recipe=_RECIPE, run_id=ident, domain=domain, zone=site.zone.name, base_url=keycloak.url, kept=False
    )
    lock = site.state.lock(app_domain(app, site.zone.name))
    owner = Owner.now(marker.realm, run_id=ident, lock=lock, domain=domain, nonce=marker.nonce)
    facts = {"lease": asdict(marker), "schema": schema_record(site, stack)}
    write_atomic(_file(site.state, app), json.dumps(facts).encode())
    body = realm_body(marker, owner=owner.facts(), redirect_uris=[_CALLBACK], key=signing_key())
    if not keycloak.create_realm(body):
        raise KeycloakUnavailable(f"the marker realm {marker.realm} is there already", where=keycloak.url)
    _require_login(site, marker)


def expect_marker(site: Site, app: str, stack: str, *, same_schema: bool) -> None:
    """See that the person of the marker still logs in, and with ``same_schema`` that the schema is what it was.

    Raises:
        DataLost: it is not so.
    """
    kept = load_marker(site.state, app) if app in _MARKED else None
    if kept is None:
        return
    _require_login(site, kept.lease)
    before = kept.schema
    if same_schema and before is not None:
        now = schema_record(site, stack)
        if now != before:
            raise DataLost(
                "the database's schema is not what it was before the update",
                where=stack,
                seen=f"migration_model says {now}, it said {before}",
            )


def drop_marker(site: Site, app: str) -> None:
    """Remove the marker if there is one. One that cannot be removed now is removed before the next is written."""
    try:
        kept = load_marker(site.state, app)
    except StateDamaged as error:
        # Its realm says itself whose it is, and is reaped as any lease of a dead run is.
        aside = _file(site.state, app).with_name(f"marker.json.damaged-{uuid.uuid4().hex[:6]}")
        _LOG.warning(f"{app}: {error.what}: {error.seen}; set aside as {_file(site.state, app).rename(aside).name}")
        return
    if kept is None:
        return
    try:
        open_keycloak(site, patience=_PATIENCE).delete_realm(kept.lease.realm)
    except InfrastructureFault as error:
        _LOG.warning(f"{app}: the marker realm stays for now: {error.what}")
        return
    _file(site.state, app).unlink(missing_ok=True)


def schema_record(site: Site, stack: str) -> list[str] | None:
    """The versions that Keycloak's own table names; ``None`` where the database is not one that can be asked so."""
    try:
        done = exec_in(site.engine, stack, "db", ["sh", "-c", _SCHEMA])
    except CcciError:
        return None
    return done.stdout.split() if done.rc == 0 and done.stdout else None


def log_in(site: Site, lease: RealmLease) -> str:
    """Log the lease's first person in as a browser does (authorization code); the ``sub`` that they are then.

    Raises:
        DataLost: they are not let in.
    """
    with web.session(site.zone.route) as client:
        query = {"client_id": lease.client_id, "redirect_uri": _CALLBACK, "response_type": "code", "scope": "openid"}
        page = client.get(lease.endpoints.authorization, params=query)
        form = web.password_form(page)
        if form is None:
            raise DataLost("there is no login form", where=lease.issuer, seen=f"{page.status_code} {page.text[:200]}")
        entered = {"username": lease.user.username, "password": lease.user.password}
        back = client.post(form.action, data={**form.hidden, **entered}, allow_redirects=False)
        code = parse_qs(urlsplit(back.headers.get("Location", "")).query).get("code")
        if not code:
            raise DataLost("the password is not accepted", where=lease.issuer, seen=str(back.status_code))
        asked = {"grant_type": "authorization_code", "code": code[0], "redirect_uri": _CALLBACK}
        token = client.post(lease.endpoints.token, data=asked, auth=(lease.client_id, lease.client_secret)).json()
        bearer = {"Authorization": f"Bearer {token.get('access_token', '')}"}
        return str(client.get(lease.endpoints.userinfo, headers=bearer).json().get("sub", ""))


def _require_login(site: Site, lease: RealmLease) -> None:
    try:
        sub = log_in(site, lease)
    except (requests.RequestException, ValueError) as error:
        raise DataLost("the marker's person cannot log in", where=lease.issuer, seen=str(error)[:300]) from error
    if sub != lease.user.sub:
        raise DataLost("the marker's person is another one", where=lease.issuer, seen=f"{sub}, not {lease.user.sub}")


def _file(state: StateDir, app: str) -> Path:
    return state.infra(app) / "marker.json"


def load_marker(state: StateDir, app: str) -> Marker | None:
    """The marker that was written; ``None`` when there is none.

    Raises:
        StateDamaged: its file cannot be used.
    """
    return load_state(_file(state, app), Marker, advice="remove it: the next update writes a new marker")
