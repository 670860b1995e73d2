"""What a version of a recipe reaches outside of its app, beside what its base reaches: no engine, nothing deployed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import RecipeTomlError, RefError
from pytest_ccci.ops.lint import deployed_env, folder_spec
from pytest_ccci.recipe.compose_files import filled, merge, read_compose
from pytest_ccci.recipe.names import cold_domain
from pytest_ccci.recipe.reach import Judged, OwnPlace, Reach, judge, reach, tagged
from pytest_ccci.recipe.repository import Head, Mirror, open_mirror
from pytest_ccci.recipe.spec import RecipeSpec
from pytest_ccci.run.plan import decide
from pytest_ccci.run.prepare import history

__all__ = ["ReachReport", "reach_of"]


@dataclass(frozen=True)
class ReachReport:
    """What ``head`` reaches, judged beside ``base``; the latter is empty where there is none."""

    recipe: str
    head: str
    base: str
    judged: tuple[Judged, ...]

    @property
    def refused(self) -> tuple[Judged, ...]:
        """What is refused."""
        return tuple(each for each in self.judged if each.refused)


def reach_of(
    folder: Path, *, zone: str, ref: str, base: str = "", grants: Iterable[str] = (), env: Mapping[str, str]
) -> ReachReport:
    """Compare what ``ref`` of the recipe in ``folder`` reaches with what ``base`` does.

    Args:
        folder: holds a recipe.toml, or is a checkout.
        zone: where its app would be.
        ref: the version that is judged, as ``--ccci-ref`` names it.
        base: any ref to compare with; empty: the release from which a cold run would upgrade.
        grants: what is allowed, as `recipe.reach.Reach.key`.
        env: proxy and CA variables for git.

    Raises:
        UsageError: the folder, a ref or a grant cannot be used.
        RecipeTomlError: a value of [env] can only be filled in by a run.
        RecipeInvalid: a version cannot be read.
    """
    spec = folder_spec(folder)
    with tempfile.TemporaryDirectory(prefix="ccci-reach-") as scratch:
        mirror = open_mirror(spec, cache=Path(scratch, "git"), env=env)
        head = mirror.resolve(ref)
        below = mirror.resolve(base) if base else _base(mirror, head)
        known = None if below is None else _reached(spec, mirror, below, zone=zone, into=Path(scratch, "base"))
        found = _reached(spec, mirror, head, zone=zone, into=Path(scratch, "head"), older=False)
    granted = tuple(dict.fromkeys(grants))
    needless = [each for each in granted if not any(each in {one.key, one.wider} for one in found)]
    if needless:
        raise RefError(
            f"{', '.join(map(repr, needless))} grants nothing that this version reaches",
            where=f"{spec.name} {head.version}",
            seen=f"it reaches {', '.join(dict.fromkeys(one.key for one in found)) or 'nothing'}",
        )
    judged = judge(found, known, grants=granted)
    return ReachReport(spec.name, head.version, below.version if below else "", judged)


def _base(mirror: Mirror, head: Head) -> Head | None:
    releases, ancestors = history(mirror, head)
    tag = decide("cold", head, releases=releases, ancestors=ancestors, known_good=None, enrolled=False).base
    return mirror.resolve(f"refs/tags/{tag}") if tag else None


def _reached(
    spec: RecipeSpec, mirror: Mirror, head: Head, *, zone: str, into: Path, older: bool = True
) -> tuple[Reach, ...]:
    tree = mirror.checkout(head, into)  # refuses links that lead out of the recipe, and submodules
    env, wrong = deployed_env(spec, tree, zone=zone, version=mirror.release_with(head), older=older)
    if wrong:
        raise RecipeTomlError(
            f"{wrong[0].where} can only be filled in by a run, so that nobody can tell what it reaches",
            where=f"{spec.file}:{wrong[0].line}",
            seen=wrong[0].text,
        )
    files = [read_compose(path, within=tree.path) for path in env.compose_files]
    for file in files:
        if file.problem is not None:
            raise file.problem
    own = OwnPlace(env.values["STACK_NAME"], cold_domain(spec.name, "", zone), tree.path, base=files[0].path.parent)
    found = reach([merge(files, env.values), *(filled(file, env.values) for file in files)], own)
    return (*found, *(each for file in files for each in tagged(file)))
