"""The fixtures in a recipe's folder: its app, realm, canonical and snapshot, what recipe.toml says, and the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_ccci.plugin.backend import BASE
from pytest_ccci.plugin.outcomes import Blocked

if TYPE_CHECKING:
    from pytest_ccci.plugin.backend import AppHandle, RecipeRun
    from pytest_ccci.plugin.recipedir import RecipeDir
    from pytest_ccci.results.model import RefFact

__all__ = ["IN_RECIPES", "RunInfo", "register_recipe_fixtures"]


@dataclass(frozen=True)
class RunInfo:
    """The run that a test belongs to."""

    run_id: str
    recipe: str
    mode: str
    requested_mode: str
    mode_reason: str
    base: RefFact | None
    head: RefFact | None
    results_path: Path

    @classmethod
    def of(cls, run: RecipeRun) -> RunInfo:
        """The facts of ``run``, as they are now."""
        return cls(
            run_id=run.run_id,
            recipe=run.recipe,
            mode=run.mode,
            requested_mode=run.requested_mode,
            mode_reason=run.mode_reason,
            base=run.base,
            head=run.head,
            results_path=run.results_path,
        )


IN_RECIPES = ("app", "keycloak_realm", "canonical", "snapshot", "recipe", "ccci_run")


def register_recipe_fixtures(node: RecipeDir) -> None:
    """Give the recipe's folder its fixtures.

    Session-scoped, so that the author's own fixtures of any scope may ask for them; still one set per recipe, because
    each belongs to its folder's node. All hang on the base: another base is another run, whose app is another one.
    """

    def keycloak_realm(_ccci_base: str) -> object:
        """A Keycloak realm of this run: issuer, client, users."""
        run = node.need_head()
        return run.fixtures.realm or run.lease_realm()

    def canonical(_ccci_base: str) -> object:
        """The recipe's kept known-good: release, commit, directory."""
        return node.need_head().fixtures.canonical

    def snapshot(_ccci_base: str) -> object:
        """The known-good's snapshot: volumes, size, verify()."""
        return node.need_head().fixtures.snapshot

    def recipe() -> object:
        """What recipe.toml says."""
        return node.spec

    def ccci_run(_ccci_base: str) -> RunInfo:
        """The run that the test belongs to: run_id, mode, base, head."""
        if node.run is None:
            raise Blocked(f"there is no open run of {node.recipe}")
        return RunInfo.of(node.run)

    _register_base(node)
    for name in _hanging_on_another_app(node.session):
        pytest.register_fixture(name=name, func=_not_here, node=node, autouse=True)
    _register_app(node)
    for function in (keycloak_realm, canonical, snapshot, recipe, ccci_run):
        pytest.register_fixture(name=function.__name__, func=function, node=node, scope="session")


def _register_app(node: RecipeDir) -> None:
    """Give the folder its app, whose ``http`` begins each test anew."""
    made: list[AppHandle] = []

    def app(_ccci_base: str) -> object:
        """The recipe's app as it is deployed: url, http, exec, websocket."""
        made[:] = [node.need_head().fixtures.app]
        return made[0]

    def fresh_http() -> None:
        """Nobody is logged in because another test was."""
        for handle in made:
            handle.renew_http()

    pytest.register_fixture(name="app", func=app, node=node, scope="session")
    pytest.register_fixture(name="_ccci_fresh_http", func=fresh_http, node=node, autouse=True)


def _register_base(node: RecipeDir) -> None:
    """Give the folder what its tests hang on: in one run nothing, in several the base of each, with its head up."""

    def base(request: pytest.FixtureRequest) -> str:
        if node.bases:
            node.need_head()  # a module that stays set up from one run to the next has asked for the first one's only
        return str(getattr(request, "param", ""))

    bases = node.bases or None
    pytest.register_fixture(name=BASE, func=base, node=node, scope="session", params=bases, autouse=bool(bases))


def _not_here() -> None:
    """Nothing: stands in a recipe's folder for a fixture that means another ``app``."""


def _hanging_on_another_app(session: pytest.Session) -> list[str]:
    """Fixtures that a plugin gives every test to prepare *its* kind of ``app`` (pytest-flask), and ours is none."""
    manager = getattr(session, "_fixturemanager", None)
    if manager is None or not session.config.pluginmanager.hasplugin("flask"):
        return []
    names = manager._getautousenames(session)  # noqa: SLF001  there is no public way to ask
    made = {name: getattr(manager.getfixturedefs(name, session)[-1].func, "__module__", "") for name in names}
    return [name for name, module in made.items() if module.partition(".")[0] == "pytest_flask"]
