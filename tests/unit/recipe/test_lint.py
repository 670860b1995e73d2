"""Lint of files as they are written: each finding names its file and line, and no good recipe has one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pytest_ccci.errors import RecipeInvalid
from pytest_ccci.recipe.compose_facts import compose_facts
from pytest_ccci.recipe.compose_files import merge, read_compose
from pytest_ccci.recipe.env import app_env
from pytest_ccci.recipe.findings import KINDS, Finding, Level
from pytest_ccci.recipe.lint import ENTRY_POINTS, lint, next_tag, refuse
from pytest_ccci.recipe.releases import parse, sort_tags
from pytest_ccci.recipe.tree import Head, open_tree

ROOT = Path(__file__).resolve().parents[3]
Write = Callable[[Path, Mapping[str, str]], None]
Linted = Callable[..., dict[tuple[str, str, int], Finding]]

COMPOSE = """\
version: "3.8"
services:
  app:
    image: notes:${NOTES_VERSION}
    networks: [proxy, default]
    healthcheck:
      test: [CMD, "true"]
      interval: 10s
    environment:
      - DB_HOST=${STACK_NAME}_db
      - GREETING=${GREETING:-hello}
      - PRICE=$$5
    deploy:
      labels:
        - "traefik.enable=true"
        - "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`${EXTRA_DOMAINS})"
        - "traefik.http.routers.${STACK_NAME}.entrypoints=web-secure"
        - "coop-cloud.${STACK_NAME}.version=1.0.0+2"
  db:
    image: postgres:15
    healthcheck: {test: [CMD, "true"]}
networks:
  proxy: {external: true}
secrets:
  key: {external: true, name: "${STACK_NAME}_key_${SECRET_KEY_VERSION}"}
"""
GOOD = {
    "compose.yml": COMPOSE,
    "compose.smtp.yml": "services:\n  app:\n    environment:\n      - SMTP=${SMTP_HOST}\n",
    "compose.search.yml": "services:\n  search:\n    image: search:${SEARCH_VERSION}\n  app: {}\n",
    ".env.sample": "NOTES_VERSION=2\n#EXTRA_DOMAINS=', `www.x.org`'\n# SMTP_HOST=mail.x.org\nSECRET_KEY_VERSION=v1\n",
    "abra.sh": "export SEARCH_VERSION=7\n",
}


@pytest.fixture
def linted(tmp_path: Path, write: Write) -> Linted:
    """Lints a recipe made of ``GOOD`` and ``files``, without Docker."""
    numbers = itertools.count()

    def act(
        files: Mapping[str, str], *, tag: str = "", chain: str = "", odd: Collection[str] = ()
    ) -> dict[tuple[str, str, int], Finding]:
        folder = tmp_path / f"recipe-{next(numbers)}"
        write(folder, {**GOOD, **files})
        tree = open_tree(folder, Head("x", "a" * 40, release=parse(tag), version=tag or "aaaaaaaa"))
        env = app_env(tree, domain="x.ci.test", stack="x_ci_test", overrides={"COMPOSE_FILE": chain} if chain else {})
        sources = [read_compose(path, within=folder) for path in env.compose_files]
        facts = compose_facts(merge(sources, env.values))
        found = lint(facts, tree, env, stack="x_ci_test", odd_tags=odd)
        return {(finding.code, finding.file, finding.line): finding for finding in found}

    return act


@pytest.mark.parametrize(
    ("label", "tags", "files", "tag"),
    [
        ("1.1.0+2", ["1.0.0+2"], {}, "1.1.0+2"),
        ("1.1.0+2", [], {}, "1.1.0+2"),
        ("1.0.0+2", ["1.0.0+2"], {}, ""),
        ("0.9.0+2", ["1.0.0+2"], {}, ""),
        ("1.1.0", ["1.0.0+2"], {}, ""),
        ("soon", [], {}, ""),
        ("2.0.0+2", ["1.0.0+2"], {}, ""),
        ("2.0.0+2", ["1.0.0+2"], {"release/1.9.0+2": "do this"}, ""),
        ("2.0.0+2", ["1.0.0+2"], {"release/2.0.0+2": "do this"}, "2.0.0+2"),
        ("2.0.0+2", ["1.0.0+2"], {"releaseNotes/2.0.0+2.md": "do this"}, "2.0.0+2"),
    ],
)
def test_an_untagged_version_says_itself_which_tag_it_could_get(
    tmp_path: Path, write: Write, label: str, tags: list[str], files: dict[str, str], tag: str
) -> None:
    write(tmp_path, {**GOOD, **files})
    facts = compose_facts(
        {"services": {"app": {"image": "a:1", "deploy": {"labels": {"coop-cloud.x_ci_test.version": label}}}}}
    )
    releases = sort_tags(tags)[0]
    tree = open_tree(tmp_path, Head("x", "a" * 40))
    assert next_tag(facts, tree, releases, stack="x_ci_test") == tag
    for head in (Head("x", "a" * 40, release=parse("0.1.0+1")), Head("x", "a" * 40, dirty=True)):
        assert next_tag(facts, replace(tree, head=head), releases, stack="x_ci_test") == ""
    assert next_tag(compose_facts({"services": {"app": {"image": "a:1"}}}), tree, releases, stack="x_ci_test") == ""


def changed(old: str, new: str) -> dict[str, str]:
    assert COMPOSE.count(old) == 1, old
    return {"compose.yml": COMPOSE.replace(old, new)}


def test_a_good_recipe_with_overlays_has_no_finding(linted: Linted) -> None:
    assert linted({}, tag="1.0.0+2") == {}
    assert linted({}, chain="compose.yml:compose.smtp.yml") == {}


LABEL = '"traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`${EXTRA_DOMAINS})"'
VERSION = '"coop-cloud.${STACK_NAME}.version=1.0.0+2"'


@pytest.mark.parametrize(
    ("old", "new", "finding", "says"),
    [
        ("${NOTES_VERSION}", "${NOTES_VERSOIN}", ("unset-variable", 4), "NOTES_VERSOIN is set nowhere"),
        ("${NOTES_VERSION}", "${NOTES_VERSOIN}", ("bad-image", 4), "notes: is no image"),
        ("${NOTES_VERSION}", "${NOTES_VERSOIN}", ("bad-image", 4), "NOTES_VERSOIN is empty or not set"),
        ("postgres:15", "'postgres:'", ("bad-image", 20), "name:tag"),
        ("postgres:15", "Postgres:15", ("bad-image", 20), "Postgres:15"),
        ("postgres:15", '"postgres:15 "', ("bad-image", 20), "no image that Docker can read"),
        ("postgres:15", ":15", ("bad-image", 20), ":15"),
        ("postgres:15", "postgres@sha256:12", ("bad-image", 20), "postgres@sha256:12"),
        ("image: postgres:15", 'image: ""', ("no-image", 20), "no image"),
        ("image: postgres:15", "command: x", ("no-image", 19), "no image"),
        ("image: postgres:15", "image: ${DB_IMAGE}", ("no-image", 20), "DB_IMAGE is empty or not set"),
        ("postgres:15", "postgres", ("moving-image", 20), "pin a version"),
        (LABEL, '"traefik.http.routers.x.rule="', ("bad-rule", 16), "it is empty"),
        (LABEL, '"traefik.http.routers.x.rule=Host(`a`, `b`)"', ("bad-rule", 16), "write Host(`a`) || Host(`b`)"),
        (LABEL, '"traefik.tcp.routers.x.rule=Host(`a`)"', ("bad-rule", 16), "HostSNI"),
        ("=web-secure", "=web-secure,https", ("unknown-entrypoint", 17), "'https'; there are web, web-secure"),
        ("[proxy, default]", "[default]", ("off-proxy", 5), "not on the network proxy"),
        ("proxy: {external: true}", "proxy: {external: true, name: edge}", ("unknown-network", 23), "edge"),
        (VERSION, '"coop-cloud.${STACK_NAME}.other=1"', ("no-version-label", 14), "abra cannot tell"),
        (VERSION, '"coop-cloud.${STACK_NAME}.verison=1"', ("version-label-key", 18), ".verison of app"),
        (VERSION, '"coopcloud.${STACK_NAME}.version=1"', ("version-label-key", 18), "coopcloud.x_ci_test.version"),
        (VERSION, '"coop-cloud.notes.version=1"', ("version-label-key", 18), "coop-cloud.notes.version"),
        (VERSION, '"Coop-Cloud.${STACK_NAME}.Version=1"', ("version-label-key", 18), "is not read"),
        ("interval: 10s", "interval: 2m", ("slow-healthcheck", 8), "after 120 s"),
        ("interval: 10s", "interval: 30s\n      retries: 60", ("slow-healthcheck", 8), "after 1800 s"),
        ("interval: 10s", "start_period: 1h", ("slow-healthcheck", 6), "after 3690 s"),
        ("interval: 10s", "disable: true", ("no-healthcheck", 6), "switched off"),
        ("${GREETING:-hello}", "${GREETING:+x}", ("bad-interpolation", 11), "${GREETING:+x}"),
        ("${GREETING:-hello}", "${GREETING:?say it}", ("required-variable", 11), "GREETING must be set"),
        ("$$5", "$5", ("bad-interpolation", 12), "$5"),
        (
            "image: postgres:15",
            "image: postgres:15\n    image: postgres:16",
            ("duplicate-key", 21),
            "services.db.image",
        ),
        ('"3.8"', '"3.2"', ("old-version", 1), "3.2 knows no configs"),
        ("image: postgres:15", "image: postgres:15\n    secrets: [gone]", ("undeclared", 21), "gone is used"),
        ("${SECRET_KEY_VERSION}", "${SECRET_KYE_VERSION}", ("empty-version", 25), "SECRET_KYE_VERSION is empty"),
        ("DB_HOST=${STACK_NAME}_db", "DB_HOST=far.org", ("uncovered", 9), "far.org"),
        (VERSION, f"{VERSION}\n        - backupbot.bakup=true", ("backup-label", 19), "mean backupbot.backup?"),
        (VERSION, f"{VERSION}\n        - backupbot.backup=yess", ("backup-label", 19), "'yess' is neither true nor"),
        (VERSION, f"{VERSION}\n        - backupbot.backup.volumes.pg=false", ("backup-volume", 19), "a volume pg"),
        (
            "image: postgres:15",
            "image: postgres:15\n    deploy:\n      labels:\n        backupbot.backup.pre_hook: dump",
            ("backup-label", 23),
            "did you mean backupbot.backup.pre-hook?",
        ),
    ],
)
def test_a_defect_is_told_with_its_line(
    linted: Linted, old: str, new: str, finding: tuple[str, int], says: str
) -> None:
    found = linted(changed(old, new))
    code, line = finding
    assert (code, "compose.yml", line) in found
    assert says in found[code, "compose.yml", line].text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"3.8"', '"3.3"'),
        ("image: postgres:15", "image: 15"),
        ("postgres:15", "registry.example:5000/a/b__c-d.e:V_1.x"),
        ("interval: 10s", "disable: false"),
        ("interval: 10s", "interval: 2m\n      start_period: 1m\n      start_interval: 5s"),
        ("interval: 10s", "interval: 30s\n      retries: 10\n      start_period: 1m"),
        ("proxy: {external: true}", "proxy: {external: true}\n  host: {external: true, name: host}"),
        ("=web-secure", "=web, web-secure"),
        ("${GREETING:-hello}", "${GREETING-}"),
        (LABEL, '"traefik.http.routers.x.rule=Host(`a`, `b`)"\n        - traefik.http.routers.x.ruleSyntax=v2'),
        ('"traefik.enable=true"', '"traefik.enable=false"'),
    ],
)
def test_what_is_odd_but_good_is_not_told(linted: Linted, old: str, new: str) -> None:
    assert {code for code, *_ in linted(changed(old, new))} <= {"moving-image"}


def test_a_router_that_leads_elsewhere_needs_no_proxy(linted: Linted) -> None:
    text = COMPOSE.replace("[proxy, default]", "[default]").replace(
        '        - "traefik.enable=true"\n', '        - "traefik.http.routers.${STACK_NAME}.service=noop@internal"\n'
    )
    assert linted({"compose.yml": text}) == {}


@pytest.mark.parametrize("key", ["coop-cloud.${STACK_NAME}.version", "coop-cloud.version"])
def test_a_version_label_in_mapping_form_is_not_interpolated_and_told(linted: Linted, key: str) -> None:
    """Docker fills in values, never keys (measured with its CLI)."""
    text = COMPOSE.partition("      labels:\n")[0] + f'      labels:\n        {key}: "1.0.0+2"\n'
    text += COMPOSE.partition(f"{VERSION}\n")[2]
    (found,) = [each for each in linted({"compose.yml": text}).values() if each.code.startswith("version")]
    assert (found.code, found.line) == ("version-label-key", 15)


def test_a_version_label_outside_of_deploy_is_not_read_by_abra(linted: Linted) -> None:
    text = COMPOSE.replace(f"        - {VERSION}\n", "").replace(
        "    deploy:\n", f"    labels:\n      - {VERSION}\n    deploy:\n"
    )
    assert ("version-label-key", "compose.yml", 14) in linted({"compose.yml": text})


@pytest.mark.parametrize(
    ("tag", "told"), [("1.0.0+2", False), ("1.0.1+2", True), ("1.0.0+2.0", True), ("v1.0.0+2", True), ("", False)]
)
def test_a_version_label_that_is_not_the_tag_is_told(linted: Linted, tag: str, *, told: bool) -> None:
    assert (("version-not-tag", "compose.yml", 18) in linted({}, tag=tag)) is told


def test_an_empty_version_variable_is_told_where_it_is_set(linted: Linted) -> None:
    sample = GOOD[".env.sample"].replace("SECRET_KEY_VERSION=v1", "SECRET_KEY_VERSION=  # length=9")
    found = linted({".env.sample": sample})
    assert "SECRET_KEY_VERSION is empty" in found["empty-version", ".env.sample", 4].text


def test_a_charset_of_what_is_no_secret_is_not_told(linted: Linted) -> None:
    sample = GOOD[".env.sample"] + "DB_CHARSET=utf8 # charset=utf8mb4\n# OFF=v1 # charset=utf8mb4\n"
    assert linted({".env.sample": sample}) == {}


def test_the_line_of_an_unknown_charset_is_the_env_files(linted: Linted) -> None:
    assert ("unknown-charset", ".env.sample", 2) in linted({".env.sample": "A=1\nSECRET_KEY_VERSION=v1 # charset=x\n"})


@pytest.mark.parametrize("name", ["compose.web.yml", "extra/compose.web.yml"])
def test_files_that_are_not_on_are_linted_too_and_stop_no_deploy(linted: Linted, name: str) -> None:
    text = (
        "services:\n  web:\n    command: x\n    deploy:\n      labels:\n        - traefik.http.routers.x.rule=Host(x)\n"
    )
    found = linted({name: text, "compose.bad.yml": "a: [\n", "compose.image.yml": "services:\n  w:\n    image: 'x:'\n"})
    assert set(found) == {
        ("no-image", name, 2),
        ("bad-rule", name, 6),
        ("not-yaml", "compose.bad.yml", 2),
        ("bad-image", "compose.image.yml", 3),
    }
    assert {finding.level for finding in found.values()} == {Level.WARN}
    refuse(found.values(), where="x")


def test_an_overlay_of_a_service_that_another_file_defines_needs_no_image(linted: Linted) -> None:
    assert linted({"compose.more.yml": "services:\n  search:\n    environment: [A=1]\n"}) == {}


def test_a_backup_label_of_one_file_may_speak_of_the_volumes_of_another(linted: Linted) -> None:
    labelled = changed(
        VERSION, f"{VERSION}\n        - backupbot.backup=true\n        - backupbot.backup.volumes.pg=false"
    )
    overlay = (
        "services:\n  db:\n    volumes: ['pg:/pg']\n    deploy:\n      labels: [backupbot.backup.volumes.x=false]\n"
    )
    assert linted({**labelled, "compose.data.yml": overlay}) == {}
    wrong = overlay.replace("volumes.x=false", "path_=x")
    assert set(linted({**labelled, "compose.data.yml": wrong})) == {("backup-label", "compose.data.yml", 5)}


@pytest.mark.parametrize("tags", [["v1"], ["1.0.0", "2.0.0-beta"], [f"1.0.{n}" for n in range(9)]])
def test_tags_without_an_app_version_are_told(linted: Linted, tags: list[str]) -> None:
    ((code, *_),) = found = linted({}, odd=tags)
    assert code == "odd-tag"
    assert tags[0] in next(iter(found.values())).text


@pytest.mark.parametrize("code", sorted(code for code, kind in KINDS.items() if kind.fatal))
def test_what_is_fatal_is_refused(code: str) -> None:
    with pytest.raises(RecipeInvalid, match="cannot be deployed"):
        refuse([Finding(Level.ERROR, code, "x", "y")], where="notes")


def test_every_kind_says_why_and_how_to_mend_it() -> None:
    assert all(kind.why and kind.mend for kind in KINDS.values())
    assert Finding(Level.WARN, "odd-tag", "x", "y").mend == KINDS["odd-tag"].mend


def test_the_entry_points_are_those_of_our_traefik() -> None:
    (template,) = ROOT.glob("pytest_ccci/infra/traefik/releases/1-*/traefik.yml.tmpl")
    text = "\n".join(row for row in template.read_text().splitlines() if "{{" not in row)
    points = yaml.safe_load(text)["entryPoints"]
    assert {name for name, point in points.items() if point["address"].startswith(":")} == ENTRY_POINTS
