"""Names that Docker and abra prescribe: stacks, domains, and the limits they must fit, computed before a deploy.

Limits are Docker's: secret and config names at most 64 characters of ``[A-Za-z0-9._-]`` with alphanumeric ends,
service and network names at most 63 without dots. A stack name of more than 45 characters is cut by abra, so that an
app could no longer be found under its domain: refused here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from pytest_ccci.errors import OptionError, RecipeInvalid, UsageError
from pytest_ccci.recipe.compose_facts import ComposeFacts

__all__ = [
    "app_domain",
    "canonical_domain",
    "check_domain",
    "check_names",
    "cold_domain",
    "require_fitting_names",
    "stack_name",
]

_STACK_LIMIT = 45
_OBJECT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", re.ASCII)
_SERVICE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_DOMAIN_LIMIT = 253


def stack_name(domain: str) -> str:
    """The stack of the app at ``domain``: dots become underscores, hyphens stay.

    Raises:
        RecipeInvalid: it would be longer than abra can carry.
    """
    check_domain(domain)
    name = domain.replace(".", "_")
    if len(name) > _STACK_LIMIT:
        raise RecipeInvalid(
            f"the stack name {name} has {len(name)} characters; abra cuts names at {_STACK_LIMIT}",
            where=domain,
            advice="shorten the recipe's folder name or the zone",
        )
    return name


def check_domain(domain: str) -> None:
    """Refuse what is no host name."""
    if len(domain) > _DOMAIN_LIMIT or not all(_LABEL.fullmatch(label) for label in domain.split(".")):
        raise RecipeInvalid(
            f"{domain!r} is no host name",
            advice="labels of a-z, 0-9 and hyphens, at most 63 characters each, 253 in all",
        )


def cold_domain(recipe: str, run_id: str, zone: str) -> str:
    """Where a cold run of ``recipe`` is deployed: ``<recipe[:4]>-<6 hex>.<zone>``, its own for each run."""
    digest = hashlib.sha256(f"{recipe}\0{run_id}".encode()).hexdigest()
    return f"{_label(recipe)[:4].strip('-') or 'app'}-{digest[:6]}.{zone}"


def canonical_domain(recipe: str, zone: str) -> str:
    """The stable domain of the canonical of ``recipe``; never that of a live-warm app."""
    return f"warm-{_label(recipe)}.{zone}"


def app_domain(app: str, zone: str) -> str:
    """The domain of a live-warm infra app."""
    return f"{_label(app)}.{zone}"


def require_fitting_names(recipe: str, zone: str, *, canonical: bool) -> None:
    """Refuse, before anything is started, a zone or a recipe whose stacks Docker and abra could not carry.

    Raises:
        OptionError: no app at all fits under the zone, or it is no host name.
        UsageError: the recipe's canonical does not fit; a cold run alone would.
    """
    problem = _stack_problem(cold_domain(recipe, "", zone))
    if problem:
        raise OptionError(problem.what, where=f"zone {zone}", advice="give a shorter --ccci-zone, a host name")
    problem = _stack_problem(canonical_domain(recipe, zone)) if canonical else None
    if problem:
        raise UsageError(
            problem.what,
            where=f"recipe {recipe}",
            advice="shorten the recipe's folder name or the zone, or set canonical = false",
        )


def check_names(facts: ComposeFacts, *, stack: str) -> None:
    """Refuse a deploy in which Docker would refuse a name, and say by how much it is too long.

    Raises:
        RecipeInvalid: names every offender.
    """
    wrong = [*_services(facts, stack), *_networks(facts, stack), *_objects(facts, stack)]
    empty = [*_empty_versions(facts)]
    if wrong or empty:
        advice = ["set the variable, in abra.sh for a config, in .env.sample for a secret"] if empty else []
        advice += ["a shorter domain (recipe folder name, zone) makes every name shorter"] if wrong else []
        raise RecipeInvalid("; ".join([*empty, *wrong]), where=stack, advice="; ".join(advice))


def _empty_versions(facts: ComposeFacts) -> Iterable[str]:
    for kind, group in (("secret", facts.secrets), ("config", facts.configs)):
        for key, thing in group.items():
            if thing.name.endswith("_"):
                yield f"the name {thing.name} of the {kind} {key} ends in _: its version variable is empty or not set"


def _services(facts: ComposeFacts, stack: str) -> Iterable[str]:
    for name in facts.services:
        yield from _complain("service", f"{stack}_{name}", _SERVICE, 63)


def _networks(facts: ComposeFacts, stack: str) -> Iterable[str]:
    for key, network in facts.networks.items():
        if not network.external:
            yield from _complain("network", network.name or f"{stack}_{key}", _SERVICE, 63)


def _objects(facts: ComposeFacts, stack: str) -> Iterable[str]:
    for kind, group in (("secret", facts.secrets), ("config", facts.configs)):
        for key, thing in group.items():
            if thing.name.endswith("_"):
                continue  # told as what it is
            yield from _complain(kind, thing.name or f"{stack}_{key}", _OBJECT, 64)


def _complain(kind: str, name: str, shape: re.Pattern[str], limit: int) -> Iterable[str]:
    if len(name) > limit:
        yield f"{kind} name {name} has {len(name)} characters, Docker takes {limit}"
    elif not shape.fullmatch(name):
        yield f"{kind} name {name!r} is not one Docker takes (letters, digits, _ and -, alphanumeric at both ends)"


def _stack_problem(domain: str) -> RecipeInvalid | None:
    try:
        stack_name(domain)
    except RecipeInvalid as error:
        return error
    return None


def _label(recipe: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", recipe.lower()).strip("-")
