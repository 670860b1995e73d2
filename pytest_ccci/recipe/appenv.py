"""The environment an app is deployed with, in abra's order, and the compose files it selects.

``.env.sample`` with the author's ``[env]`` over it, then the exports of ``abra.sh`` (which win), then ``STACK_NAME``;
the compose files come from ``COMPOSE_FILE``, split at ``:``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pytest_ccci.errors import RecipeInvalid
from pytest_ccci.recipe.dotenv import SecretSpec, expand, parse_env, parse_exports
from pytest_ccci.recipe.tree import RecipeTree

__all__ = ["AppEnv", "app_env", "env_file"]

_REFERENCE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)


@dataclass(frozen=True)
class AppEnv:
    """Variables, compose files in order, and how each secret of the compose files is made.

    ``secret_variables`` maps a secret's compose key to the variable that carries its version.
    """

    values: Mapping[str, str] = field(repr=False)
    compose_files: tuple[Path, ...]
    secrets: tuple[SecretSpec, ...] = ()
    secret_variables: Mapping[str, str] = field(default_factory=dict)


def app_env(tree: RecipeTree, *, domain: str, stack: str, overrides: Mapping[str, str]) -> AppEnv:
    """Everything a deploy of ``tree`` at ``domain`` interpolates. ``overrides`` are rendered already.

    Raises:
        RecipeInvalid: ``COMPOSE_FILE`` names a file that is not in the recipe.
    """
    chain = overrides.get("COMPOSE_FILE")
    given = {name: value for name, value in overrides.items() if name != "COMPOSE_FILE"} | {"DOMAIN": domain}
    sample = parse_env(tree.env_sample, given=given)
    values = dict(sample.values)
    if chain is not None:
        values["COMPOSE_FILE"] = expand(chain, values)
    values |= parse_exports(tree.abra_sh, values)
    values["STACK_NAME"] = stack
    files = _compose_files(tree, values.get("COMPOSE_FILE", ""))
    return AppEnv(values, files, sample.secrets, _secret_variables(files))


def env_file(env: AppEnv, *, recipe: str, version: str) -> Mapping[str, str]:
    """What an abra env file of this app holds: its variables, and ``TYPE``."""
    hidden = {"STACK_NAME"}
    return {"TYPE": f"{recipe}:{version}"} | {k: v for k, v in env.values.items() if k not in hidden | {"TYPE"}}


def _compose_files(tree: RecipeTree, chain: str) -> tuple[Path, ...]:
    names = [name for part in chain.split(":") if (name := part.strip())] or ["compose.yml"]
    return tuple(tree.file(name) for name in dict.fromkeys(names))


def _secret_variables(files: tuple[Path, ...]) -> dict[str, str]:
    """Which variable carries the version of each secret: key, remote name and variable differ in real recipes."""
    found: dict[str, str] = {}
    for path in files:
        for key, raw in _secrets_of(path).items():
            names = [name for name in _REFERENCE.findall(_remote_name(raw)) if name != "STACK_NAME"]
            if names:
                found[str(key)] = names[-1]
    return found


def _remote_name(raw: object) -> str:
    table = raw if isinstance(raw, Mapping) else {}
    external = table.get("external")
    nested = external.get("name") if isinstance(external, Mapping) else ""
    return str(table.get("name") or nested or "")


def _secrets_of(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Tolerant)  # noqa: S506  a SafeLoader below
    except yaml.YAMLError as error:
        raise RecipeInvalid(f"{path.name} is no YAML", seen=" ".join(str(error).split())) from error
    section = document.get("secrets") if isinstance(document, Mapping) else None
    return section if isinstance(section, Mapping) else {}


class _Tolerant(yaml.SafeLoader):
    """Compose's own tags (``!reset``, ``!override``) are Docker's to judge; here they mean nothing."""


_Tolerant.add_multi_constructor("!", lambda _loader, _suffix, _node: None)
