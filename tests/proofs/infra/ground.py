"""Where the proofs of reconcile play: a zone, a state directory and infra apps of their own beside the real ones.

Its infra recipes are a switchable source: releases are written into a folder and withdrawn again, as an author would
publish them. Only the engine, its images and what image builds fetched are shared with the machine's warm apps.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ccci.engine.deploy import undeploy
from pytest_ccci.engine.inspect import inspect_stack, stack_filter
from pytest_ccci.errors import CcciError
from pytest_ccci.locks import hold
from pytest_ccci.recipe.names import app_domain, stack_name
from pytest_ccci.run.host import open_engine, open_quietly
from pytest_ccci.settings import Settings, resolve
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.waiting import Deadline
from pytest_ccci.warm.health import InfraApp
from pytest_ccci.warm.infra import ensure
from pytest_ccci.warm.zone import BUNDLED, Site, ensure_proxy

__all__ = ["Edit", "Ground", "open_ground"]

ZONE = "prove.test"
_REAL = frozenset({"25.0.6", "26.7.0", "26.7.3", "v3.7.13", "v3.7.15"})
_SHARED = ("images", "engines")
_UNDEPLOY = 180.0
_HEAP = "      - JAVA_OPTS_KC_HEAP=-Xms256m -Xmx768m\n"
_QUICK_START = "      - JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1\n"
"""Compiled fast, and not well: it starts a dozen times here, and never has much to do."""
_KEYCLOAK_25 = """\
#!/bin/bash
set -eu

KEYCLOAK_ADMIN=$KC_BOOTSTRAP_ADMIN_USERNAME
KEYCLOAK_ADMIN_PASSWORD=$(</run/secrets/admin_password)
KC_DB_PASSWORD=$(</run/secrets/db_password)
export KEYCLOAK_ADMIN KEYCLOAK_ADMIN_PASSWORD KC_DB_PASSWORD

until (exec 3<>"/dev/tcp/$KC_DB_URL_HOST/5432") 2>/dev/null; do
  sleep 0.2
done

exec /opt/keycloak/bin/kc.sh start
"""

Edit = Callable[[str], str]
"""What makes a release another one: its compose file's text, changed."""


@dataclass
class Ground:
    """One playing field. ``environment`` is what a child process needs to play on it."""

    settings: Settings
    state: StateDir
    site: Site
    recipes: Path
    environment: Mapping[str, str]
    _numbers: dict[str, int] = field(default_factory=dict)

    def release(self, app: str, tag: str, *, edit: Edit | None = None, notes: str = "") -> None:
        """Publish a release of ``app``: the first bundled one with this version's image and label, edited."""
        first = min((BUNDLED / app / "releases").iterdir())
        number = self._numbers[app] = self._numbers.get(app, 0) + 1
        place = self.recipes / app / "releases" / f"{number}-{tag}"
        shutil.copytree(first, place)
        shutil.rmtree(place / "release")
        compose = place / "compose.yml"
        old = first.name.partition("-")[2]
        text = compose.read_text(encoding="utf-8").replace(old, tag)
        text = _image(app, text, old.partition("+")[2], tag.partition("+")[2]).replace(_HEAP, _HEAP + _QUICK_START)
        compose.write_text(edit(text) if edit else text, encoding="utf-8")
        if tag.partition("+")[2].startswith("25."):
            (place / "entrypoint.sh").write_text(_KEYCLOAK_25, encoding="utf-8")
            abra = (place / "abra.sh").read_text(encoding="utf-8")
            (place / "abra.sh").write_text(abra.replace("ENTRYPOINT_SH_VERSION=v1", "ENTRYPOINT_SH_VERSION=v0"))
        (place / "release").mkdir()
        (place / "release" / tag).write_text(notes or f"Release {tag}: fixes.\n", encoding="utf-8")

    def withdraw(self, app: str, tag: str) -> None:
        """Take a release back, as if it had never been published."""
        for place in (self.recipes / app / "releases").glob(f"*-{tag}"):
            shutil.rmtree(place)

    def up(self, app: str) -> InfraApp:
        """The app, brought up as a run brings it up."""
        return ensure(self.site, app)

    def front_door(self) -> None:
        """A Traefik of any release, for what is behind it."""
        if not any((self.recipes / "traefik" / "releases").iterdir()):
            self.release("traefik", "1.0.0+v3.7.15")
        self.up("traefik")

    def any_keycloak(self) -> None:
        """A Keycloak of any release, behind a front door."""
        self.front_door()
        if not any((self.recipes / "keycloak" / "releases").iterdir()):
            self.release("keycloak", "1.0.0+26.7.3")
        self.up("keycloak")

    def stack(self, app: str) -> str:
        """The app's stack."""
        return stack_name(app_domain(app, self.settings.zone))

    def tasks(self, app: str) -> dict[str, Any]:
        """What of the app would change with any deploy: each service's update count and the ids of its tasks."""
        services = self.site.engine.client.api.services(filters=stack_filter(self.stack(app)))
        versions = {row["Spec"]["Name"]: row["Version"]["Index"] for row in services}
        facts = inspect_stack(self.site.engine, self.stack(app))
        return {"versions": versions, "tasks": {s.name: sorted(t.task_id for t in s.tasks) for s in facts.services}}

    def stacks(self) -> list[str]:
        """The names of all services on the engine."""
        return sorted(row["Spec"]["Name"] for row in self.site.engine.client.api.services())

    def clear(self, app: str) -> None:
        """Remove the app with its data, its records and its releases."""
        undeploy(self.site.engine, self.stack(app), volumes=True, deadline=Deadline(_UNDEPLOY))
        shutil.rmtree(self.state.infra(app), ignore_errors=True)
        (self.state.holds / f"{app}.json").unlink(missing_ok=True)
        shutil.rmtree(self.recipes / app, ignore_errors=True)
        _lay_out(self.recipes, app)
        self._numbers.pop(app, None)

    def words(self) -> list[str]:
        """The settings as options of a pytest or a ccci that plays here."""
        names = ("state_dir", "zone", "http_port", "https_port", "infra_recipes", "timeout", "slots")
        return [f"--ccci-{name.replace('_', '-')}={getattr(self.settings, name)}" for name in names]


@contextmanager
def open_ground(settings: Settings, state: StateDir, *, keep: bool = False) -> Iterator[Ground]:
    """A fresh ground beside the machine's own warm apps; all of it is removed at the end unless ``keep``.

    Raises:
        LockBusy: another proof plays here.
        InfrastructureFault: there is no engine.
    """
    root = state.proofs / "infra"
    with hold(state.locks / "prove.lock", wait=0, owner={"doing": "infra proofs"}):
        ground = _laid_out(settings, state, root)
        try:
            yield ground
        finally:
            if not keep:
                _remove(ground, root)


def _laid_out(settings: Settings, state: StateDir, root: Path) -> Ground:
    """The ground, cleared of what an earlier proof left."""
    engine = open_engine(settings, state)
    given = {
        "state_dir": str(root / "state"),
        "zone": ZONE,
        "http_port": "18080",
        "https_port": "18443",
        "infra_recipes": str(root / "recipes"),
        "timeout": "5m",
        "lock_wait": "2m",
        "slots": "2",
    }
    environment = {**settings.environment, "DOCKER_HOST": engine.host}
    ours = resolve(given, {}, environment)
    playing = open_state(ours.state_dir)
    for name in _SHARED:
        (state.root / name).mkdir(exist_ok=True, mode=0o700)
        with suppress(FileExistsError):
            (playing.root / name).symlink_to(state.root / name)
    site = open_quietly(ours, playing)
    ground = Ground(ours, playing, site, root / "recipes", {"DOCKER_HOST": engine.host})
    ensure_proxy(site)
    for app in ("keycloak", "traefik"):
        ground.clear(app)
    return ground


def _remove(ground: Ground, root: Path) -> None:
    for app in ("keycloak", "traefik"):
        with suppress(CcciError):
            ground.clear(app)
    shutil.rmtree(root, ignore_errors=True)


def _lay_out(recipes: Path, app: str) -> None:
    (recipes / app / "releases").mkdir(parents=True)
    shutil.copy(BUNDLED / app / "recipe.toml", recipes / app)


def _image(app: str, text: str, old: str, new: str) -> str:
    """The image of another version; a version that is made up (27.0.0, nightly) keeps the image that is there."""
    name = {"keycloak": "quay.io/keycloak/keycloak", "traefik": "traefik"}[app]
    return text.replace(f"image: {name}:{old}", f"image: {name}:{new if new in _REAL else old}")
