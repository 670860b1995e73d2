"""Lints a recipe's folder or a bare checkout as it is there: no engine, no network, nothing in the state directory."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from pathlib import Path

from pytest_ccci.errors import RecipeInvalid, RecipeTomlError, UsageError
from pytest_ccci.recipe.compose_facts import compose_facts
from pytest_ccci.recipe.compose_files import merge, read_compose
from pytest_ccci.recipe.findings import KINDS, Finding
from pytest_ccci.recipe.lint import lint, names_nothing
from pytest_ccci.recipe.names import cold_domain, stack_name
from pytest_ccci.recipe.repository import open_mirror
from pytest_ccci.recipe.spec import (
    RECIPE_TOML,
    BundledSource,
    GitSource,
    PathSource,
    RecipeSpec,
    load_spec,
)
from pytest_ccci.run.reach import deployed_env

__all__ = ["folder_spec", "lint_folder"]

_SCHEME = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]*://|[^/]+@?[^/]*:")


def lint_folder(folder: Path, *, zone: str) -> tuple[Finding, ...]:
    """Everything found in the current state of the recipe in ``folder``, errors first; files are paths from here.

    ``folder`` holds a recipe.toml, or is a checkout with compose files. ``zone`` is where its app would be.

    Raises:
        UsageError: it is neither, or its source is on another machine.
    """
    if not folder.is_dir():
        raise UsageError("there is no such directory", where=str(folder))
    try:
        spec = folder_spec(folder)
    except RecipeTomlError as error:
        number = error.where.rpartition(":")[2]
        text = f"{error.what}; {error.seen}" if error.seen else error.what
        line = int(number) if number.isdecimal() else 1
        return (Finding(KINDS["recipe-toml"].level, "recipe-toml", RECIPE_TOML, text, str(folder / RECIPE_TOML), line),)
    if isinstance(spec.source, GitSource) and _SCHEME.match(spec.source.url):
        raise UsageError(
            "its source is a repository on another machine, and lint uses no network",
            where=str(spec.file),
            advice="give a checkout of it: git clone …, then ccci lint CHECKOUT",
        )
    try:
        found = _found(spec, zone)
    except RecipeInvalid as error:
        found = (_unusable(error),)
    return tuple(dataclasses.replace(each, file=_shown(spec, each.file)) for each in found)


def folder_spec(folder: Path) -> RecipeSpec:
    """The recipe in ``folder``: of its recipe.toml, or of a bare checkout, whose source is the folder itself.

    Raises:
        RecipeTomlError: recipe.toml cannot be used.
        UsageError: there is neither one nor a compose file.
    """
    if (folder / RECIPE_TOML).is_file():
        return load_spec(folder)
    if not any(folder.glob("compose*.yml")):
        raise UsageError(f"there is neither a {RECIPE_TOML} nor a compose.yml", where=str(folder))
    name = re.sub(r"[^a-z0-9-]+", "-", folder.resolve().name.lower()).strip("-") or "recipe"
    return RecipeSpec(name=name, folder=folder, source=PathSource(folder.resolve()))


def _found(spec: RecipeSpec, zone: str) -> tuple[Finding, ...]:
    with tempfile.TemporaryDirectory(prefix="ccci-lint-") as scratch:
        mirror = open_mirror(spec, cache=Path(scratch, "git"))
        tree = mirror.checkout(mirror.tip, Path(scratch, "tree"))
        domain = cold_domain(spec.name, "", zone)
        stack = stack_name(domain)
        env, wrong = deployed_env(spec, tree, zone=zone, version=mirror.release_with(mirror.tip))
        facts = compose_facts(merge([read_compose(path, within=tree.path) for path in env.compose_files], env.values))
        found = lint(facts, tree, env, disposable=spec.disposable, stack=stack, odd_tags=mirror.odd_tags())
        named = names_nothing(spec, facts, stack=stack) if spec.file.is_file() else ()
        # What Docker would make of the files has paths of ours: a config's is where the recipe has it.
        plain = (dataclasses.replace(each, text=each.text.replace(f"{tree.path}/", "")) for each in found)
        return (*plain, *named, *wrong)


def _unusable(error: RecipeInvalid) -> Finding:
    """What keeps the whole recipe from being read, as a finding: at its line, where it has one."""
    hit = re.fullmatch(r"(\S+\.ya?ml|\.env\.sample):(\d+)", error.where)
    code = "no-recipe" if hit is None else "bad-env" if hit[1] == ".env.sample" else "not-yaml"
    text = f"{error.what}; {error.seen}" if error.seen else error.what
    file, line = (hit[1], int(hit[2])) if hit else ("", 0)
    return Finding(KINDS[code].level, code, file or "the recipe", text, file, line)


def _shown(spec: RecipeSpec, file: str) -> str:
    """The path of the recipe's ``file`` as the author has it, from the current folder where it is below."""
    if not file:
        return ""
    path = spec.file if file == RECIPE_TOML else _place(spec, file)
    here = Path.cwd()
    full = Path(path).absolute()
    return full.relative_to(here).as_posix() if full.is_relative_to(here) else str(full)


def _place(spec: RecipeSpec, file: str) -> Path:
    source = spec.source
    if isinstance(source, BundledSource):
        numbered = [each for each in source.folder.iterdir() if re.match(r"\d+-", each.name)]
        layers = sorted(numbered, key=lambda each: int(each.name.partition("-")[0]), reverse=True)
        places = (layer / file for layer in (source.folder / "tip", *layers))
        return next((place for place in places if place.exists()), spec.folder / file)
    folder = source.folder if isinstance(source, PathSource) else Path(source.url)
    return folder / file
