"""The env file by which abra knows an app: only where abra is set up, never over somebody else's."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_ccci.errors import RecipeInvalid, RecipeTomlError, SecretMissing
from pytest_ccci.recipe.compose_facts import compose_facts
from pytest_ccci.recipe.env import (
    AppEnv,
    SecretSpec,
    app_env,
    env_file,
    parse_env,
    parse_exports,
    render,
    render_all,
    write_abra_env,
    write_env,
)
from pytest_ccci.recipe.lint import Finding, Level, changed_configs, lint, refuse
from pytest_ccci.recipe.releases import sort_tags
from pytest_ccci.recipe.schema import Charset
from pytest_ccci.recipe.secretspecs import CHARSETS, NeededSecret, choose, generate, needed, ruled
from pytest_ccci.recipe.spec import Disposable, SecretRule
from pytest_ccci.recipe.tree import Head, RecipeTree, notes_between, open_tree
from pytest_ccci.settings import abra_dir

ENV = AppEnv({"DOMAIN": "warm-notes.ci.test", "STACK_NAME": "warm-notes_ci_test", "LANG": "de_DE"}, ())
NAME = "warm-notes.ci.test.env"


def write(abra: Path | None, env: AppEnv = ENV, version: str = "1.0.0+4.8.1") -> str:
    return write_abra_env(abra, env, recipe="notes", version=version, domain="warm-notes.ci.test")


@pytest.fixture
def servers(tmp_path: Path) -> Path:
    folder = tmp_path / "servers" / "default"
    folder.mkdir(parents=True)
    return folder


def test_abra_finds_type_and_variables_under_the_domain_and_nobody_else_reads_them(
    servers: Path, tmp_path: Path
) -> None:
    assert write(tmp_path) == ""
    assert parse_env((servers / NAME).read_text()).values == {
        "TYPE": "notes:1.0.0+4.8.1",
        "DOMAIN": "warm-notes.ci.test",
        "LANG": "de_DE",
    }
    assert (servers / NAME).stat().st_mode & 0o777 == 0o600


def test_a_file_of_ours_is_written_anew(servers: Path, tmp_path: Path) -> None:
    write(tmp_path)
    assert write(tmp_path, version="1.1.0+4.9") == ""
    assert parse_env((servers / NAME).read_text()).values["TYPE"] == "notes:1.1.0+4.9"


def test_a_file_that_an_operator_wrote_stays_and_is_told(servers: Path, tmp_path: Path) -> None:
    (servers / NAME).write_text("TYPE=notes\n")
    assert "is not one of ours" in write(tmp_path)
    assert (servers / NAME).read_text() == "TYPE=notes\n"


def test_a_value_that_the_dialect_cannot_carry_is_told(servers: Path, tmp_path: Path) -> None:
    assert "no carriage returns" in write(tmp_path, AppEnv({"KEY": "a\r\nb"}, ()))
    assert list(servers.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_and_stops_no_run(servers: Path, tmp_path: Path) -> None:
    (servers / NAME).mkdir()
    assert "could not be written" in write(tmp_path)


def test_without_abra_or_its_server_of_this_machine_nothing_is_written(tmp_path: Path) -> None:
    assert write(None) == ""
    assert write(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_abras_directory_is_the_named_one_else_the_one_at_home_if_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "named").mkdir()
    given = {"HOME": str(tmp_path), "ABRA_DIR": str(tmp_path / "named")}
    assert abra_dir({"HOME": str(tmp_path)}) is None
    (tmp_path / ".abra").mkdir()
    assert abra_dir({"HOME": str(tmp_path)}) == tmp_path / ".abra"
    assert abra_dir(given) == tmp_path / "named"
    assert abra_dir({}) is None


Write = Callable[[Path, Mapping[str, str]], None]

COMPOSE = """
x-env: &env {A: 1}
secrets:
  db_password: {external: true, name: "${STACK_NAME}_db_password_${SECRET_DB_PASSWORD_VERSION}"}
  oidc_rpcs: {external: true, name: "${STACK_NAME}_rpcs_${SECRET_OIDC_RPCS_VERSION:-v1}"}
services:
  app: {image: notes:1, environment: {<<: *env}, deploy: !reset null}
"""
RECIPE = {
    "compose.yml": COMPOSE,
    "compose.oidc.yml": "services: {}",
    "extra/compose.smtp.yml": "services: {}",
    ".env.sample": "DOMAIN=notes.example.com\nCOMPOSE_FILE=compose.yml\nAPP_CONF_VERSION=v0\nURL=https://$DOMAIN/\n"
    "SECRET_DB_PASSWORD_VERSION=v1  # length=40 charset=hex\nSECRET_OIDC_RPCS_VERSION=v3  # generate=false\n",
    "abra.sh": "export APP_CONF_VERSION=v7\n",
}


@pytest.fixture
def tree(tmp_path: Path, write: Write) -> RecipeTree:
    write(tmp_path / "recipe", RECIPE)
    return open_tree(tmp_path / "recipe", Head("tip", "a" * 40, version="aaaaaaaa"))


def env_of(tree: RecipeTree, **overrides: str) -> AppEnv:
    return app_env(tree, domain="x.ci.test", stack="x_ci_test", overrides=overrides)


# --- environment


def test_the_environment_is_made_in_abras_order(tree: RecipeTree) -> None:
    values = env_of(tree, EXTRA="1", APP_CONF_VERSION="from the author").values
    assert values["DOMAIN"] == "x.ci.test"
    assert values["URL"] == "https://x.ci.test/"
    assert values["EXTRA"] == "1"
    assert values["APP_CONF_VERSION"] == "v7"  # abra.sh wins
    assert values["STACK_NAME"] == "x_ci_test"


def test_compose_files_come_from_the_chain_also_when_the_author_adds_to_it(tree: RecipeTree) -> None:
    assert [path.name for path in env_of(tree).compose_files] == ["compose.yml"]
    chain = "$COMPOSE_FILE:compose.oidc.yml:extra/compose.smtp.yml"
    files = env_of(tree, COMPOSE_FILE=chain).compose_files
    assert [path.relative_to(tree.path).as_posix() for path in files] == [
        "compose.yml",
        "compose.oidc.yml",
        "extra/compose.smtp.yml",
    ]


@pytest.mark.parametrize(
    ("chain", "says"),
    [
        ("compose.yml:compose.gone.yml", "no file compose.gone.yml"),
        ("../compose.yml", "outside"),
        ("/etc/passwd", "outside"),
    ],
)
def test_a_chain_that_leads_nowhere_is_refused(tree: RecipeTree, chain: str, says: str) -> None:
    with pytest.raises(RecipeInvalid, match=says):
        env_of(tree, COMPOSE_FILE=chain)


def test_an_older_version_goes_without_the_overlays_that_it_lacks_and_they_are_told(tree: RecipeTree) -> None:
    chain = "$COMPOSE_FILE:compose.gone.yml:compose.oidc.yml:extra/compose.gone.yml"
    env = app_env(tree, domain="x.ci.test", stack="x_ci_test", overrides={"COMPOSE_FILE": chain}, older=True)
    assert [path.name for path in env.compose_files] == ["compose.yml", "compose.oidc.yml"]
    assert env.values["COMPOSE_FILE"] == "compose.yml:compose.oidc.yml"
    assert env.left_out == ("compose.gone.yml", "extra/compose.gone.yml")


def test_a_version_that_has_none_of_the_overlays_is_its_compose_yml(tree: RecipeTree) -> None:
    overrides = {"COMPOSE_FILE": "compose.gone.yml"}
    env = app_env(tree, domain="x.ci.test", stack="x_ci_test", overrides=overrides, older=True)
    assert [path.name for path in env.compose_files] == ["compose.yml"]


@pytest.mark.parametrize("chain", ["../compose.yml", "/etc/passwd"])
def test_no_version_leads_out_of_the_recipe(tree: RecipeTree, chain: str) -> None:
    with pytest.raises(RecipeInvalid, match="outside"):
        app_env(tree, domain="x.ci.test", stack="x_ci_test", overrides={"COMPOSE_FILE": chain}, older=True)


def test_what_an_older_version_names_itself_and_lacks_is_its_own_fault(tree: RecipeTree) -> None:
    (tree.path / ".env.sample").write_text("COMPOSE_FILE=compose.gone.yml\n", encoding="utf-8")
    with pytest.raises(RecipeInvalid, match=r"no file compose\.gone\.yml"):
        app_env(tree, domain="x.ci.test", stack="x_ci_test", overrides={}, older=True)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "\ud800", "compose.yml/x"])
def test_a_chain_that_no_file_system_takes_is_refused_in_words(tree: RecipeTree, name: str) -> None:
    with pytest.raises(RecipeInvalid, match="there is no file"):
        env_of(tree, COMPOSE_FILE=name)


@pytest.mark.parametrize("text", ["secrets: =", "secrets: {a: 2001-99-99}", "secrets:\n  =: 1\n", "a: 1\n---\nb: 2\n"])
def test_any_value_of_a_compose_file_can_be_read(tree: RecipeTree, text: str) -> None:
    (tree.path / "compose.yml").write_text(text, encoding="utf-8")
    assert env_of(tree).secret_variables == {}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: \x00", b"\xe9"])
def test_a_compose_file_that_is_no_text_is_told(tree: RecipeTree, content: bytes) -> None:
    (tree.path / "compose.yml").write_bytes(content)
    with pytest.raises(RecipeInvalid, match="this is no"):
        env_of(tree)


def test_a_recipe_without_env_sample_and_abra_sh_is_fine(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "bare", {"compose.yml": "services: {}"})
    env = env_of(open_tree(tmp_path / "bare", Head("tip", "a" * 40)))
    assert env.values == {"DOMAIN": "x.ci.test", "STACK_NAME": "x_ci_test"}


def test_a_compose_file_that_is_no_yaml_is_told(tree: RecipeTree) -> None:
    (tree.path / "compose.yml").write_text("a: [", encoding="utf-8")
    with pytest.raises(RecipeInvalid, match="no YAML"):
        env_of(tree)


def test_the_env_file_that_abra_reads_carries_type_and_no_stack_name(tree: RecipeTree) -> None:
    values = env_file(env_of(tree), recipe="notes", version="1.0.0+4.8.1")
    assert parse_env(write_env(values)).values == values
    assert values["TYPE"] == "notes:1.0.0+4.8.1"
    assert "STACK_NAME" not in values


# --- secrets


CONFIG: dict[str, Any] = {
    "services": {"app": {"secrets": [{"source": "db_password"}, {"source": "oidc_rpcs", "target": "oidc"}]}},
    "secrets": {
        "db_password": {"external": True, "name": "x_ci_test_db_password_v1"},
        "oidc_rpcs": {"external": True, "name": "x_ci_test_rpcs_v3"},
        "unused": {"external": True, "name": "x_ci_test_unused_v1"},
        "from_file": {"file": "/x", "name": "y"},
    },
}


def test_secrets_are_found_by_the_name_docker_resolved(tree: RecipeTree) -> None:
    first, second = needed(CONFIG, env_of(tree))
    assert (first.name, first.key, first.short) == ("x_ci_test_db_password_v1", "db_password", "db_password")
    assert first.spec == SecretSpec("SECRET_DB_PASSWORD_VERSION", 40, "hex")
    # Key, remote name and variable all differ here, as in real recipes.
    assert (second.key, second.short, second.spec.variable) == ("oidc_rpcs", "rpcs", "SECRET_OIDC_RPCS_VERSION")
    assert not second.spec.generate


SAMPLE_OFF = """
SECRET_DB_PASSWORD_VERSION=v1
#SECRET_DB_PASSWORD_VERSION=v2 # length=7
# Set X=1 # length=9, or not
#  SECRET_SMTP_PASSWORD_VERSION=v1 # length=12 charset=hex
## JWT=v4      # length=20 generate=false
PIN=v1 # length=4
"""


@pytest.mark.parametrize(
    ("name", "overrides", "spec"),
    [
        ("smtp_${SECRET_SMTP_PASSWORD_VERSION}", {"SECRET_SMTP_PASSWORD_VERSION": "v3"}, (12, "hex", True)),
        ("smtp_${SECRET_SMTP_PASSWORD_VERSION:-v1}", {}, (12, "hex", True)),
        ("jwt_${JWT}", {"JWT": "v4"}, (20, "default", False)),
        ("pin_${PIN}", {}, (4, "default", True)),
        ("${PIN}_of_${OTHER}", {"OTHER": "v1"}, (4, "default", True)),
        ("db_${SECRET_DB_PASSWORD_VERSION}", {}, (None, "default", True)),
        ("no_${X:-v1}", {}, (None, "default", True)),
    ],
    ids=["switched on", "by default", "any variable", "any name", "any of several", "a line that is on", "prose"],
)
def test_a_secret_is_made_as_the_comment_of_its_variable_says_also_where_the_line_is_off(
    tree: RecipeTree, write: Write, name: str, overrides: dict[str, str], spec: tuple[int | None, str, bool]
) -> None:
    compose = f'secrets: {{s: {{external: true, name: "${{STACK_NAME}}_{name}"}}}}'
    write(tree.path, {".env.sample": SAMPLE_OFF, "compose.yml": compose})
    config = {
        "services": {"app": {"secrets": ["s"]}},
        "secrets": {"s": {"external": True, "name": "x_ci_test_s_v1"}},
    }
    (found,) = needed(config, env_of(RecipeTree(tree.path, tree.head), **overrides))
    assert (found.spec.length, found.spec.charset, found.spec.generate) == spec


def test_a_variable_that_is_off_is_no_variable_of_the_app(tree: RecipeTree, write: Write) -> None:
    write(tree.path, {".env.sample": SAMPLE_OFF})
    assert "JWT" not in env_of(RecipeTree(tree.path, tree.head)).values


@pytest.mark.parametrize(
    ("rule", "spec"),
    [
        (SecretRule(length=9), (9, "hex", True)),
        (SecretRule(charset="safespecial"), (40, "safespecial", True)),
        (SecretRule(generate=True), (40, "hex", True)),
    ],
)
def test_recipe_toml_says_how_a_secret_is_made_and_what_it_does_not_say_is_the_recipes(
    rule: SecretRule, spec: tuple[int, str, bool]
) -> None:
    said = SecretSpec("SECRET_KEY_VERSION", 40, "hex", generate=False)
    (found,) = ruled([NeededSecret("x_key_v1", "app_key", "key", said)], {"key": rule})
    assert (found.spec.length, found.spec.charset, found.spec.generate) == spec
    (by_key,) = ruled([NeededSecret("x_key_v1", "app_key", "key", said)], {"app_key": rule})
    assert by_key == found


def test_a_rule_for_no_secret_of_the_recipe_names_the_nearest(tree: RecipeTree) -> None:
    with pytest.raises(RecipeTomlError, match="did you mean 'db_password'"):
        choose(needed(CONFIG, env_of(tree)), {"rpcs": "x"}, rules={"db_pasword": SecretRule(length=3)})


def test_recipe_toml_and_the_recipes_comments_know_the_same_charsets() -> None:
    assert set(get_args(Charset)) == set(CHARSETS)


@pytest.mark.parametrize("name", ["oidc_rpcs", "rpcs"])
def test_given_secrets_are_used_and_the_others_generated(tree: RecipeTree, name: str) -> None:
    values = choose(needed(CONFIG, env_of(tree)), {name: "given"})
    assert values["x_ci_test_rpcs_v3"] == "given"
    assert len(values["x_ci_test_db_password_v1"]) == 40


def test_a_secret_that_must_be_given_and_was_not_is_told_before_the_deploy(tree: RecipeTree) -> None:
    with pytest.raises(SecretMissing, match="secret not given: rpcs"):
        choose(needed(CONFIG, env_of(tree)), {})


def test_an_unknown_secret_names_the_nearest(tree: RecipeTree) -> None:
    with pytest.raises(RecipeTomlError, match="did you mean 'db_password'"):
        choose(needed(CONFIG, env_of(tree)), {"db_pasword": "hunter2", "rpcs": "x"})


@pytest.mark.parametrize("charset", sorted(CHARSETS))
def test_a_secret_has_the_length_and_the_characters_it_should(charset: str) -> None:
    value = generate(SecretSpec("X", 400, charset))
    assert len(value) == 400
    assert set(value) <= set(CHARSETS[charset])


def test_safespecial_needs_no_quoting_from_a_shell_or_a_dollar_from_compose() -> None:
    assert "$" not in CHARSETS["safespecial"]


def test_without_length_it_is_a_passphrase() -> None:
    one, two = generate(SecretSpec("X")), generate(SecretSpec("X"))
    assert one != two
    assert len(one.split("-")) == 6


def test_an_unknown_charset_is_the_default_one() -> None:
    assert set(generate(SecretSpec("X", 200, "klingon"))) <= set(CHARSETS["default"])


def test_secrets_are_in_no_log(tree: RecipeTree, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        choose(needed(CONFIG, env_of(tree)), {"rpcs": "hunter2"})
    assert caplog.text == ""
    assert "notes" not in repr(env_of(tree, PASSWORD="notes"))


# --- notes


def test_the_notes_of_releases_that_are_passed_over_count_too(tree: RecipeTree, write: Write) -> None:
    write(
        tree.path,
        {
            "release/1.0.0+1": "first",
            "release/1.1.0+1": "second: run the migration",
            "releaseNotes/2.0.0+1.md": "third\n",
            "release/.gitkeep": "",
            "release/next": "soon",
        },
    )
    releases, _ = sort_tags(["1.0.0+1", "1.1.0+1", "1.2.0+1", "2.0.0+1"])
    passed = notes_between(tree, releases[0], releases[3], releases)
    assert [(note.version, note.text) for note in passed] == [
        ("1.1.0+1", "second: run the migration"),
        ("2.0.0+1", "third"),
    ]
    assert [note.version for note in notes_between(tree, releases[3], None, releases)] == ["next"]
    assert [note.version for note in notes_between(tree, None, releases[0], releases)] == ["1.0.0+1"]


def test_a_version_cannot_lead_out_of_the_recipe(tree: RecipeTree, write: Write) -> None:
    write(tree.path.parent, {"secret": "hunter2"})
    releases, _ = sort_tags(["1.0.0+/../../../secret"])
    (tree.path / "release/1.0.0+").mkdir(parents=True)
    assert notes_between(tree, None, releases[0], releases) == ()


# --- lint


def codes(tree: RecipeTree, raw: dict[str, Any], env: AppEnv | None = None) -> dict[str, str]:
    found = lint(compose_facts(raw), tree, env or AppEnv({}, ()))
    return {finding.code: finding.level.value for finding in found}


GOOD = {
    "image": "notes:1",
    "healthcheck": {"test": ["CMD", "true"]},
    "deploy": {"labels": {"coop-cloud.x.version": "1.0.0+1"}},
}


def test_a_sound_recipe_has_no_findings(tree: RecipeTree) -> None:
    assert codes(tree, {"services": {"app": GOOD}}) == {}


@pytest.mark.parametrize(
    ("service", "code", "level"),
    [
        ({"deploy": {"update_config": {"order": "start-first"}}, "volumes": ["d:/d"]}, "start-first-volume", "error"),
        (
            {
                "deploy": {"update_config": {"order": "start-first"}},
                "ports": [{"mode": "host", "target": 1, "published": 1}],
            },
            "start-first-port",
            "error",
        ),
        ({"healthcheck": None}, "no-healthcheck", "warning"),
        ({"healthcheck": {"disable": True}}, "no-healthcheck", "warning"),
        ({"image": "notes"}, "moving-image", "warning"),
        ({"image": "registry.example:5000/x/notes:latest"}, "moving-image", "warning"),
        ({"deploy": {}}, "no-version-label", "warning"),
        ({"volumes": ["/srv:/srv"]}, "uncovered", "warning"),
        (
            {"deploy": {"labels": ["backupbot.backup=true", "backupbot.backup.volumes.x=false"]}},
            "backup-volume",
            "warning",
        ),
        ({"labels": {"org.${STACK_NAME}.about": "x"}}, "label-name-variable", "error"),
        ({"deploy": {"labels": {"traefik.http.routers.$STACK_NAME.tls": "true"}}}, "label-name-variable", "error"),
    ],
)
def test_each_risk_is_found(tree: RecipeTree, service: dict[str, Any], code: str, level: str) -> None:
    assert codes(tree, {"services": {"app": GOOD | service}})[code] == level


@pytest.mark.parametrize(
    "service",
    [
        {"deploy": {"update_config": {"order": "start-first"}}, "volumes": ["d:/d:ro"]},
        {"volumes": ["d:/d"]},
        {"image": "registry.example:5000/x/notes:1.2"},
        {"image": "notes@sha256:" + "a" * 64},
        {"image": "notes:latest@sha256:" + "a" * 64},
        {"labels": {"price": "5$ or ${X}", "costs.in.$": "1"}},
    ],
)
def test_what_is_no_risk_is_not_found(tree: RecipeTree, service: dict[str, Any]) -> None:
    found = codes(tree, {"services": {"app": GOOD | service}})
    risks = {"start-first-volume", "start-first-port", "moving-image", "uncovered", "label-name-variable"}
    assert not risks & set(found)


def test_an_alias_on_a_network_of_all_apps_is_found(tree: RecipeTree) -> None:
    networks = {"proxy": {"external": True}, "inner": {}}
    service = GOOD | {"networks": {"proxy": {"aliases": ["mail"]}, "inner": {"aliases": ["db"]}}}
    found = lint(compose_facts({"services": {"app": service}, "networks": networks}), tree, AppEnv({}, ()))
    assert [(each.code, each.where, "mail" in each.text) for each in found] == [("shared-alias", "app", True)]


def test_what_is_reached_by_the_stacks_name_or_is_disposable_is_not_told_again(tree: RecipeTree) -> None:
    service = GOOD | {"environment": {"DB_HOST": "x_db:5432", "REDIS_HOST": "far"}, "volumes": ["/a:/b"]}
    facts = compose_facts({"services": {"app": service, "db": GOOD}})
    waived = (Disposable(host="far", reason="a cache"), Disposable(path="/b", reason="logs"))
    found = lint(facts, tree, AppEnv({}, ()), disposable=waived, stack="x")
    assert [finding.code for finding in found] == []
    assert {finding.where for finding in lint(facts, tree, AppEnv({}, ()))} == {
        "app:DB_HOST",
        "app:REDIS_HOST",
        "app:/b",
    }


def test_a_version_label_on_another_service_is_tolerated(tree: RecipeTree) -> None:
    services = {"app": GOOD | {"deploy": {}}, "web": GOOD}
    assert "no-version-label" not in codes(tree, {"services": services})


def test_an_unset_version_variable_is_seen_by_the_name_that_ends_in_an_underscore(tree: RecipeTree) -> None:
    raw = {"services": {"app": GOOD}, "secrets": {"a": {"external": True, "name": "x_a_"}}}
    assert codes(tree, raw)["empty-version"] == "error"


def test_a_config_file_that_is_not_there_is_found(tree: RecipeTree) -> None:
    raw = {"services": {"app": GOOD}, "configs": {"a": {"file": str(tree.path / "gone"), "name": "x_a_v1"}}}
    assert codes(tree, raw)["missing-file"] == "error"


def test_a_duration_from_a_variable_is_found(tree: RecipeTree) -> None:
    text = "services:\n  app:\n    healthcheck:\n      interval: ${INTERVAL:-5s}\n      timeout: 5s # ${X}\n"
    (tree.path / "compose.yml").write_text(text, encoding="utf-8")
    found = lint(compose_facts({"services": {"app": GOOD}}), tree, env_of(tree))
    assert [finding.text.split()[0] for finding in found] == ["interval"]


def test_lightweight_tags_and_unknown_charsets_are_found(tree: RecipeTree) -> None:
    light = RecipeTree(tree.path, Head("x", "a" * 40, version="1.0.0+1", lightweight=True))
    env = AppEnv({}, (), (SecretSpec("SECRET_X_VERSION", 8, "klingon"),), {"x": ("SECRET_X_VERSION",)})
    assert set(codes(light, {"services": {"app": GOOD}}, env)) == {"lightweight-tag", "unknown-charset"}


def test_errors_come_first(tree: RecipeTree) -> None:
    raw = {"services": {"web": {}}, "secrets": {"a": {"external": True, "name": "x_a_"}}}
    assert lint(compose_facts(raw), tree, AppEnv({}, ()))[0].level is Level.ERROR


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [("x_c_v1", "two", ["config-not-bumped"]), ("x_c_v2", "two", []), ("x_c_v1", "one", [])],
)
def test_changed_config_content_wants_a_new_version(
    tmp_path: Path, write: Write, name: str, content: str, expected: list[str]
) -> None:
    write(tmp_path, {"base/c": "one", "head/c": content})

    def side(folder: str, config: str) -> Any:
        raw = yaml.safe_load(f"configs: {{c: {{name: {config}, file: {tmp_path}/{folder}/c}}}}")
        return compose_facts(raw), RecipeTree(tmp_path / folder, Head("x", "a" * 40))

    found = changed_configs(side("base", "x_c_v1"), side("head", name))
    assert [finding.code for finding in found] == expected


@pytest.mark.parametrize(
    "code", ["config-not-bumped", "secret-not-bumped", "missing-file", "empty-version", "undeclared"]
)
def test_what_docker_would_refuse_half_way_is_refused_before_in_words_that_help(code: str) -> None:
    findings = [Finding(Level.ERROR, code, "x_c_v1", "bump its version"), Finding(Level.WARN, "no-app", "x", "fine")]
    with pytest.raises(RecipeInvalid, match="cannot be deployed as it is written") as caught:
        refuse(findings, where="notes 1.1.0+1")
    assert caught.value.seen == "x_c_v1: bump its version"


@pytest.mark.parametrize("code", ["start-first-volume", "start-first-port", "moving-image", "no-healthcheck"])
def test_what_is_risky_or_overridden_is_told_and_deployed_all_the_same(code: str) -> None:
    refuse([Finding(Level.ERROR, code, "db", "use stop-first")], where="notes 1.1.0+1")


SAMPLE = r"""
TYPE=notes
DOMAIN=notes.example.com
## Domain aliases más tarde
#EXTRA_DOMAINS=', `www.notes.example.com`'
LETS_ENCRYPT_ENV=production
RULE='Host(`a.example`), Host(`b.example`)'

COMPOSE_FILE="compose.yml"
COMPOSE_FILE="$COMPOSE_FILE:compose.smtp.yml"
#COMPOSE_FILE="$COMPOSE_FILE:compose.oidc.yml"
URL=https://$DOMAIN/path#fragment
EMPTY=
BLANKS=  spaced out      # a comment
QUOTED="with # hash" # and a comment
PASS='p#a$s'
SECRET_DB_PASSWORD_VERSION=v1            # length=64 charset=hex
SECRET_GIVEN_VERSION=v2 # generate=false
SECRET_PHRASE_VERSION=v1
SECRET_ODD_VERSION=v1 # length=x charset=SafeSpecial
LATER=1
LATER=2
not a line
"""


def test_the_dialect_of_real_recipes_is_read() -> None:
    values = parse_env(SAMPLE).values
    assert values["COMPOSE_FILE"] == "compose.yml:compose.smtp.yml"
    assert values["RULE"] == "Host(`a.example`), Host(`b.example`)"
    assert values["URL"] == "https://notes.example.com/path#fragment"
    assert values["EMPTY"] == ""
    assert values["BLANKS"] == "spaced out"
    assert values["QUOTED"] == "with # hash"
    assert values["PASS"] == "p#a$s"
    assert values["LATER"] == "2"
    assert values["SECRET_DB_PASSWORD_VERSION"] == "v1"
    assert "EXTRA_DOMAINS" not in values
    assert "not a line" not in values


def test_secrets_are_made_as_their_comments_say() -> None:
    assert parse_env(SAMPLE).secrets == (
        SecretSpec("SECRET_DB_PASSWORD_VERSION", 64, "hex"),
        SecretSpec("SECRET_GIVEN_VERSION", None, "default", generate=False),
        SecretSpec("SECRET_PHRASE_VERSION"),
        SecretSpec("SECRET_ODD_VERSION", None, "safespecial"),
    )


def test_what_is_given_wins_also_in_references() -> None:
    values = parse_env(SAMPLE, given={"DOMAIN": "x.ci.test", "NEW": "1"}).values
    assert values["URL"] == "https://x.ci.test/path#fragment"
    assert values["NEW"] == "1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=b=c", "b=c"),
        ("A = b", "b"),
        ("A='it''s'", "it"),
        ('A="say \\"hi\\""', 'say "hi"'),
        ("A=${B}", ""),
        ("A=\\$B", "$B"),
        ("A=#nothing", ""),
        ("\ufeffA=1", "1"),
        ("A=1\r", "1"),
    ],
)
def test_single_lines(text: str, expected: str) -> None:
    assert parse_env(text).values["A"] == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A='one\ntwo'", "one\ntwo"),
        ('A="one\n\n  # three $B\n" # said so\nC=1', "one\n\n  # three b\n"),
        ('A="one \\"two\\"\nthree"', 'one "two"\nthree'),
        ("A='one\r\n$B=\"2\"\r\n'\r\nC=1", 'one\n$B="2"\n'),
        ("A = \t'\nB=2\n'  ", "\nB=2\n"),
        ("A='one\u2028two\x85three'", "one\u2028two\x85three"),
    ],
    ids=["single", "double with comment", "escaped", "CRLF", "an assignment inside", "other breaks"],
)
def test_a_quoted_value_goes_on_to_its_closing_quote(text: str, value: str) -> None:
    values = parse_env(f"B=b\n{text}").values
    assert values["A"] == value
    assert values["B"] == "b"
    assert values.get("C", "1") == "1"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("B=1\nA='unclosed", 2, "the quote with which the value of A begins is never closed"),
        ('A="unclosed\nB=1\n', 1, "the quote with which the value of A begins is never closed"),
        (
            'A="one\nB="two"\n',
            1,
            "the quote with which the value of A begins closes in line 2, and more stands behind it",
        ),
        ("A='it\n# don't\n", 1, "closes in line 2"),
    ],
)
def test_a_quote_that_is_not_closed_where_it_should_be_is_refused_with_its_line(
    text: str, line: int, says: str
) -> None:
    with pytest.raises(RecipeInvalid, match=says) as caught:
        parse_env(text)
    assert caught.value.where == f".env.sample:{line}"


def test_a_quote_in_a_line_that_is_off_or_no_assignment_opens_nothing() -> None:
    assert parse_env("# it's\n#A='one\nit's=no line\nB=don't\n").values == {"B": "don't"}


@given(st.text())
def test_no_text_crashes_the_reader(text: str) -> None:
    with contextlib.suppress(RecipeInvalid):
        parse_env(text)
    parse_exports(text)


_NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,10}", fullmatch=True)


@given(st.dictionaries(_NAMES, st.text()))
def test_what_is_written_reads_back(values: dict[str, str]) -> None:
    try:
        text = write_env(values)
    except ValueError:
        return
    assert dict(parse_env(text).values) == values


def test_exports_are_read_and_nothing_is_executed() -> None:
    text = """#!/bin/bash
export APP_CONF_VERSION=v3 DB_CONF_VERSION="v2" # both
export NGINX='v 1'
export REF=$APP_CONF_VERSION-x
export BAD=$(touch /tmp/pwned)
export WORSE=`id`
export DEFAULTED=${X:-y}
export LAST=v9; rm -rf /
NOT_EXPORTED=1
install() {
  export INNER=1
}
"""
    assert parse_exports(text) == {
        "APP_CONF_VERSION": "v3",
        "DB_CONF_VERSION": "v2",
        "NGINX": "v 1",
        "REF": "v3-x",
        "LAST": "v9",
    }


@given(st.dictionaries(_NAMES, st.from_regex(r"[A-Za-z0-9_./:-]{0,12}", fullmatch=True), min_size=1))
def test_plain_exports_read_back(values: dict[str, str]) -> None:
    lines = "\n".join(f"export {name}={value}" for name, value in values.items())
    assert parse_exports(lines) == values
    assert parse_exports("export " + re.sub(r"\nexport ", " ", lines.removeprefix("export "))) == values


class Realm:
    issuer = "https://keycloak.ci.test/realms/x"
    _private = "s3cret"


def test_a_template_sees_its_context() -> None:
    assert render("{{ realm.issuer }}/certs", {"realm": Realm()}) == "https://keycloak.ci.test/realms/x/certs"
    assert render("plain ${HOME} $x", {}) == "plain ${HOME} $x"


@pytest.mark.parametrize("text", ["{{ relm.issuer }}", "{{ realm.isuer }}", "{{ realm", "{% for %}", "{{ 1 / 0 }}"])
def test_what_cannot_be_rendered_names_key_and_file(text: str) -> None:
    with pytest.raises(RecipeTomlError) as caught:
        render_all({"OIDC": text}, {"realm": Realm()}, where="notes/recipe.toml [env]")
    assert "notes/recipe.toml [env], key OIDC" in str(caught.value)
    assert "known names: realm" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{{ realm.__class__.__mro__ }}",
        "{{ realm._private }}",
        "{{ ''.__class__.__subclasses__() }}",
        "{{ [].append(1) }}",
    ],
)
def test_the_sandbox_holds(text: str) -> None:
    with pytest.raises(RecipeTomlError):
        render(text, {"realm": Realm()})
