"""How a run is entered: its recipe's repository is brought up to date, head resolved; nothing is locked yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_ccci.locks import Tell
from pytest_ccci.recipe.names import require_fitting_names
from pytest_ccci.recipe.repository import Head, Mirror, open_mirror
from pytest_ccci.recipe.spec import RecipeSpec
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.diary import Diary, new_run_id
from pytest_ccci.run.hooks import load_hooks
from pytest_ccci.run.sentinels import Sentinels
from pytest_ccci.run.trees import Trees
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.store.fs import os_errors

__all__ = ["network", "open_context"]

Check = Callable[[StateDir, Head, Mirror], None]


def open_context(spec: RecipeSpec, settings: Settings, *, tell: Tell, check: Check = lambda *_: None) -> RunContext:
    """Everything a run of ``spec`` is made of. ``check`` raises where it cannot be, before it has a directory.

    Raises:
        UsageError: the state directory, the zone, the ref or recipe.toml cannot be used.
        InfrastructureFault: the state directory cannot take what a run keeps there; on a full disk DiskFull.
    """
    require_fitting_names(spec.name, settings.zone, canonical=spec.canonical)
    state, run_id = open_state(settings.state_dir), new_run_id()
    with os_errors("opening the run", where=state.root):
        mirror = open_mirror(spec, cache=state.recipes, tell=tell, env=network(settings.environment))
        head = mirror.resolve(settings.ref)
        check(state, head, mirror)
        diary = Diary(state.run(run_id).resolve())
    return RunContext(
        run_id=run_id,
        spec=spec,
        settings=settings,
        state=state,
        mirror=mirror,
        head=head,
        sentinels=Sentinels(spec.sentinels, load_hooks(spec.folder)),
        diary=diary,
        tell=tell,
        trees=Trees(mirror, diary.path / "trees"),
    )


def network(environment: Mapping[str, str]) -> dict[str, str]:
    """What git needs to get out: proxies and CAs, nothing else."""
    names = ("http_proxy", "https_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "git_ssl_cainfo", "path", "home")
    return {name: value for name, value in environment.items() if name.lower() in names}
