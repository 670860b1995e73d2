"""The fixtures: in a recipe folder all of them, elsewhere those that make sense there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ccci.errors import UsageError
from pytest_ccci.plugin.backend import BASE
from pytest_ccci.plugin.outcomes import Blocked
from pytest_ccci.plugin.redaction import seal
from pytest_ccci.plugin.run_events import board_of
from pytest_ccci.waiting import Stopwatch

if TYPE_CHECKING:
    from pytest_ccci.plugin.backend import AppHandle, RecipeRun, WarmView
    from pytest_ccci.plugin.recipedir import RecipeDir
    from pytest_ccci.results.model import RefFact

__all__ = ["IN_RECIPES", "RunInfo", "register_global_fixtures", "register_recipe_fixtures"]

_LOG = logging.getLogger(__name__)


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
_MARKER = "ccci_recipe"


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


def register_global_fixtures(session: pytest.Session) -> None:
    """Give everybody else ``keycloak_realm``, ``canonical`` and ``snapshot``, where no other plugin owns the name."""
    for name, function, scope in (
        ("keycloak_realm", _realm, "session"),
        ("canonical", _canonical, "function"),
        ("snapshot", _snapshot, "function"),
    ):
        if not _taken(session, name):
            pytest.register_fixture(name=name, func=function, node=session, scope=scope)  # type: ignore[arg-type]  # a str


def _realm(request: pytest.FixtureRequest) -> Iterator[object]:
    """A Keycloak realm for this session: issuer, client, users."""
    board = board_of(request.config)
    board.funnel.install()
    seal(request.config)
    watch = Stopwatch()
    with ExitStack() as held:
        with board.progress("realm", watch):
            realm = held.enter_context(request.config.hook.pytest_ccci_lease(settings=board.settings))
        yield realm
        with board.progress("realm", watch):
            held.close()


def _canonical(request: pytest.FixtureRequest) -> object:
    """The kept known-good of the recipe that the marker ccci_recipe names."""
    return _view(request, "canonical").canonical


def _snapshot(request: pytest.FixtureRequest) -> object:
    """The snapshot of the recipe that the marker ccci_recipe names."""
    return _view(request, "snapshot").snapshot


def _view(request: pytest.FixtureRequest, name: str) -> WarmView:
    node: Any = request.node
    marker = node.get_closest_marker(_MARKER)
    if marker is None or not marker.args:
        raise UsageError(
            f"fixture {name!r} is of a recipe, and this test is in no recipe's folder",
            where=node.nodeid,
            advice=f'name the folder: @pytest.mark.{_MARKER}("recipes/<name>")',
        )
    folder = Path(request.config.rootpath, marker.args[0])
    if not (folder / "recipe.toml").is_file():
        raise UsageError(f"there is no recipe.toml in {folder}", where=node.nodeid, advice=f"see the {_MARKER} marker")
    settings = board_of(request.config).settings
    view: WarmView = request.config.hook.pytest_ccci_warm_view(folder=folder, settings=settings)
    return view


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


def _taken(session: pytest.Session, name: str) -> bool:
    # There is no public way to ask. If this one goes, ours are simply there.
    look_up = getattr(getattr(session, "_fixturemanager", None), "getfixturedefs", None)
    return bool(look_up(name, session)) if look_up else False
