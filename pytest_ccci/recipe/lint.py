"""What is wrong or risky in a recipe, found before anything is deployed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_ccci.errors import RecipeInvalid
from pytest_ccci.recipe.backup_labels import idle_labels
from pytest_ccci.recipe.compose_facts import (
    WITH_CONFIGS,
    ComposeFacts,
    HealthcheckFacts,
    ServiceFacts,
    compose_facts,
    minor_version,
)
from pytest_ccci.recipe.compose_files import ComposeFile, interpolate, merge, read_compose, uses_in
from pytest_ccci.recipe.coverage import coverage, shared_data
from pytest_ccci.recipe.env import AppEnv, parse_env
from pytest_ccci.recipe.findings import KINDS, Finding, Level
from pytest_ccci.recipe.releases import Release, newest, parse, version_numbers
from pytest_ccci.recipe.router_rules import rule_problem
from pytest_ccci.recipe.secretspecs import CHARSETS
from pytest_ccci.recipe.spec import Disposable, RecipeSpec, find_line, line_index
from pytest_ccci.recipe.tree import RecipeTree, is_file, notes_between

__all__ = ["ENTRY_POINTS", "Finding", "Level", "changed_configs", "lint", "names_nothing", "next_tag", "refuse"]

ENTRY_POINTS = frozenset({"web", "web-secure"})
"""Where our Traefik listens for the world."""
_NETWORKS = frozenset({"proxy", "host", "none", "bridge", "ingress"})
"""External networks that every host has."""
_PROXY = "proxy"
_SLOW_START, _SLOW_DEATH = 60.0, 900.0
_INTERVAL, _RETRIES = 30.0, 3
_DURATION = re.compile(
    r"^\s*(interval|timeout|start_period|start_interval|delay|monitor|window|stop_grace_period):[^#\n]*\$\{?\w",
    re.MULTILINE | re.ASCII,
)
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]", re.ASCII)
_DIGEST_OR_TAG = re.compile(r"(?:[^/]*/)*[^/:@]+(?::(?P<tag>[^@]+))?(?P<digest>@.+)?")
_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?:(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::\d+)?/)?"
    rf"{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@[A-Za-z][A-Za-z0-9+._-]*:[0-9a-fA-F]{{32,}})?",
    re.ASCII,
)
_ROUTER = re.compile(r"traefik\.(?P<kind>http|tcp|udp)\.routers\.(?P<name>[^.]+)\.(?P<what>[a-z]+)", re.IGNORECASE)
_VERSION_KEY = "coop-cloud.${STACK_NAME}.version"
_ALWAYS_SET = frozenset({"STACK_NAME", "DOMAIN", "TYPE", "RECIPE", "COMPOSE_FILE", "LETS_ENCRYPT_ENV"})
_SET = re.compile(r"\s*(?:#+\s*)?(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")
_TAGS_SHOWN = 5
_ALIKE = 0.8

Spot = tuple[str, int]
"""A file of the recipe, and a line in it."""


@dataclass(frozen=True)
class _Source:
    """The recipe's files as they are written: the compose files that are on, the others, and where variables are set.

    ``values`` are the variables of a deploy; ``offered`` also those that ``.env.sample`` holds commented out.
    """

    on: tuple[ComposeFile, ...]
    off: tuple[ComposeFile, ...]
    values: Mapping[str, str]
    offered: Mapping[str, str]
    set_at: Mapping[str, Spot] = field(default_factory=dict)

    def spot(self, *path: str | int, of: Iterable[ComposeFile] = ()) -> Spot:
        """Where ``path`` is said, or the nearest thing around it: in the last file that says it."""
        files = tuple(of) or self.on
        for end in range(len(path), 0, -1):
            for file in reversed(files):
                if path[:end] in file.document.lines:
                    return file.name, file.document.lines[path[:end]]
        return (files[0].name, 1) if files else ("", 0)

    def label(self, service: str, key: str, of: Iterable[ComposeFile] = ()) -> Spot:
        """Where the label ``key`` of a service is said."""
        files = tuple(of) or self.on
        for file in reversed(files):
            for place in (("services", service, "deploy", "labels"), ("services", service, "labels")):
                for path in file.document.lines:
                    if path[:-1] == place and self._says(file, path, key):
                        return file.name, file.document.lines[path]
        return self.spot("services", service, "deploy", "labels", of=files)

    def _says(self, file: ComposeFile, path: tuple[str | int, ...], key: str) -> bool:
        last = path[-1]
        if isinstance(last, str):
            return last == key
        rows = file.table(*map(str, path[:-2])).get("labels")
        row = rows[last] if isinstance(rows, list) and last < len(rows) else ""
        return interpolate(str(row), self.offered).partition("=")[0] == key


def lint(
    facts: ComposeFacts,
    tree: RecipeTree,
    env: AppEnv,
    *,
    disposable: Iterable[Disposable] = (),
    stack: str = "",
    odd_tags: Collection[str] = (),
) -> tuple[Finding, ...]:
    """Everything found in one version of a recipe, errors first.

    Args:
        facts: what Docker makes of the compose files that are on.
        tree: all files; compose files that are not on are looked at as well, and what is in them is a warning.
        env: the variables of a deploy.
        disposable: what recipe.toml says may be lost.
        stack: the stack's name, by which services are reached and labels are named.
        odd_tags: the tags that are no release.
    """
    source = _source(tree, env)
    found = [
        *(finding for service in facts.services.values() for finding in _service(service, facts, source)),
        *_names(facts, env, source),
        *_whole(facts, source, disposable=disposable, stack=stack),
        *_networks(facts, source),
        *_version_label(facts, tree, source, stack),
        *_written(source, env),
        *(finding for file in source.off for finding in _overlay(file, source)),
        *_secrets(env, source),
        *_tags(tree, odd_tags),
        *_backup(facts, source),
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: finding.level is not Level.ERROR))


def next_tag(facts: ComposeFacts, tree: RecipeTree, releases: Sequence[Release], *, stack: str) -> str:
    """The tag that an untagged version could get as it is; empty where something is missing for that.

    Its version label says one that is a release's, newer than all of ``releases``. Where its first number grows, a
    person has something to do, so that there must be a note of that version (``release/<tag>``).
    """
    exact = f"coop-cloud.{stack}.version"
    labels = [service.deploy_labels[exact] for service in facts.services.values() if exact in service.deploy_labels]
    wanted = parse(labels[0]) if len(set(labels)) == 1 else None
    last = newest(releases)
    if wanted is None or tree.head.release is not None or tree.head.dirty or (last is not None and wanted <= last):
        return ""
    grows = last is not None and version_numbers(wanted.recipe_half)[:1] > version_numbers(last.recipe_half)[:1]
    return "" if grows and not notes_between(tree, last, wanted, (*releases, wanted)) else wanted.tag


def names_nothing(spec: RecipeSpec, facts: ComposeFacts, *, stack: str) -> tuple[Finding, ...]:
    """What recipe.toml names and this version does not have: a slip of the pen, or what a later version dropped."""
    services = ", ".join(sorted(facts.services))
    index = line_index(spec.file.read_text(encoding="utf-8", errors="replace")) if spec.file.is_file() else {}

    def told(text: str, table: str, at: int) -> Finding:
        spot = (spec.file.name, find_line(index, (table, at)) if index else 0)
        return _found("names-nothing", spec.file.name, text, spot)

    unused = set(coverage(facts, disposable=spec.disposable, stack=stack).unused)
    found = [
        told(f"[[disposable]] {each.names!r} names no mount and no database of this app", "disposable", at)
        for at, each in enumerate(spec.disposable)
        if each.names in unused
    ]
    for at, sentinel in enumerate(spec.sentinels):
        name = getattr(sentinel, "service", "")
        if name and name not in facts.services:
            text = f"[[sentinel]] of kind {sentinel.kind} names the service {name!r}; there are {services}"
            found.append(told(text, "sentinel", at))
    return tuple(found)


def refuse(findings: Iterable[Finding], *, where: str) -> None:
    """Go on only when none of the findings makes the deploy fail.

    Raises:
        RecipeInvalid: one does; all such are told.
    """
    fatal = [finding for finding in findings if finding.fatal]
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
                spot = (_within(after[1], each.file), 1)
                findings.append(_found(f"{kind}-not-bumped", each.name or each.key, text, spot))
    return tuple(findings)


def _found(code: str, where: str, text: str, spot: Spot = ("", 0), *, on: bool = True) -> Finding:
    """A finding of its kind's level; what is in a file that is not on stops no deploy."""
    return Finding(KINDS[code].level if on else Level.WARN, code, where, text, *spot)


def _source(tree: RecipeTree, env: AppEnv) -> _Source:
    on = tuple(read_compose(path, within=tree.path) for path in env.compose_files)
    off = tuple(read_compose(path, within=tree.path) for path in tree.compose_files if path not in env.compose_files)
    set_at: dict[str, Spot] = {}
    for name, text in (("abra.sh", tree.abra_sh), (".env.sample", tree.env_sample)):
        for number, row in enumerate(text.splitlines(), start=1):
            if hit := _SET.match(row):
                set_at.setdefault(hit[1], (name, number))
    return _Source(on, off, env.values, {**parse_env(tree.env_sample).offered, **env.values}, set_at)


# --- one service


def _service(service: ServiceFacts, facts: ComposeFacts, source: _Source) -> Iterable[Finding]:
    where = service.name
    spot = source.spot("services", where, "deploy", "update_config", "order")
    if service.update_order == "start-first":
        shared = [each.target for each in shared_data(service, facts)]
        if shared:
            text = f"start-first runs two tasks at once on {', '.join(shared)}: use stop-first, or data is torn"
            yield _found("start-first-volume", where, text, spot)
        host = [port.published for port in service.ports if port.mode == "host"]
        if host:
            text = f"start-first never gets the host port {', '.join(host)} that the old task holds: use stop-first"
            yield _found("start-first-port", where, text, spot)
    yield from _healthcheck(service, source)
    yield from _image(service, source)
    for kind, keys, declared in (
        ("secrets", service.secrets, facts.secrets),
        ("configs", service.configs, facts.configs),
    ):
        for key in keys:
            if key not in declared:
                text = f"{key} is used but not declared"
                yield _found("undeclared", where, text, source.spot("services", where, kind))
    yield from _router(service, facts, source)
    yield from _label_names(service, source)
    yield from _aliases(service, facts, source)


def _label_names(service: ServiceFacts, source: _Source) -> Iterable[Finding]:
    for name in sorted({*service.labels, *service.deploy_labels}):
        if _VARIABLE.search(name):
            text = f"the label name {name} has a variable, and Docker fills in none there: write the labels as a list"
            yield _found("label-name-variable", service.name, text, source.label(service.name, name))


def _aliases(service: ServiceFacts, facts: ComposeFacts, source: _Source) -> Iterable[Finding]:
    for key, names in service.aliases.items():
        network = facts.networks.get(key)
        if network is not None and network.external:
            for name in names:
                text = f"the alias {name} on the network {key}, which other apps share: it takes the place of theirs"
                spot = source.spot("services", service.name, "networks", key, "aliases")
                yield _found("shared-alias", service.name, text, spot)


def _healthcheck(service: ServiceFacts, source: _Source) -> Iterable[Finding]:
    check = service.healthcheck
    if service.one_shot:
        return
    spot = source.spot("services", service.name, "healthcheck")
    if check is None:
        text = "no health check, unless the image brings one: only that it runs can be seen"
        yield _found("no-healthcheck", service.name, text, spot)
    elif check.disabled:
        yield _found("no-healthcheck", service.name, "the health check is switched off", spot)
    elif text := _slow(check):
        spot = source.spot("services", service.name, "healthcheck", "interval")
        yield _found("slow-healthcheck", service.name, text, spot)


def _slow(check: HealthcheckFacts) -> str:
    """Why the health check is slow; empty where it is not. Docker checks for the first time after one interval."""
    interval = _INTERVAL if check.interval is None else check.interval
    first = min(interval, check.start_interval) if check.start_interval and check.start_period else interval
    dead = (check.start_period or 0.0) + interval * (check.retries or _RETRIES)
    if first >= _SLOW_START:
        return f"the first check comes after {first:.0f} s: Swarm gives no traffic before, at each start"
    if dead >= _SLOW_DEATH:
        return f"a task that never gets well is given up after {dead:.0f} s (start_period and all retries)"
    return ""


def _image(service: ServiceFacts, source: _Source, *, of: ComposeFile | None = None) -> Iterable[Finding]:
    files = source.on if of is None else (of,)
    spot = source.spot("services", service.name, "image", of=files)
    raw = str(next((f.table("services", service.name)["image"] for f in reversed(files) if _has_image(f, service)), ""))
    known = source.values if of is None else source.offered
    empty = sorted(name for name in _names_in(raw) if not known.get(name))
    because = f": {', '.join(empty)} is empty or not set" if empty else ""
    if not service.image:
        yield _found("no-image", service.name, f"no image{because}", spot, on=of is None)
        return
    if not _REFERENCE.fullmatch(service.image):
        text = f"{service.image} is no image that Docker can read{because or ': name:tag'}"
        yield _found("bad-image", service.name, text, spot, on=of is None)
        return
    parts = _DIGEST_OR_TAG.fullmatch(service.image)
    if parts and not parts["digest"] and parts["tag"] in {None, "latest"}:
        yield _found("moving-image", service.name, f"{service.image}: pin a version, this one moves", spot)


def _has_image(file: ComposeFile, service: ServiceFacts) -> bool:
    return "image" in file.table("services", service.name)


def _names_in(raw: str) -> Iterator[str]:
    yield from re.findall(r"(?<!\$)\$\{?([A-Za-z_][A-Za-z0-9_]*)", raw)


def _router(
    service: ServiceFacts, facts: ComposeFacts, source: _Source, *, of: ComposeFile | None = None
) -> Iterable[Finding]:
    files = source.on if of is None else (of,)
    said = service.deploy_labels
    if said.get("traefik.enable", "").strip().lower() == "false":
        return
    hits = [(key, hit, value) for key, value in said.items() if (hit := _ROUTER.fullmatch(key))]
    old = {hit["name"] for _, hit, value in hits if hit["what"].lower() == "rulesyntax" and value == "v2"}
    for key, hit, value in hits:
        what, spot = hit["what"].lower(), source.label(service.name, key, of=files)
        if what == "rule" and hit["name"] not in old and (why := rule_problem(value, tcp=hit["kind"].lower() == "tcp")):
            text = f"Traefik refuses the rule {value!r} of the router {hit['name']}: {why}"
            yield _found("bad-rule", service.name, text, spot, on=of is None)
        if what == "entrypoints":
            for name in (part.strip() for part in value.split(",")):
                if name not in ENTRY_POINTS:
                    text = f"the router {hit['name']} waits on {name!r}; there are {', '.join(sorted(ENTRY_POINTS))}"
                    yield _found("unknown-entrypoint", service.name, text, spot, on=of is None)
    if of is None and hits and not _is_reached(service, facts, said):
        text = f"it has a router and is not on the network {_PROXY}: Traefik does not reach it"
        yield _found("off-proxy", service.name, text, source.spot("services", service.name, "networks"))


def _is_reached(service: ServiceFacts, facts: ComposeFacts, said: Mapping[str, str]) -> bool:
    """Whether Traefik reaches it, or need not, since all its routers lead to services that are defined elsewhere."""
    names = {facts.networks[key].name or key for key in service.networks if key in facts.networks}
    if _PROXY in names | set(service.networks):
        return True
    hits = [(hit["name"], hit["what"].lower(), value) for key, value in said.items() if (hit := _ROUTER.fullmatch(key))]
    elsewhere = {name for name, what, value in hits if what == "service" and "@" in value}
    return {name for name, _, _ in hits} <= elsewhere


# --- the whole


def _names(facts: ComposeFacts, env: AppEnv, source: _Source) -> Iterable[Finding]:
    for kind, section, group in (("secret", "secrets", facts.secrets), ("config", "configs", facts.configs)):
        for each in group.values():
            spot = source.spot(section, each.key, "name")
            if each.file and not is_file(Path(each.file)):
                text = f"the {kind} {each.key} is made of {each.file}, which is not there: the deploy would fail"
                yield _found("missing-file", each.name or each.key, text, source.spot(section, each.key, "file"))
            if each.name.endswith("_"):
                raw = next((str(f.table(section, each.key).get("name", "")) for f in reversed(source.on)), "")
                names = [n for n in _names_in(raw) if n != "STACK_NAME" and not env.values.get(n)]
                which = names[-1] if names else "its version variable"
                text = f"the name of the {kind} {each.key} ends in _: {which} is empty or not set"
                yield _found("empty-version", each.name, text, source.set_at.get(which, spot))


def _whole(facts: ComposeFacts, source: _Source, *, disposable: Iterable[Disposable], stack: str) -> Iterable[Finding]:
    if "app" not in facts.services:
        text = "no service is called app: abra does not list this app"
        yield _found("no-app", "compose.yml", text, source.spot("services"))
    minor = minor_version(facts.version)
    if minor is not None and minor < WITH_CONFIGS:
        text = f'version {facts.version} knows no configs, in which a run brings its CA: write version: "3.8"'
        yield _found("old-version", "compose.yml", text, source.spot("version"))
    for path in coverage(facts, disposable=disposable, stack=stack).blocking:
        where, text = f"{path.service}:{path.target}", f"{path.kind} {path.source}: {path.why}; in no snapshot"
        part = "environment" if path.kind == "outside database" else "volumes"
        yield _found("uncovered", where, text, source.spot("services", path.service, part, path.target))


def _networks(facts: ComposeFacts, source: _Source) -> Iterable[Finding]:
    for key, network in facts.networks.items():
        name = network.name or key
        if network.external and name not in _NETWORKS:
            text = f"the external network {name} is none that the host provides: {_PROXY}"
            yield _found("unknown-network", key, text, source.spot("networks", key))


def _version_label(facts: ComposeFacts, tree: RecipeTree, source: _Source, stack: str) -> Iterable[Finding]:
    if "app" not in facts.services:
        return
    exact = f"coop-cloud.{stack}.version"
    order = sorted(facts.services.values(), key=lambda service: service.name != "app")
    keys = [(service, key) for service in order for key in service.deploy_labels if _is_version(key, exact, stack)]
    if not keys:
        alike = [(each.name, key) for each in order for key in (*each.deploy_labels, *each.labels) if _resembles(key)]
        for name, key in alike[:1]:
            text = f"the label {key} of {name} is not read as the version: under deploy.labels, {_VERSION_KEY}"
            yield _found("version-label-key", name, text, source.label(name, key))
        if not alike:
            text = "no label coop-cloud.${STACK_NAME}.version: abra cannot tell what is deployed"
            yield _found("no-version-label", "app", text, source.spot("services", "app", "deploy", "labels"))
        return
    service, key = keys[0]
    value, release = service.deploy_labels[key], tree.head.release
    if release is not None and not tree.head.dirty and value != release.tag:
        text = f"the version label says {value or 'nothing'}, the release's tag is {release.tag}"
        yield _found("version-not-tag", service.name, text, source.label(service.name, key))


def _is_version(key: str, exact: str, stack: str) -> bool:
    return key == exact if stack else re.fullmatch(r"coop-cloud\..+\.version", key) is not None


def _resembles(key: str) -> bool:
    """Whether somebody meant the version label: other case, other signs, a letter too few, the variable as it is."""
    plain = re.sub(r"[^a-z0-9.]", "", key.lower())
    first, last = plain.partition(".")[0], plain.rpartition(".")[2]

    def near(word: str, other: str) -> bool:
        return difflib.SequenceMatcher(None, word, other).ratio() >= _ALIKE

    return near(first, "coopcloud") and near(last, "version") and last != "chaosversion"


# --- the files as they are written


def _written(source: _Source, env: AppEnv) -> Iterable[Finding]:
    for file in source.on:
        yield from _syntax(file, on=True)
        yield from _variables(file, source, on=True)
    for path in env.compose_files:
        text = path.read_text(encoding="utf-8", errors="replace")
        for hit in _DURATION.finditer(text):
            words = f"{hit[1]} is taken from a variable: Docker may accept that, abra does not"
            number = text.count("\n", 0, hit.start(1)) + 1
            name = next((file.name for file in source.on if file.path == path), path.name)
            yield _found("duration-variable", path.name, words, (name, number))


def _overlay(file: ComposeFile, source: _Source) -> Iterable[Finding]:
    """What is wrong in a compose file that is not on, as far as it can be said of the file alone."""
    yield from _syntax(file, on=False)
    yield from _variables(file, source, on=False)
    facts = compose_facts(merge([file], source.offered))
    for name, service in facts.services.items():
        others = [each for each in (*source.on, *source.off) if each is not file]
        if _has_image(file, service):
            yield from _image(service, source, of=file)
        elif not any(_has_image(each, service) for each in others):
            text = f"no compose file says the image of {name}"
            yield _found("no-image", name, text, source.spot("services", name, of=[file]), on=False)
        yield from _router(service, facts, source, of=file)
    yield from _backup(facts, source, of=file)


def _syntax(file: ComposeFile, *, on: bool) -> Iterable[Finding]:
    if file.problem is not None:
        number = file.problem.where.rpartition(":")[2]
        spot = (file.name, int(number) if number.isdecimal() else 1)
        yield _found("not-yaml", file.name, file.problem.what, spot, on=on)
    for path, line in file.document.twice:
        text = f"{'.'.join(map(str, path))} is there twice"
        yield _found("duplicate-key", file.name, text, (file.name, line), on=on)


def _variables(file: ComposeFile, source: _Source, *, on: bool) -> Iterable[Finding]:
    known = _ALWAYS_SET | set(source.values) | set(source.set_at)
    told: set[str] = set()
    for use in uses_in(file):
        spot = (file.name, file.document.line(use.place))
        if use.wrong:
            text = f"{use.wrong!r} is no use of a variable that Docker reads"
            yield _found("bad-interpolation", file.name, text, spot, on=on)
        elif use.required and not source.values.get(use.variable) and on:
            yield _found("required-variable", file.name, f"{use.variable} must be set and is not", spot)
        elif use.variable not in known | told and not use.default and not use.required:
            told.add(use.variable)
            text = f"{use.variable} is set nowhere: it becomes empty"
            yield _found("unset-variable", file.name, text, spot, on=on)


def _secrets(env: AppEnv, source: _Source) -> Iterable[Finding]:
    of_secrets = {name for names in env.secret_variables.values() for name in names}
    for spec in env.secrets:
        if spec.variable in of_secrets and spec.charset not in CHARSETS:
            text = f"unknown charset {spec.charset!r}, read as default; known: {', '.join(CHARSETS)}"
            yield _found("unknown-charset", spec.variable, text, source.set_at.get(spec.variable, ("", 0)))


def _tags(tree: RecipeTree, odd: Collection[str]) -> Iterable[Finding]:
    if tree.head.lightweight:
        text = "a lightweight tag: abra's lint (R014) wants annotated ones"
        yield _found("lightweight-tag", tree.head.version, text)
    if odd:
        shown = ", ".join(sorted(odd)[:_TAGS_SHOWN]) + (
            f" and {len(odd) - _TAGS_SHOWN} more" * (len(odd) > _TAGS_SHOWN)
        )
        yield _found("odd-tag", "tags", f"no release, since not like 1.0.0+2.3.4: {shown}")


def _backup(facts: ComposeFacts, source: _Source, *, of: ComposeFile | None = None) -> Iterable[Finding]:
    elsewhere: set[str] = set()
    for file in source.off:
        services = compose_facts(merge([file], source.offered)).services.values()
        elsewhere |= {*file.table("volumes"), *(mount.source for service in services for mount in service.mounts)}
    files = source.on if of is None else (of,)
    for idle in idle_labels(facts, elsewhere=elsewhere, alone=of is not None):
        code = "backup-volume" if idle.unmounted else "backup-label"
        yield _found(code, idle.service, idle.text, source.label(idle.service, idle.label, of=files))


def _content(tree: RecipeTree, file: str) -> bytes | None:
    path = tree.path / file
    return path.read_bytes() if is_file(path) else None


def _within(tree: RecipeTree, file: str) -> str:
    path = tree.path / file
    return path.relative_to(tree.path).as_posix() if path.is_relative_to(tree.path) else file
