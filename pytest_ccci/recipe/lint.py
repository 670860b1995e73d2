"""What is wrong or risky in a recipe, found before anything is deployed."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import RecipeInvalid
from pytest_ccci.recipe.backup_labels import backup_plan
from pytest_ccci.recipe.compose_facts import ComposeFacts, ServiceFacts
from pytest_ccci.recipe.coverage import coverage
from pytest_ccci.recipe.env import AppEnv
from pytest_ccci.recipe.secretspecs import CHARSETS
from pytest_ccci.recipe.spec import RecipeSpec
from pytest_ccci.recipe.tree import RecipeTree

__all__ = ["Finding", "Level", "changed_configs", "lint", "names_nothing", "refuse"]

_DURATION = re.compile(
    r"^\s*(interval|timeout|start_period|start_interval|delay|monitor|window|stop_grace_period):[^#\n]*\$\{?\w",
    re.MULTILINE | re.ASCII,
)
_FATAL = frozenset({"config-not-bumped", "secret-not-bumped", "missing-file", "empty-version", "undeclared"})
"""Codes of what Docker refuses in the middle of a deploy, in words that do not help."""
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]", re.ASCII)
_DIGEST_OR_TAG = re.compile(r"(?:[^/]*/)*[^/:@]+(?::(?P<tag>[^@]+))?(?P<digest>@.+)?")


class Level(enum.StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARN = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: ``code`` is stable, ``where`` a service, file or name."""

    level: Level
    code: str
    where: str
    text: str


def lint(facts: ComposeFacts, tree: RecipeTree, env: AppEnv) -> tuple[Finding, ...]:
    """Everything found in one version of a recipe, errors first."""
    found = [
        *(finding for service in facts.services.values() for finding in _service(service, facts)),
        *(finding for service in facts.services.values() for finding in _label_names(service)),
        *(finding for service in facts.services.values() for finding in _aliases(service, facts)),
        *_names(facts),
        *_whole(facts),
        *_files(env),
        *_secrets(env),
        *_tags(tree),
        *_backup(facts),
    ]
    return tuple(sorted(found, key=lambda finding: finding.level is not Level.ERROR))


def names_nothing(spec: RecipeSpec, facts: ComposeFacts, *, stack: str) -> tuple[Finding, ...]:
    """What recipe.toml names and this version does not have: a slip of the pen, or what a later version dropped."""
    where, services = spec.file.name, ", ".join(sorted(facts.services))
    found = [
        Finding(
            Level.WARN, "names-nothing", where, f"[[disposable]] {name!r} names no mount and no database of this app"
        )
        for name in coverage(facts, disposable=spec.disposable, stack=stack).unused
    ]
    for sentinel in spec.sentinels:
        name = getattr(sentinel, "service", "")
        if name and name not in facts.services:
            text = f"[[sentinel]] of kind {sentinel.kind} names the service {name!r}; there are {services}"
            found.append(Finding(Level.WARN, "names-nothing", where, text))
    return tuple(found)


def refuse(findings: Iterable[Finding], *, where: str) -> None:
    """Go on only when none of the findings makes the deploy fail.

    Raises:
        RecipeInvalid: one does; all such are told.
    """
    fatal = [finding for finding in findings if finding.code in _FATAL]
    if fatal:
        raise RecipeInvalid(
            "this version cannot be deployed as it is written",
            where=where,
            seen="; ".join(f"{finding.where}: {finding.text}" for finding in fatal),
        )


def changed_configs(
    before: tuple[ComposeFacts, RecipeTree], after: tuple[ComposeFacts, RecipeTree]
) -> tuple[Finding, ...]:
    """Configs and file secrets whose content changed under one name: Swarm refuses that, with an obscure message."""
    findings = []
    for kind, old, new in (
        ("config", before[0].configs, after[0].configs),
        ("secret", before[0].secrets, after[0].secrets),
    ):
        known = {each.name or each.key: _content(before[1], each.file) for each in old.values() if each.file}
        for each in new.values():
            content = _content(after[1], each.file) if each.file else None
            if content is not None and known.get(each.name or each.key, content) != content:
                text = f"the {kind} {each.key} has other content under the same name; bump its version in abra.sh"
                findings.append(Finding(Level.ERROR, f"{kind}-not-bumped", each.name or each.key, text))
    return tuple(findings)


def _service(service: ServiceFacts, facts: ComposeFacts) -> Iterable[Finding]:
    where = service.name
    if service.update_order == "start-first":
        shared = [
            each.target
            for each in service.mounts
            if each.kind in {"volume", "bind"} and _holds_data(each.source, each.read_only)
        ]
        if shared:
            text = f"start-first runs two tasks at once on {', '.join(shared)}: use stop-first, or data is torn"
            yield Finding(Level.ERROR, "start-first-volume", where, text)
        host = [port.published for port in service.ports if port.mode == "host"]
        if host:
            text = f"start-first never gets the host port {', '.join(host)} that the old task holds: use stop-first"
            yield Finding(Level.ERROR, "start-first-port", where, text)
    if service.healthcheck is None and not service.one_shot:
        yield Finding(Level.WARN, "no-healthcheck", where, "no health check: only that it runs can be seen")
    elif service.healthcheck is not None and service.healthcheck.disabled:
        yield Finding(Level.WARN, "no-healthcheck", where, "the health check is switched off")
    parts = _DIGEST_OR_TAG.fullmatch(service.image)
    if parts and not parts["digest"] and parts["tag"] in {None, "latest"}:
        yield Finding(
            Level.WARN, "moving-image", where, f"{service.image or 'no image'}: pin a version, this one moves"
        )
    for key in (*service.secrets, *service.configs):
        if key not in facts.secrets and key not in facts.configs:
            yield Finding(Level.ERROR, "undeclared", where, f"{key} is used but not declared")


def _label_names(service: ServiceFacts) -> Iterable[Finding]:
    for name in sorted({*service.labels, *service.deploy_labels}):
        if _VARIABLE.search(name):
            text = f"the label name {name} has a variable, and Docker fills in none there: write the labels as a list"
            yield Finding(Level.ERROR, "label-name-variable", service.name, text)


def _aliases(service: ServiceFacts, facts: ComposeFacts) -> Iterable[Finding]:
    for key, names in service.aliases.items():
        network = facts.networks.get(key)
        if network is not None and network.external:
            for name in names:
                text = f"the alias {name} on the network {key}, which other apps share: it takes the place of theirs"
                yield Finding(Level.WARN, "shared-alias", service.name, text)


def _holds_data(source: str, read_only: bool) -> bool:
    return not read_only and not source.endswith("docker.sock")


def _names(facts: ComposeFacts) -> Iterable[Finding]:
    for kind, group in (("secret", facts.secrets), ("config", facts.configs)):
        for each in group.values():
            if each.file and not Path(each.file).is_file():
                text = f"the {kind} {each.key} is made of {each.file}, which is not there: the deploy would fail"
                yield Finding(Level.ERROR, "missing-file", each.name or each.key, text)
            if each.name.endswith("_"):
                text = f"the name of the {kind} {each.key} ends in _: its version variable is empty or not set"
                yield Finding(Level.ERROR, "empty-version", each.name, text)


def _whole(facts: ComposeFacts) -> Iterable[Finding]:
    if "app" not in facts.services:
        yield Finding(Level.WARN, "no-app", "compose.yml", "no service is called app: abra does not list this app")
    elif not facts.label("version"):
        text = "no label coop-cloud.${STACK_NAME}.version: abra cannot tell what is deployed"
        yield Finding(Level.WARN, "no-version-label", "app", text)
    for path in coverage(facts).blocking:
        where, text = f"{path.service}:{path.target}", f"{path.kind} {path.source}: {path.why}; in no snapshot"
        yield Finding(Level.WARN, "uncovered", where, text)


def _files(env: AppEnv) -> Iterable[Finding]:
    for path in env.compose_files:
        for hit in _DURATION.finditer(path.read_text(encoding="utf-8", errors="replace")):
            text = f"{hit[1]} is taken from a variable: Docker may accept that, abra does not"
            yield Finding(Level.WARN, "duration-variable", path.name, text)


def _secrets(env: AppEnv) -> Iterable[Finding]:
    for spec in env.secrets:
        if spec.charset not in CHARSETS:
            text = f"unknown charset {spec.charset!r}, read as default; known: {', '.join(CHARSETS)}"
            yield Finding(Level.WARN, "unknown-charset", spec.variable, text)


def _tags(tree: RecipeTree) -> Iterable[Finding]:
    if tree.head.lightweight:
        text = "a lightweight tag: abra's lint (R014) wants annotated ones"
        yield Finding(Level.WARN, "lightweight-tag", tree.head.version, text)


def _backup(facts: ComposeFacts) -> Iterable[Finding]:
    for part in backup_plan(facts).services:
        for volume in part.unknown_volumes:
            text = f"a backup label names the volume {volume}, which this service does not mount"
            yield Finding(Level.WARN, "backup-volume", part.service, text)


def _content(tree: RecipeTree, file: str) -> bytes | None:
    path = tree.path / file
    return path.read_bytes() if path.is_file() else None
