"""The floor of a quick run: the same steps by a bare script, nothing of the product in between.

Realm → deploy the known-good over its volumes → upgrade → the recipe's own checks → undeploy → realm back, with the
short health intervals and the undeploy order that the product uses. What a hand-written script would have lying ready
(checked-out compose files, the environment, the overlay, images) is prepared before the clock starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker.errors import APIError
from handmade import run_checks

from pytest_ccci import process, web
from pytest_ccci.engine.compose import build_overlay, stack_config, write_compose
from pytest_ccci.recipe.compose_facts import compose_facts
from pytest_ccci.recipe.env import app_env, render_all
from pytest_ccci.recipe.names import canonical_domain, stack_name
from pytest_ccci.recipe.repository import open_mirror
from pytest_ccci.recipe.spec import RecipeSpec
from pytest_ccci.run.app import App
from pytest_ccci.run.host import Machine
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.waiting import Deadline, Stopwatch, until
from pytest_ccci.warm.keycloak import open_keycloak
from pytest_ccci.warm.realm_model import RealmLease, make_lease, realm_body, signing_key

__all__ = ["Script", "prepare_script"]

_LONG = 300.0


@dataclass(frozen=True)
class Version:
    """One version, ready to be handed to ``docker stack deploy``."""

    files: tuple[Path, ...]
    env: Mapping[str, str] = field(repr=False)


@dataclass
class Script:
    """A bare quick run of one recipe. ``seconds`` says where the time went."""

    machine: Machine
    spec: RecipeSpec
    app: App
    base: Version
    head: Version
    volumes: Mapping[str, Path]
    secrets: Mapping[str, str] = field(repr=False)
    password: str = field(repr=False)
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self) -> float:
        """Once from begin to end; wall seconds. Also after a failure nothing is left."""
        self.seconds = {}
        watch = Stopwatch()
        with ExitStack() as undo:
            with self._step("lease realm"):
                lease = self._lease(undo)
            with ExitStack() as remove:
                remove.callback(self._undeploy)
                with self._step("known-good: deploy"):
                    self._objects(lease)
                    self._up(self.base)
                with self._step("upgrade: deploy"):
                    self._up(self.head)
                with self._step("custom"):
                    run_checks(self.spec.folder, self.app, lease)
        return watch.seconds

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        watch = Stopwatch()
        yield
        self.seconds[name] = watch.seconds

    def _lease(self, undo: ExitStack) -> RealmLease:
        zone, name = self.machine.site.zone, self.spec.name
        base = zone.url(f"keycloak.{zone.name}")
        lease = make_lease(
            recipe=name, run_id="floor", domain=self.app.domain, zone=zone.name, base_url=base, kept=True
        )
        http = undo.enter_context(web.session(zone.route, timeout=_LONG))
        admin = {
            "grant_type": "password",
            "client_id": "admin-cli",
            "username": "admin",
            "password": self.password,
        }
        token = http.post(f"{base}/realms/master/protocol/openid-connect/token", data=admin).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        need = self.spec.needs.keycloak
        body = realm_body(
            lease,
            owner={},
            redirect_uris=[f"{self.app.url}{path}" for path in (need.redirect_paths if need else ())],
            post_logout_uris=[f"{self.app.url}{path}" for path in (need.post_logout_paths if need else ())],
            key=signing_key(),
        )
        http.post(f"{base}/admin/realms", json=body).raise_for_status()

        def back() -> None:
            with self._step("give realm back"):
                fresh = http.post(f"{base}/realms/master/protocol/openid-connect/token", data=admin).json()
                http.headers["Authorization"] = f"Bearer {fresh['access_token']}"
                http.delete(f"{base}/admin/realms/{lease.realm}").raise_for_status()

        undo.callback(back)
        return lease

    def _objects(self, lease: RealmLease) -> None:
        api, stack = self.machine.engine.client.api, self.app.stack
        given = render_all(self.spec.given_secrets(None), {"realm": lease.context()}, where="recipe.toml")
        for name, value in self.secrets.items():
            mine = next((text for short, text in given.items() if f"_{short}_" in name), value)
            api.create_secret(name, mine.encode(), labels={"com.docker.stack.namespace": stack})
        for key, place in self.volumes.items():
            options = {"type": "none", "o": "bind", "device": str(place)}
            api.create_volume(f"{stack}_{key}", driver="local", driver_opts=options)

    def _up(self, version: Version) -> None:
        engine = self.machine.engine
        files = [word for file in version.files for word in ("--compose-file", str(file))]
        process.run(
            [engine.cli, "stack", "deploy", "--detach=true", "--resolve-image=never", *files, self.app.stack],
            env=engine.docker_env(version.env),
            cwd=version.files[0].parent,
            timeout=_LONG,
        )
        until(self._settled, deadline=Deadline(_LONG), what="the stack to be up", every=0.05)
        health = self.spec.health
        url = f"{self.app.url}{health.path}"
        until(
            lambda: self.app.http.get(url, allow_redirects=False).status_code in health.accept,
            deadline=Deadline(_LONG),
            what=f"{url} to answer",
            every=0.05,
        )

    def _settled(self) -> bool:
        """Every service runs one task of its present image, and no update is in flight."""
        mine = {"label": f"com.docker.stack.namespace={self.app.stack}"}
        api = self.machine.engine.client.api
        services, tasks = api.services(filters=mine), api.tasks(filters={**mine, "desired-state": "running"})
        if any((service.get("UpdateStatus") or {}).get("State") == "updating" for service in services):
            return False
        running = {
            (task["ServiceID"], task["Spec"]["ContainerSpec"]["Image"])
            for task in tasks
            if task["Status"]["State"] == "running"
        }
        wanted = {(service["ID"], service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]) for service in services}
        return wanted == running and len(tasks) == len(services)

    def _undeploy(self) -> None:
        with self._step("undeploy"):
            api, mine = self.machine.engine.client.api, {"label": f"com.docker.stack.namespace={self.app.stack}"}
            services = api.services(filters=mine)
            _at_once(services, lambda service: _to_zero(api, service))
            _at_once(api.containers(filters=mine), lambda one: _stop(api, one["Id"]))
            networks = {network["Id"] for network in api.networks(filters=mine)}
            _at_once(services, lambda service: api.remove_service(service["ID"]))
            with suppress(APIError):
                _at_once(list(networks), api.remove_network)
            until(
                lambda: (
                    not api.containers(all=True, filters=mine)
                    and not networks & {network["Id"] for network in api.networks()}
                ),
                deadline=Deadline(_LONG),
                what="the stack to be gone",
                every=0.05,
            )
            until(lambda: self._forgotten(api, mine), deadline=Deadline(_LONG), what="secrets to be free", every=0.05)
            for key in self.volumes:
                with suppress(APIError):
                    api.remove_volume(f"{self.app.stack}_{key}")

    @staticmethod
    def _forgotten(api: Any, mine: Mapping[str, str]) -> bool:
        """Whether all secrets and configs are removed: Swarm refuses while a task is still known to use them."""
        with suppress(APIError):
            for secret in api.secrets(filters=mine):
                api.remove_secret(secret["ID"])
            for config in api.configs(filters=mine):
                api.remove_config(config["ID"])
            return True
        return False


def prepare_script(machine: Machine, spec: RecipeSpec, head: str, place: Path) -> Script:
    """Everything the bare script needs, written below ``place``. It works on the canonical's own live volumes.

    They are as the last promotion left them, and drifted afterwards, as after every quick run.
    """
    store = CanonicalStore(machine.state.canonical(spec.name), spec.name)
    record = store.record()
    if record is None:
        raise SystemExit("there is no known-good to start from")
    zone, domain = machine.site.zone, canonical_domain(spec.name, machine.settings.zone)
    lease = make_lease(
        recipe=spec.name,
        run_id="floor",
        domain=domain,
        zone=zone.name,
        base_url=zone.url(f"keycloak.{zone.name}"),
        kept=True,
    )
    mirror = open_mirror(spec, cache=machine.state.recipes)
    versions = [
        _version(machine, spec, mirror.checkout(found, place / name), lease, place / f"{name}.yml")
        for name, found in (("base", mirror.resolve(record.commit)), ("head", mirror.resolve(head)))
    ]
    store.mark_drifted("benchmark", "upgraded by the bare script")
    return Script(
        machine,
        spec,
        App(zone.url(domain), domain, stack_name(domain), machine.engine, zone.route),
        base=versions[0],
        head=versions[1],
        volumes={name: store.live(name) for name in record.volumes},
        secrets=store.secrets(),
        password=open_keycloak(machine.site)._password,  # noqa: SLF001  what an operator has in a file
    )


def _version(machine: Machine, spec: RecipeSpec, tree: Any, lease: RealmLease, overlay: Path) -> Version:
    domain = canonical_domain(spec.name, machine.settings.zone)
    context: dict[str, object] = {"domain": domain, "zone": machine.settings.zone, "recipe": spec.name}
    context["realm"] = lease.context()
    overrides = {"LETS_ENCRYPT_ENV": "", **render_all(spec.env.at(None), context, where="recipe.toml")}
    env = app_env(tree, domain=domain, stack=stack_name(domain), overrides=overrides)
    config = stack_config(machine.engine, env.compose_files, env.values)
    facts = compose_facts(config)
    machine.prepare(sorted({service.image for service in facts.services.values()}))
    settings = machine.overlay({}, {}, domain=domain)
    write_compose(overlay, build_overlay(facts, settings, version=config.get("version")))
    return Version((*env.compose_files, overlay), env.values)


def _at_once(things: list[Any], act: Callable[[Any], object]) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(act, things))


def _to_zero(api: Any, service: dict[str, Any]) -> None:
    service["Spec"]["Mode"] = {"Replicated": {"Replicas": 0}}
    url = api._url("/services/{0}/update", service["ID"])  # noqa: SLF001  the SDK has no call for a whole spec
    api._post_json(url, data=service["Spec"], params={"version": service["Version"]["Index"]})  # noqa: SLF001  the same


def _stop(api: Any, container: str) -> None:
    with suppress(APIError):
        api.stop(container)
        api.remove_container(container, v=True, force=True)
