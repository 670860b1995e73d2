"""Apps of red cold runs that stay deployed for somebody to look at (``--ccci-keep=failed``), until ``ccci release``."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from pytest_ccci.errors import StateDamaged
from pytest_ccci.statedir import KEPT, StateDir, load_state, write_atomic
from pytest_ccci.warm.realm_model import RealmLease

__all__ = ["KeptApp", "keep_app", "kept_apps", "load_kept"]


@dataclass(frozen=True)
class KeptApp:
    """An app that stays, with its realm's people and their passwords; ``folder`` is its recipe's."""

    domain: str
    url: str
    recipe: str
    folder: str
    run_id: str
    since: str
    reason: str
    realm: RealmLease | None = None


def keep_app(state: StateDir, app: KeptApp) -> Path:
    """Let nobody take the app for what a dead run left; where that is written down (0600)."""
    path = state.kept(app.domain)
    write_atomic(path, TypeAdapter(KeptApp).dump_json(app, indent=1))
    return path


def load_kept(path: Path) -> KeptApp | None:
    """What is written at ``path``; ``None`` where there is nothing.

    Raises:
        StateDamaged: it cannot be used.
    """
    return load_state(path, KeptApp, advice="remove it: the next run then removes the app it is about")


def kept_apps(state: StateDir) -> tuple[KeptApp, ...]:
    """All apps that stay, by domain; a damaged record is shown by ``ccci status`` among the damaged files."""
    found = []
    for path in sorted(state.locks.glob(f"*{KEPT}")):
        with suppress(StateDamaged):
            found.append(load_kept(path))
    return tuple(app for app in found if app is not None)
