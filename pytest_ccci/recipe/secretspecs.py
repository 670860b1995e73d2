"""Secrets an app needs: found by the names Docker resolved, made as their comments say, never logged."""

from __future__ import annotations

import difflib
import secrets as entropy
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from pytest_ccci.errors import RecipeTomlError, SecretMissing
from pytest_ccci.recipe.compose_facts import compose_facts
from pytest_ccci.recipe.env import AppEnv, SecretSpec
from pytest_ccci.recipe.schema import SecretRule

__all__ = ["CHARSETS", "NeededSecret", "choose", "generate", "needed", "ruled", "unknown"]

_ALNUM = string.ascii_letters + string.digits
CHARSETS: Mapping[str, str] = {
    "default": _ALNUM,
    "alnum": _ALNUM,
    "alphanum": _ALNUM,
    "hex": "0123456789abcdef",
    "special": _ALNUM + "!@#$%^&*_-+=",
    "safespecial": _ALNUM + "!@#%^&*_-+=",
}
"""Alphabets by the name a recipe's comment gives them; an unknown name means the default one (lint says so)."""

_CONSONANTS, _VOWELS, _SYLLABLES, _WORDS = "bdfghjklmnprstvz", "aeiou", 3, 6


@dataclass(frozen=True)
class NeededSecret:
    """A secret that must exist before the deploy.

    ``name`` is the one in the Swarm, ``key`` the one in the compose file, ``short`` abra's: without stack and version.
    """

    name: str
    key: str
    short: str
    spec: SecretSpec


def needed(config: Mapping[str, Any], env: AppEnv) -> tuple[NeededSecret, ...]:
    """The external secrets that services of a ``docker stack config`` output use, with how each is made."""
    facts = compose_facts(config)
    used = {key for service in facts.services.values() for key in service.secrets}
    specs = {spec.variable: spec for spec in env.secrets}
    return tuple(
        _needed(each.name, each.key, specs, env)
        for each in facts.secrets.values()
        if each.external and each.key in used
    )


def generate(spec: SecretSpec) -> str:
    """A new value: ``length`` characters of the charset, or a passphrase when no length is given."""
    if spec.length is None:
        return "-".join(_word() for _ in range(_WORDS))
    alphabet = CHARSETS.get(spec.charset, CHARSETS["default"])
    return "".join(entropy.choice(alphabet) for _ in range(spec.length))


def ruled(wanted: Iterable[NeededSecret], rules: Mapping[str, SecretRule]) -> tuple[NeededSecret, ...]:
    """The secrets, made as the rules for them say; what a rule leaves open stays as the recipe has it.

    ``rules`` are keyed by compose key or by short name. A secret with a rule is made, whatever the recipe says.
    """
    return tuple(_ruled(each, rules.get(each.key, rules.get(each.short))) for each in wanted)


def _ruled(each: NeededSecret, rule: SecretRule | None) -> NeededSecret:
    if rule is None:
        return each
    length, charset = rule.length or each.spec.length, rule.charset or each.spec.charset
    return replace(each, spec=replace(each.spec, length=length, charset=charset, generate=True))


def choose(
    wanted: Iterable[NeededSecret],
    given: Mapping[str, str],
    *,
    rules: Mapping[str, SecretRule] = MappingProxyType({}),
    where: str = "recipe.toml",
) -> dict[str, str]:
    """A value for each wanted secret, by its name in the Swarm: the given one, else a new one.

    ``given`` and ``rules`` (see :func:`ruled`) are keyed by compose key or by short name.

    Raises:
        RecipeTomlError: a given secret is none of the recipe's.
        SecretMissing: the recipe says that a secret is not to be generated, and it was not given.
    """
    secrets = ruled(wanted, rules)
    for name in unknown(secrets, (*given, *rules)):
        known = _names(secrets)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'none'}"
        raise RecipeTomlError(f"[secrets] {name!r} is no secret of this recipe; {hint}", where=where)
    missing = [each for each in secrets if not each.spec.generate and _given(each, given) is None]
    if missing:
        raise SecretMissing(
            f"secret not given: {', '.join(each.short for each in missing)}",
            where=where,
            advice="the recipe does not let it be generated: give it under [secrets] in recipe.toml",
        )
    values = {each.name: _given(each, given) for each in secrets}
    specs = {each.name: each.spec for each in secrets}
    return {name: generate(specs[name]) if value is None else value for name, value in values.items()}


def unknown(wanted: Iterable[NeededSecret], given: Iterable[str]) -> tuple[str, ...]:
    """The names in ``given`` that are those of none of the wanted secrets."""
    known = _names(wanted)
    return tuple(name for name in given if name not in known)


def _needed(name: str, key: str, specs: Mapping[str, SecretSpec], env: AppEnv) -> NeededSecret:
    variables = env.secret_variables.get(key, ())
    variable = variables[-1] if variables else ""
    short = name.removeprefix(f"{env.values.get('STACK_NAME', '')}_")
    version = env.values.get(variable, "")
    if version and short.endswith(f"_{version}"):
        short = short.removesuffix(f"_{version}")
    elif short != name:
        short = short.rpartition("_")[0] or short
    said = (specs[each] for each in reversed(variables) if each in specs)
    return NeededSecret(name, key, short, next(said, SecretSpec(variable)))


def _given(each: NeededSecret, given: Mapping[str, str]) -> str | None:
    return given.get(each.key, given.get(each.short))


def _names(secrets: Iterable[NeededSecret]) -> list[str]:
    return sorted({name for each in secrets for name in (each.key, each.short)})


def _word() -> str:
    pairs = (entropy.choice(_CONSONANTS) + entropy.choice(_VOWELS) for _ in range(_SYLLABLES))
    return "".join(pairs)
