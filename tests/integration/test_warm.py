"""The warm Traefik and Keycloak for real: they come up once, serve under the zone's CA, and lend realms."""

from __future__ import annotations

import html
import os
import re
import ssl
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from pytest_ccci import locks, process, web
from pytest_ccci.engine.deploy import undeploy
from pytest_ccci.engine.discovery import find_engine
from pytest_ccci.engine.images import prepare
from pytest_ccci.engine.inspect import inspect_stack
from pytest_ccci.engine.standin_definitions import load_definitions
from pytest_ccci.engine.vip_probe import PROBE_IMAGE, vip_works
from pytest_ccci.errors import TraefikUnavailable
from pytest_ccci.recipe.compose_facts import ComposeFacts, VolumeFacts
from pytest_ccci.settings import resolve
from pytest_ccci.statedir import open_state
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.warm import realms
from pytest_ccci.warm.certificates import prepare as prepare_certificates
from pytest_ccci.warm.infra import ensure
from pytest_ccci.warm.infra_recipe import adopt, known_secrets, learn_secrets, live_folders
from pytest_ccci.warm.keycloak import Keycloak, open_keycloak
from pytest_ccci.warm.realm_model import RealmLease
from pytest_ccci.warm.realms import load_owners
from pytest_ccci.warm.zone import Site, open_site

pytestmark = [pytest.mark.alone, pytest.mark.slow]

CALLBACK = "https://warmtest.example/callback"


@pytest.fixture(scope="module")
def site() -> Site:
    settings = resolve({}, {})
    state = open_state(settings.state_dir)
    engine = find_engine(settings, state)
    definitions = load_definitions()

    def ready(refs: object) -> tuple[object, ...]:
        wanted = [refs] if isinstance(refs, str) else list(refs)  # type: ignore[call-overload]  # either form
        return prepare(engine.client, wanted, definitions=definitions, cache=state.images)

    vip = vip_works(engine, state.root / "probe", prepare=ready)
    able = replace(engine, facts=replace(engine.facts, vip=vip))
    opened = open_site(able, settings, state, prepare_images=ready)
    ensure(opened, "traefik")
    ensure(opened, "keycloak")
    return opened


@pytest.fixture(scope="module")
def keycloak(site: Site) -> Keycloak:
    return open_keycloak(site)


@contextmanager
def leased(site: Site, keycloak: Keycloak, run_id: str, *, kept: bool = False) -> Iterator[RealmLease]:
    domain = f"warmtest-{'kept' if kept else run_id}.{site.zone.name}"
    lock = site.state.lock(domain)
    with locks.hold(lock, wait=30, owner={"run": run_id}):
        lease = realms.lease(
            keycloak,
            site.state,
            recipe="warmtest",
            run_id=run_id,
            domain=domain,
            zone=site.zone.name,
            kept=kept,
            redirect_uris=[CALLBACK],
            lock=lock,
        )
        try:
            yield lease
        finally:
            realms.give_back(keycloak, site.state, lease)


def left_over(site: Site, keycloak: Keycloak, run_id: str) -> set[str]:
    known = {*realms.owners(keycloak), *load_owners(site.state)}
    return {owner.realm for owner in known if owner.run_id.startswith(run_id)}


def log_in(client: requests.Session, lease: RealmLease, number: int = 0) -> Mapping[str, str]:
    """The authorization-code flow as a browser does it; what the userinfo endpoint says then."""
    user = lease.users[number]
    query = {"client_id": lease.client_id, "redirect_uri": CALLBACK, "response_type": "code", "scope": "openid"}
    page = client.get(lease.endpoints.authorization, params=query)
    form = re.search(r'<form[^>]+action="([^"]+)"', page.text)
    assert form, page.text[:500]
    entered = client.post(
        html.unescape(form[1]),
        data={"username": user.username, "password": user.password},
        allow_redirects=False,
    )
    assert entered.headers.get("Location", "").startswith(CALLBACK), entered.text[:500]
    code = parse_qs(urlsplit(entered.headers["Location"]).query)["code"][0]
    token = client.post(
        lease.endpoints.token,
        data={"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK},
        auth=(lease.client_id, lease.client_secret),
    ).json()
    told = client.get(lease.endpoints.userinfo, headers={"Authorization": f"Bearer {token['access_token']}"}).json()
    return {str(key): str(value) for key, value in told.items()}


def test_what_is_healthy_is_left_alone(site: Site) -> None:
    before = {app: inspect_stack(site.engine, ensure(site, app).stack) for app in ("traefik", "keycloak")}

    after = {app: inspect_stack(site.engine, ensure(site, app).stack) for app in ("traefik", "keycloak")}

    assert after == before


def test_traefik_serves_the_zone_under_our_ca(site: Site) -> None:
    domain = f"traefik.{site.zone.name}"
    with web.session(site.zone.route) as client:
        assert client.get(f"{site.zone.url(domain)}/api/version").json()["Version"]
        redirected = client.get(f"http://{domain}:{site.zone.http_port}/x", allow_redirects=False)

    assert redirected.headers["Location"] == f"{site.zone.url(domain)}/x"


def test_a_stranger_to_our_ca_is_refused(site: Site) -> None:
    route = replace(site.zone.route, ca_file=None)

    with web.session(route) as client, pytest.raises(requests.exceptions.SSLError):
        client.get(site.zone.url(f"traefik.{site.zone.name}"))


@pytest.fixture
def second(site: Site, tmp_path: Path) -> Iterator[Site]:
    """A zone of its own on ports of its own, beside the warm one."""
    given = {"zone": "warmtest.test", "http_port": "18080", "https_port": "18443", "state_dir": str(tmp_path / "state")}
    settings = resolve(given, {})
    state = open_state(settings.state_dir)
    yield open_site(site.engine, settings, state, prepare_images=site.prepare)
    undeploy(site.engine, "traefik_warmtest_test", volumes=True, deadline=Deadline(60))


def test_a_renewed_certificate_is_served_without_being_asked(second: Site) -> None:
    before = ensure(second, "traefik")
    assert second.certificates
    second.certificates.certificate_file.unlink()
    renewed = replace(second, certificates=prepare_certificates(second.state, second.zone.name))

    after = ensure(renewed, "traefik")

    assert before.healthy
    assert after.healthy
    served = web.certificate(after.domain, route=renewed.zone.route, port=renewed.zone.https_port)
    assert renewed.certificates
    assert ssl.DER_cert_to_PEM_cert(served) == renewed.certificates.certificate_file.read_text()


def test_a_second_traefik_on_the_same_ports_is_refused(site: Site, tmp_path: Path) -> None:
    settings = resolve({"zone": "other.test", "state_dir": str(tmp_path / "state")}, {})
    other = open_site(site.engine, settings, open_state(settings.state_dir), prepare_images=site.prepare)

    with pytest.raises(TraefikUnavailable, match="has the ports"):
        ensure(other, "traefik")


def test_data_of_an_older_deploy_moves_to_where_it_can_be_copied(second: Site) -> None:
    name = "older_warmtest_test_db"
    second.prepare([PROBE_IMAGE])
    client = second.engine.client
    client.volumes.create(name)
    words = ["sh", "-c", "echo kept > /data/x; chown 70:70 /data/x; chmod 600 /data/x"]
    client.containers.run(PROBE_IMAGE, words, volumes={name: {"bind": "/data"}}, remove=True)
    facts = ComposeFacts(services={}, volumes={"db": VolumeFacts("db", name)})

    for _ in range(2):
        adopt(second, "older", "older_warmtest_test", facts)

    moved = live_folders(second, "older", facts)["db"] / "x"
    assert (moved.read_text(), moved.stat().st_uid, moved.stat().st_mode & 0o777) == ("kept\n", 70, 0o600)
    assert name not in [volume.name for volume in client.volumes.list()]


@pytest.mark.parametrize("app", ["traefik", "keycloak"])
def test_the_kept_secrets_are_those_the_containers_hold(site: Site, app: str) -> None:
    found = ensure(site, app)
    kept = known_secrets(site.state, app)

    held = learn_secrets(site.engine, found.stack, site.state, app)

    assert held
    assert {name: kept[name] for name in held} == held


def test_keycloak_names_the_issuer_a_browser_sees(site: Site, keycloak: Keycloak) -> None:
    assert keycloak.issuer() == f"{site.zone.url(f'keycloak.{site.zone.name}')}/realms/master"


def test_both_leased_people_log_in_as_a_browser_does(site: Site, keycloak: Keycloak) -> None:
    with leased(site, keycloak, "login") as lease:
        for number, user in enumerate(lease.users):
            with web.session(site.zone.route) as client:
                told = log_in(client, lease, number)
            assert (told["sub"], told["preferred_username"], told["email"]) == (user.sub, user.username, user.email)

    assert left_over(site, keycloak, "login") == set()


def test_kept_data_meets_the_same_person_again(site: Site, keycloak: Keycloak) -> None:
    seen = []
    for run_id in ("one", "two"):
        with leased(site, keycloak, run_id, kept=True) as lease, web.session(site.zone.route) as client:
            seen.append((lease.issuer, log_in(client, lease)["sub"]))

    assert seen[0] == seen[1]


def test_eight_leases_at_once_do_not_disturb_each_other(site: Site, keycloak: Keycloak) -> None:
    def one(number: int) -> str:
        with leased(site, keycloak, f"crowd{number}") as lease, web.session(site.zone.route) as client:
            return log_in(client, lease)["email"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == [f"alice@{site.zone.name}"] * 8
    assert left_over(site, keycloak, "crowd") == set()


def test_a_killed_runs_realm_is_reaped_as_soon_as_its_lock_is_free(
    site: Site, keycloak: Keycloak, tmp_path: Path
) -> None:
    script = tmp_path / "leaser.py"
    script.write_text(_LEASER)
    log = tmp_path / "log"
    pid = process.spawn(
        [sys.executable, script, str(site.state.root), keycloak.url, site.zone.address, str(site.zone.ca_file)],
        log=log,
        env={**os.environ, "CCCI_TEST_PASSWORD": keycloak._password},
    )
    try:
        until(lambda: "leased" in log.read_text(), deadline=Deadline(60), what="the lease", seen=log.read_text)
        assert "warmtest-doomed" not in realms.reap(keycloak, site.state)
    finally:
        process.terminate(pid, force=True)
    until(lambda: not process.alive(pid), deadline=Deadline(10), what="the process to be gone")

    assert "warmtest-doomed" in realms.reap(keycloak, site.state)
    assert left_over(site, keycloak, "doomed") == set()


def test_the_password_is_accepted_again_after_the_token_has_expired(keycloak: Keycloak) -> None:
    keycloak.check()
    link = keycloak._link()
    link.token = {**(link.token or {}), "expires_in": 0, "access_token": "stale", "refresh_token": "stale"}

    assert keycloak.version()


_LEASER = """
import os, sys
from pathlib import Path
from pytest_ccci import locks
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import pause
from pytest_ccci.warm import realms
from pytest_ccci.warm.infra_recipe import known_secrets, learn_secrets
from pytest_ccci.warm.keycloak import Keycloak
from pytest_ccci.web import Route

root, url, address, ca = sys.argv[1:]
zone = url.removeprefix("https://keycloak.").partition(":")[0]
state = StateDir(Path(root))
keycloak = Keycloak(
    url, route=Route(zone=zone, address=address, ca_file=Path(ca)), password=os.environ["CCCI_TEST_PASSWORD"]
)
lock = state.lock(f"warmtest-doomed.{zone}")
with locks.hold(lock, wait=0, owner={}):
    realms.lease(
        keycloak, state, recipe="warmtest", run_id="doomed", domain=f"warmtest-doomed.{zone}", zone=zone, kept=False,
        redirect_uris=["https://x/*"], lock=lock,
    )
    print("leased", flush=True)
    pause(600)
"""
