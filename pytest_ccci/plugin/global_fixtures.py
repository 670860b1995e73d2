"""The fixtures for every test suite: a realm, and a look at a kept canonical."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ccci.errors import UsageError

if TYPE_CHECKING:
    from pytest_ccci.plugin.backend import WarmView
    from pytest_ccci.plugin.run_events import Board

__all__ = ["register_global_fixtures"]

_MARKER = "ccci_recipe"


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
    from pytest_ccci.plugin.redaction import seal  # noqa: PLC0415  with a realm, not with every pytest
    from pytest_ccci.waiting import Stopwatch  # noqa: PLC0415  the same

    board = _board(request)
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
    board = _board(request)
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
    view: WarmView = request.config.hook.pytest_ccci_warm_view(folder=folder, settings=board.settings)
    return view


def _board(request: pytest.FixtureRequest) -> Board:
    """The board; with the first use the rest of the plugin is put in place."""
    from pytest_ccci.plugin.activation import activate  # noqa: PLC0415  with the first use, not with every pytest

    return activate(request.config)


def _taken(session: pytest.Session, name: str) -> bool:
    # There is no public way to ask. If this one goes, ours are simply there.
    look_up = getattr(getattr(session, "_fixturemanager", None), "getfixturedefs", None)
    return bool(look_up(name, session)) if look_up else False
