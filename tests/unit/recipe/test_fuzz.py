"""Whatever stands in a recipe's files, it becomes a value or an error with words: an internal error is a bug.

The suite plays some hundred inputs of each kind; ``CCCI_FUZZ=100000`` plays as many in all, and prints the count.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from pytest_ccci.engine.compose import OverlaySettings, build_overlay, write_compose
from pytest_ccci.errors import CcciError, RecipeInvalid
from pytest_ccci.recipe.backup_labels import backup_plan
from pytest_ccci.recipe.compose_facts import ComposeFacts, compose_facts
from pytest_ccci.recipe.compose_files import filled, merge, read_compose
from pytest_ccci.recipe.compose_yaml import load_document
from pytest_ccci.recipe.coverage import coverage
from pytest_ccci.recipe.env import AppEnv, app_env, env_file, parse_env, parse_exports, render_all
from pytest_ccci.recipe.findings import Finding
from pytest_ccci.recipe.lint import changed_configs, lint, names_nothing, refuse
from pytest_ccci.recipe.names import check_names
from pytest_ccci.recipe.reach import OwnPlace, judge, reach
from pytest_ccci.recipe.releases import newest, newest_older_than, parse, sort_tags, version_numbers
from pytest_ccci.recipe.secretspecs import choose, needed
from pytest_ccci.recipe.spec import RecipeSpec, describe_keys, load_spec
from pytest_ccci.recipe.tree import Head, RecipeTree, notes_between, open_tree
from pytest_ccci.warm.release_notes import manual_steps

LONG = int(os.environ.get("CCCI_FUZZ", "0"))
STACK = "x_ci_test"

# --- what stands in files

VALID = (
    *("=", "~", "null", "yes", "Off", "true", "15", "0444", "0o17", "08"),
    *("1_000", "0x1F", "0b2", "1:30:00", "-0", "1.50"),
    *(".inf", "-.INF", ".nan", "1e999", "1.", "9" * 5000, "2001-01-01", "2001-99-99", "2001-01-01T25:61:00Z"),
    *("!!binary '*'", "!!timestamp x", "!!int x", "!!float x", "!!bool x", "!!null x", "!!set {a}", "!!omap [a: 1]"),
    *("!reset null", "!override [a]", "!<tag:x> y", "!!python/name:os.system x", "'${V}'"),
    *("${V:-d}", "${V:+x}", "${V:?w}"),
    *("${", "$", "$$x", "a${STACK_NAME}_k_", "'{{.Task.Slot}}'", "'{{ x'", "''"),
    *('""', '"\\ud800"', '"a\\0b"', "/a:/b:ro"),
    *("{}", "[]", "{a: 1}", "[a, [b]]", "{? [c]: d}", "a=b", "a:b:c:d"),
    *("80:80/udp", "99999999999-1:x", "[a, a]", "{a, a}"),
    *("1m30s", "-5s", "1h-", "5", "NONE", "[NONE]", "start-first", "host", "global", "'postgres:'", "'Host(`a`, `b`)'"),
    *("postgres://u:p@h:1/x", "'postgres://[::1'", "'http://['", "s3://"),
    *("'@tcp('", "host=a dbname=b", "'a,b;c [::]:5'"),
    *("/dev/x:/x", "/etc/localtime:/x", "data:/d", "data", "key", "proxy"),
    *("[proxy]", "[data:/d, x:/y]", "[key]", "x:1"),
    *("[A=1, DB_HOST=far, B]", "{A: 1, DB_HOST: far, B: }", "['traefik.http.routers.x.rule=Host(`a`)']", "[CMD, x]"),
    *("['coop-cloud.${STACK_NAME}.version=1']", "{backupbot.backup: true}", "['backupbot.backup.volumes.d=']", "# c"),
)  # fmt: skip
BROKEN = (
    *("&a x", "*a", "*nobody", "&b [*b]", "'a", '"\\u12"', "'\\0'", "|\n   x\n    y"),
    *(">-\n   z", "\t", "\ufeff", "\u2028", "\x85"),
    *("\x00", "postgres:", ":", "`", "@", "%", "{", "]", "- - -", "? a", "<<", "\ud800"),
    *("!", "&", "'", "\r", "[" * 2000, "{a: " * 500),
)  # fmt: skip
KEYS = (
    *("image", "deploy", "labels", "environment", "ports", "healthcheck"),
    *("test", "interval", "retries", "start_period"),
    *("disable", "update_config", "order", "monitor", "mode", "replicas"),
    *("placement", "constraints", "tmpfs", "source"),
    *("target", "type", "name", "external", "driver", "driver_opts", "file"),
    *("aliases", "published", "read_only", "networks"),
    *("stop_grace_period", "DB_HOST", "volumes", "secrets", "configs", "x-a", "app", "db"),
    *("=", "2001-01-01", "15", "''"),
    *("coop-cloud.${STACK_NAME}.version", "traefik.http.routers.x.rule", "traefik.enable", "backupbot.backup", "null"),
    *("traefik.http.routers.x.entrypoints", "backupbot.backup.volumes.d", "? [a]", "&k k", "*a", "<<", "1.5", "true"),
)  # fmt: skip
SERVICE = (
    "image",
    "deploy",
    "labels",
    "environment",
    "ports",
    "volumes",
    "healthcheck",
    "networks",
    "secrets",
    "configs",
)
SECTIONS = {
    "volumes": ("data", "d"),
    "secrets": ("key", "k"),
    "configs": ("conf", "c"),
    "networks": ("proxy", "default"),
}
HEADS = ("version: '3.8'\n", "version: 3.1\n", "version: [3]\n", "---\n", "%YAML 9\n", "\ufeff", "x-a: &a {image: x}\n")
NAMES = ("DOMAIN", "V", "COMPOSE_FILE", "STACK_NAME", "SECRET_KEY_VERSION", "A", "é", "1X", "", "ENABLE", "A.B")
MARKS = ("", "", "", "#", "# ", "export ", "\t", "\ufeff", " ")
ENDS = (
    "\n",
    "\n",
    "\r\n",
    "",
    " # length=9 charset=hex\n",
    " # length=99999999999 generate=\n",
    "'\n",
    '"\n',
    "\\\n",
    "\0",
)
SHELL = (
    "export A=1",
    "export V=`x` B=$A",
    "f() {",
    "}",
    'export Q="a',
    "export\tT='",
    "export A=$(x) C=${A:-b}",
    "export ",
)
TABLES = (
    "[env]",
    "[secrets]",
    "[health]",
    "[source]",
    "[needs.keycloak]",
    "[[sentinel]]",
    "[[disposable]]",
    "[policy]",
)
TOML = tuple(dict.fromkeys(key.name.rpartition(".")[2] for key in describe_keys()))
TOML_VALUES = (
    *("1", "-1", "1e400", "nan", "inf", "true", "'x'", '"1m"', '"-1m"'),
    *("[]", "[1, 'a']", "{a = 1}", "2001-01-01", "07:32:00"),
    *("'''a\nb'''", '"""', '"\\ud800"', '"{{ realm.x }}"', "'{{'", '"tip"', '"sql"', '"file"'),
    *("'..'", "0o7", "'.'", "[[]]"),
    *("9" * 5000, "[" * 3000, "'/a'", '["/a"]', "[200]", '"data"', "2001-99-99", "'app'"),
)  # fmt: skip
NOTE = (
    "no",
    "manual",
    "action",
    "required",
    "unless",
    "you",
    "must",
    "run",
    "abra",
    ".",
    "\n",
    "-",
    "#",
    "only if",
    "*",
    "`",
)
LETTERS = "aZ09 _-=:.#$'\"\\{}[]&*!|>%@`,~\t\n\r\0\x85\ufeff\u2028é٣²\ud800\U0001f600\x1b"


def text(random: Random, longest: int = 10) -> str:
    return "".join(random.choices(LETTERS, k=random.randrange(longest + 1)))


def scalar(random: Random) -> str:
    luck = random.random()
    if luck < 0.97:
        return random.choice(VALID) if luck < 0.9 else json.dumps(text(random))
    return random.choice(BROKEN) if luck < 0.99 else text(random)


def block(random: Random, keys: Sequence[str], indent: int, depth: int) -> str:
    """A value as YAML is written by hand: a scalar, or a block of items or of keys, which may be there twice."""
    if depth == 0 or random.random() < 0.5:
        return f" {scalar(random)}\n"
    pad = " " * indent
    heads = [f"{pad}-" if random.random() < 0.3 else "" for _ in range(1)] * random.randrange(1, 5)
    rows = [(head or f"{pad}{random.choice(keys)}:") + block(random, KEYS, indent + 2, depth - 1) for head in heads]
    return "\n" + "".join(rows)


def compose_text(random: Random) -> str:
    if random.random() < 0.03:
        return text(random, 60)
    parts = random.choices(HEADS, k=random.randrange(2))
    parts.append("services:\n")
    for name in random.sample(("app", "db", "web"), random.randrange(4)):
        parts.append(f"  {name}:" + (block(random, SERVICE, 4, 3) if random.random() < 0.2 else "\n"))
        for key in random.choices(SERVICE, k=random.randrange(5)):
            parts.append(f"    {key}:" + block(random, KEYS, 6, 2))
    for section in random.sample(sorted(SECTIONS), random.randrange(4)):
        parts.append(f"{section}:" + block(random, SECTIONS[section], 2, 2))
    return "".join(parts)


def env_text(random: Random) -> str:
    if random.random() < 0.1:
        quote = random.choice("'\"")
        return f"{random.choice(NAMES)}={quote}{text(random)}\n{text(random)}{quote}\n"
    rows = []
    for _ in range(random.randrange(8)):
        sign = random.choice(("=", "=", " = ", "", "=="))
        rows += [random.choice(MARKS), random.choice(NAMES), sign, scalar(random), random.choice(ENDS)]
    return "".join(rows) + text(random, 3)


def shell_text(random: Random) -> str:
    return "\n".join(random.choice(SHELL) + text(random, 4) for _ in range(random.randrange(8)))


def toml_text(random: Random) -> str:
    rows = ["[source]", "path = '.'"] if random.random() < 0.7 else []
    for _ in range(random.randrange(8)):
        luck = random.random()
        value = random.choice(TOML_VALUES) if random.random() < 0.9 else json.dumps(text(random))
        row = (
            f"{random.choice(TOML)} = {value}"
            if luck < 0.65
            else random.choice(TABLES)
            if luck < 0.95
            else text(random)
        )
        rows.append(row)
    return "\n".join(rows)


def note_text(random: Random) -> str:
    return " ".join(random.choice(NOTE) if random.random() < 0.9 else text(random) for _ in range(random.randrange(25)))


def tag_names(random: Random) -> list[str]:
    return ["".join(random.choices("0123456789.+-vab_٣²", k=random.randrange(15))) + text(random, 1) for _ in range(6)]


def printed(random: Random, depth: int = 5) -> Any:
    """What could stand in Docker's output, and what could not."""
    luck = random.random()
    if depth == 0 or luck < 0.45:
        return random.choice((None, True, 0, -1, 1.5, 10**30, float("nan"), random.choice(VALID), text(random)))
    if luck < 0.6:
        return [printed(random, depth - 1) for _ in range(random.randrange(4))]
    return {random.choice(KEYS): printed(random, depth - 1) for _ in range(random.randrange(5))}


def config(random: Random) -> dict[str, Any]:
    made: dict[str, Any] = {
        name: {key: printed(random) for key in keys} if random.random() < 0.8 else printed(random)
        for name, keys in {**SECTIONS, "services": ("app", "db")}.items()
    }
    return {**made, "version": random.choice(("3.8", "3.1", None, 3.3, []))}


def files(random: Random) -> tuple[str | bytes, ...]:
    made: list[str | bytes] = [
        compose_text(random),
        compose_text(random),
        env_text(random),
        shell_text(random),
        note_text(random),
    ]
    if random.random() < 0.1:
        made[random.randrange(len(made))] = random.randbytes(20)
    return tuple(made)


# --- what is done with it


def use(facts: ComposeFacts, tree: RecipeTree, env: AppEnv) -> None:
    """Everything that a run does with facts before it deploys."""
    backup_plan(facts)
    coverage(facts, stack=STACK)
    build_overlay(facts, OverlaySettings(ca_config="ca", vip=False), version=facts.version or None)
    found = lint(facts, tree, env, stack=STACK, odd_tags=("v1",))
    assert all(isinstance(each, Finding) and each.text and each.line >= 0 for each in found)
    said(check_names, facts, stack=STACK)
    said(refuse, found, where="x")
    changed_configs((facts, tree), (facts, tree))


def reached(folder: Path, *renderings: Mapping[str, Any]) -> None:
    """What is reached has words that steer no terminal, is the same each time, and is refused without a base."""
    found = reach(renderings, OwnPlace(STACK, "x.ci.test", folder))
    assert found == reach(renderings, OwnPlace(STACK, "x.ci.test", folder))
    assert all(each.text and f"{each.service}{each.key}{each.text}".isprintable() for each in found)
    assert all(one.refused for one in judge(found, None))
    assert not any(one.refused and not one.reach.owner for one in judge(found, found))


def said(act: Callable[..., object], *words: Any, **more: Any) -> Any:
    """What ``act`` returns; an error of ours has words."""
    words_of: list[str] = []
    try:
        return act(*words, **more)
    except CcciError as error:
        words_of = [error.what.strip(), str(error)]
    assert all(words_of)
    return None


def facts_of(folder: Path, config: Mapping[str, Any]) -> None:
    facts = compose_facts(config)
    tree = RecipeTree(folder, Head("x", "a" * 40))
    env = AppEnv({}, ())
    reached(folder, config)
    said(use, facts, tree, env)
    said(lambda: choose(needed(config, env), {"k": "v"}))
    write_compose(folder / "overlay.yml", {"services": {}})


def whole(folder: Path, files: tuple[bytes | str, ...]) -> None:
    for name, text in zip(
        ("compose.yml", "compose.more.yml", ".env.sample", "abra.sh", "release/1.0.0+1"), files, strict=True
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    tree = open_tree(folder, Head("x", "a" * 40, release=parse("1.0.0+1"), version="1.0.0+1"))
    release = parse("1.0.0+1")
    assert release is not None
    for each in notes_between(tree, None, release, [release]):
        manual_steps(each.text)
    env = app_env(tree, domain="x.ci.test", stack=STACK, overrides={})
    env_file(env, recipe="x", version="1.0.0+1")
    config = merge([read_compose(path, within=folder) for path in env.compose_files], env.values)
    use(compose_facts(config), tree, env)
    said(lambda: choose(needed(config, env), {}))


def toml(folder: Path, text: str) -> None:
    (folder / "recipe.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    spec: RecipeSpec = load_spec(folder)
    said(render_all, spec.env.at(None), {"domain": "x"}, where="recipe.toml")
    names_nothing(spec, compose_facts({"services": {"app": {"volumes": ["d:/d"]}}}), stack=STACK)


def compose(folder: Path, text: str) -> None:
    said(load_document, text, where="compose.yml")
    (folder / "compose.yml").write_bytes(text.encode("utf-8", "surrogatepass"))
    file = read_compose(folder / "compose.yml", within=folder)
    assert file.problem is None or isinstance(file.problem, RecipeInvalid)
    reached(folder, merge([file], {}), filled(file, {}))
    use(compose_facts(merge([file], {})), RecipeTree(folder, Head("x", "a" * 40)), AppEnv({}, (file.path,)))


def env_of(folder: Path, text: str) -> None:
    found = said(parse_env, text)
    assert found is None or all(isinstance(value, str) for value in found.values.values())
    said(parse_env, text, given={"V": "1"})
    (folder / ".env.sample").write_bytes(text.encode("utf-8", "surrogatepass"))
    (folder / "compose.yml").write_text("services: {app: {image: 'a:1'}}\n", encoding="utf-8")
    tree = RecipeTree(folder, Head("x", "a" * 40))
    env = app_env(tree, domain="x.ci.test", stack=STACK, overrides={})
    lint(compose_facts({}), tree, env, stack=STACK)


def tags_of(_folder: Path, found: list[str]) -> None:
    releases, odd = sort_tags(found)
    assert len(releases) + len(odd) == len(set(found))
    newest(releases)
    for each in releases:
        newest_older_than(each, releases)
    for text in found:
        version_numbers(text)


Target = tuple[Callable[[Random], Any], Callable[[Path, Any], None], int]
TARGETS: dict[str, Target] = {
    "compose files": (compose_text, compose, 12),
    "what Docker prints": (config, facts_of, 6),
    ".env.sample": (env_text, env_of, 6),
    "abra.sh": (shell_text, lambda _folder, text: void(parse_exports(text, {"A": "1"})), 25),
    "recipe.toml": (toml_text, toml, 8),
    "release notes": (note_text, lambda _folder, text: void(manual_steps(text)), 20),
    "tags": (tag_names, tags_of, 20),
    "whole recipes": (files, whole, 3),
}
"""Kinds of inputs, what is done with each, and its share of a long run in percent."""


def void(_value: object) -> None:
    """Nothing."""


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", TARGETS)
def test_every_input_is_a_value_or_an_error_with_words(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, act, share = TARGETS[name]
    examples = LONG * share // 100 or 200
    played = itertools.count()
    (tmp_path / "notes").mkdir()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # each input is of its seed alone, which leaves nothing to shrink
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=True))
    def one(random: Random) -> None:
        next(played)
        made = make(random)
        note(f"made: {made!r}")
        said(act, tmp_path / "notes", made)

    one()
    if LONG:
        with capsys.disabled():
            print(f"\n{name}: {next(played)} inputs")  # noqa: T201  what a long run is for
