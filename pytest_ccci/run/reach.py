"""What a version of a recipe reaches outside of its app, beside its base: told, or refused before a run."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import OptionError, RecipeInvalid, RecipeTomlError
from pytest_ccci.recipe.compose_files import filled, merge, read_compose
from pytest_ccci.recipe.env import AppEnv, app_env, render
from pytest_ccci.recipe.findings import KINDS, Finding
from pytest_ccci.recipe.names import cold_domain, stack_name
from pytest_ccci.recipe.reach import Judged, OwnPlace, Reach, judge, reach, tagged
from pytest_ccci.recipe.releases import Release
from pytest_ccci.recipe.repository import Head, Mirror
from pytest_ccci.recipe.spec import RECIPE_TOML, RecipeSpec, find_line, line_index
from pytest_ccci.recipe.tree import RecipeTree
from pytest_ccci.warm.realm_model import make_lease

__all__ = ["ReachReport", "deployed_env", "judge_reach", "refuse_reach"]

_SHOWN = 10


@dataclass(frozen=True)
class ReachReport:
    """What ``head`` reaches, judged beside ``base``; the latter is empty where there is none.

    ``needless`` are the grants that allow nothing of it.
    """

    recipe: str
    head: str
    base: str
    judged: tuple[Judged, ...]
    needless: tuple[str, ...] = ()

    @property
    def refused(self) -> tuple[Judged, ...]:
        """What is refused."""
        return tuple(each for each in self.judged if each.refused)


def refuse_reach(spec: RecipeSpec, mirror: Mirror, head: Head, *, base: str, zone: str, grants: str = "") -> None:
    """Go on only when ``head`` reaches nothing outside of its app that ``base`` does not, and nothing of another app.

    ``base`` is any ref, ``grants`` keys (`recipe.reach.Reach.key`) as words of a shell.

    Raises:
        RefError: ``base`` is nothing in this recipe.
        OptionError: the grants cannot be read.
        RecipeTomlError: a value of [env] can only be filled in by a run.
        RecipeInvalid: it does, or cannot be read.
    """
    try:
        granted = shlex.split(grants)
    except ValueError as error:
        raise OptionError(f"{grants!r} cannot be read: {error}", where="--ccci-grant") from error
    report = judge_reach(spec, mirror, head, mirror.resolve(base), zone=zone, grants=granted)
    if report.refused:
        rows = [f"{one.reach.service or 'compose.yml'}: {one.reach.text}: {one.why}" for one in report.refused]
        more = f"; and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        raise RecipeInvalid(
            f"this version reaches outside of its app what {report.base} does not; nothing was deployed",
            where=f"{spec.name} {report.head}",
            seen="; ".join(rows[:_SHOWN]) + more,
            advice=f"read it; what is right, allow by --ccci-grant={shlex.quote(report.refused[0].reach.key)}",
        )


def judge_reach(
    spec: RecipeSpec, mirror: Mirror, head: Head, base: Head | None, *, zone: str, grants: Iterable[str] = ()
) -> ReachReport:
    """Compare what ``head`` reaches with what ``base`` does; ``grants`` are keys of what is allowed.

    Raises:
        RecipeTomlError: a value of [env] can only be filled in by a run.
        RecipeInvalid: a version cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="ccci-reach-") as scratch:
        known = None if base is None else _reached(spec, mirror, base, zone=zone, into=Path(scratch, "base"))
        found = _reached(spec, mirror, head, zone=zone, into=Path(scratch, "head"), older=False)
    granted = tuple(dict.fromkeys(grants))
    needless = tuple(each for each in granted if not any(each in {one.key, one.wider} for one in found))
    judged = judge(found, known, grants=granted)
    return ReachReport(spec.name, head.version, base.version if base else "", judged, needless)


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


def deployed_env(
    spec: RecipeSpec, tree: RecipeTree, *, zone: str, version: Release | None, older: bool = False
) -> tuple[AppEnv, tuple[Finding, ...]]:
    """The environment that a run of ``tree`` in ``zone`` would deploy it with, and what of [env] cannot be filled in.

    Its domain is `recipe.names.cold_domain` of no run. For ``version`` and ``older`` see `recipe.env.app_env`.
    """
    domain = cold_domain(spec.name, "", zone)
    values, wrong = _rendered(spec, domain, zone, version=version)
    overrides = {"LETS_ENCRYPT_ENV": "", **values}
    return app_env(tree, domain=domain, stack=stack_name(domain), overrides=overrides, older=older), wrong


def _rendered(
    spec: RecipeSpec, domain: str, zone: str, *, version: Release | None
) -> tuple[dict[str, str], tuple[Finding, ...]]:
    """``[env]`` of recipe.toml as a run of ``version`` would fill it in, and what cannot be."""
    context: Mapping[str, object] = {"domain": domain, "zone": zone, "recipe": spec.name}
    if spec.needs.keycloak is not None:
        url = f"https://keycloak.{zone}"
        lease = make_lease(recipe=spec.name, run_id="lint", domain=domain, zone=zone, base_url=url, kept=False)
        context = {**context, "realm": lease.context()}
    values, wrong = {}, []
    places = spec.env.places(version)
    for key, text in spec.env.at(version).items():
        try:
            values[key] = render(text, context)
        except RecipeTomlError as error:
            values[key] = "unknown"
            index = line_index(spec.file.read_text(encoding="utf-8", errors="replace"))
            line = find_line(index, places[key])
            kind = KINDS["template"]
            wrong.append(Finding(kind.level, "template", f"[env] {key}", error.what, RECIPE_TOML, line))
    return values, tuple(wrong)
