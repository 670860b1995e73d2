from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ccci.errors import RecipeTomlError
from pytest_ccci.recipe.releases import parse
from pytest_ccci.recipe.spec import (
    BundledSource,
    GitSource,
    PathSource,
    SecretRule,
    describe_keys,
    json_schema,
    line_index,
    load_spec,
)

MINIMAL = '[source]\nbundled = "releases"\n'
FULL = """canonical = true
stand_in = "La Suite Docs"
[source]
git = "https://git.example.org/recipes/notes.git"
[env]
OIDC_ISSUER = "{{ realm.issuer }}"
[secrets]
oidc_client_secret = "{{ realm.client_secret }}"
[health]
path = "/up"
accept = [200, 204]
timeout = "1m30s"
[needs.keycloak]
redirect_paths = ["/oauth2/callback"]
[[sentinel]]
kind = "sql"
service = "db"
[[sentinel]]
kind = "file"
service = "app"
path = "/data/x"
[[sentinel]]
kind = "http"
path = "/api/x"
[[sentinel]]
kind = "python"
[[not_applicable]]
tier = "backup"
reason = "stateless"
[[disposable]]
volume = "cache"
reason = "a cache"
[policy]
versions = "calendar"
hold_app = "never"
"""


def written(folder: Path, text: str) -> Path:
    (folder / "notes").mkdir(exist_ok=True)
    (folder / "notes" / "recipe.toml").write_text(text, encoding="utf-8")
    return folder / "notes"


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(RecipeTomlError) as caught:
        load_spec(written(folder, text))
    return str(pickle.loads(pickle.dumps(caught.value)))  # noqa: S301  our own error, as xdist sends it


def test_everything_a_recipe_can_say_is_read(tmp_path: Path) -> None:
    spec = load_spec(written(tmp_path, FULL))
    assert spec.name == "notes"
    assert spec.canonical
    assert spec.stand_in == "La Suite Docs"
    assert spec.source == GitSource("https://git.example.org/recipes/notes.git")
    assert spec.env.at(None) == {"OIDC_ISSUER": "{{ realm.issuer }}"}
    assert (spec.health.path, spec.health.accept, spec.health.timeout) == ("/up", (200, 204), 90.0)
    assert spec.needs.keycloak is not None
    assert spec.needs.keycloak.redirect_paths == ("/oauth2/callback",)
    assert [each.kind for each in spec.sentinels] == ["sql", "file", "http", "python"]
    assert spec.waived("backup") == "stateless"
    assert spec.waived("restore") is None
    assert spec.disposable[0].volume == "cache"
    assert (spec.policy.versions, spec.policy.hold_app, spec.policy.hold_recipe) == ("calendar", "never", "major")


def test_the_least_recipe_takes_the_defaults(tmp_path: Path) -> None:
    spec = load_spec(written(tmp_path, MINIMAL) / "recipe.toml")
    assert spec.source == BundledSource((tmp_path / "notes" / "releases").resolve())
    assert (spec.health.path, spec.health.accept, spec.health.timeout) == ("/", (200, 301, 302), None)
    assert spec.needs.keycloak is None
    assert not spec.canonical


@pytest.mark.parametrize(
    "text",
    [
        'kind = "http"\nport = 9000\nservice = "api"\npath = "/up"\naccept = [204]\ntimeout = "5m"',
        'kind = "tcp"\nport = 25',
        'kind = "exec"\ncommand = ["ctl", "ping"]\nservice = "db"\ntimeout = "5m"',
        'kind = "none"\nreason = "it only runs by the clock"',
    ],
)
def test_every_kind_of_health_is_read(tmp_path: Path, text: str) -> None:
    health = load_spec(written(tmp_path, f"{MINIMAL}[health]\n{text}\n")).health
    assert f'"{health.kind}"' in text


def test_a_path_is_relative_to_the_folder(tmp_path: Path) -> None:
    spec = load_spec(written(tmp_path, '[source]\npath = "../elsewhere"\n'))
    assert spec.source == PathSource((tmp_path / "elsewhere").resolve())


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (MINIMAL + '[health]\npth = "/"\n', 4, "unknown key 'pth' in [health]; did you mean 'path'?"),
        (
            "cannonical = true\n" + MINIMAL,
            1,
            "unknown key 'cannonical' in the file's top level; did you mean 'canonical'?",
        ),
        (
            MINIMAL
            + '[[sentinel]]\nkind = "sql"\nservice = "db"\n[[sentinel]]\nkind = "sql"\nservice = "db"\nusr = "x"\n',
            9,
            "did you mean 'user'?",
        ),
        (MINIMAL + '[[sentinel]]\nkind = "sqlite"\n', 3, "kind must be one of 'file', 'sql', 'http', 'python'"),
        (MINIMAL + "[[sentinel]]\nservice = 'x'\n", 3, "'kind' is missing: one of 'file', 'sql', 'http', 'python'"),
        (MINIMAL + '[[sentinel]]\nkind = "sql"\n', 3, "key 'service' is missing"),
        (MINIMAL + '[health]\ntimeout = "5 minutes"\n', 4, "no duration"),
        (MINIMAL + "[health]\ntimeout = 5\n", 4, "write a duration in quotes"),
        (MINIMAL + "[health]\n\naccept = [200,\n  999]\n", 5, "no HTTP status"),
        (MINIMAL + '[health]\npath = "up"\n', 4, "slash"),
        (MINIMAL + '[health]\nkind = "udp"\n', 4, "kind: input should be 'http', 'tcp', 'exec' or 'none'"),
        (MINIMAL + '[health]\nkind = "tcp"\n', 3, "kind 'tcp' needs port"),
        (MINIMAL + '[health]\nkind = "tcp"\nport = 70000\n', 5, "65535"),
        (MINIMAL + '[health]\nkind = "tcp"\nport = 25\npath = "/"\n', 3, "kind 'tcp' has no path"),
        (MINIMAL + '[health]\nkind = "exec"\n', 3, "kind 'exec' needs command"),
        (MINIMAL + '[health]\nkind = "exec"\ncommand = "ctl ping"\n', 5, "must be a list"),
        (MINIMAL + '[health]\nkind = "none"\n', 3, "kind 'none' needs reason"),
        (MINIMAL + '[health]\nkind = "none"\nreason = "x"\nport = 1\n', 3, "kind 'none' has no port"),
        (MINIMAL + '[health]\ncommand = ["x"]\n', 3, "kind 'http' has no command"),
        (MINIMAL + '[health]\nservice = "api"\n', 3, "service goes with port"),
        ('canonical = "yes"\n' + MINIMAL, 1, "must be true or false"),
        (MINIMAL + "[env]\nPORT = 80\n", 4, "must be a string"),
        (MINIMAL + '[env]\n"A B" = "x"\n', 3, "no name of a variable"),
        (MINIMAL + '[env]\nA = "x"\n[env.from."2.0.0+1"]\nB = "y"\n"A B" = "x"\n', 5, "no name of a variable"),
        (MINIMAL + '[env.from."2.0.0+1"]\nPORT = 80\n', 4, '[env.from."2.0.0+1"] PORT: must be a string'),
        (MINIMAL + '[env]\nA = "x"\n[env.from.two]\nB = "y"\n', 5, "[env.from] two: is no version: write a release"),
        (MINIMAL + '[env.from.2.0.0]\nB = "y"\n', 3, '[env.from."2.0.0+4.8.1"], in quotes, or "unreleased"'),
        (MINIMAL + '[env.from.2.0.0+1]\nB = "y"\n', 3, "write a version in quotes"),
        (MINIMAL + '[env.before.unreleased]\nB = "y"\n', 3, "put it into [env.before"),
        (MINIMAL + '[env.form."2.0.0+1"]\nB = "y"\n', 3, "[env] form: is a table; did you mean [env.from]?"),
        (MINIMAL + '[env]\nfrom = "x"\n', 4, "[env] from: must be a table"),
        (
            MINIMAL + "[secrets]\nkey = { lenght = 3 }\n",
            4,
            "unknown key 'lenght' in [secrets.key]; did you mean 'length'?",
        ),
        (MINIMAL + "[secrets]\nkey = { length = 0 }\n", 4, "[secrets.key] length: input should be greater"),
        (MINIMAL + "[secrets.key]\nlength = 3\ncharset = 'x'\n", 5, "[secrets.key] charset: input should be 'default'"),
        (MINIMAL + "[secrets]\nkey = { generate = false }\n", 4, "give its value, as a string"),
        (MINIMAL + "[secrets]\nkey = {}\n", 4, "[secrets] key: give at least one of length, charset, generate"),
        (
            MINIMAL + '[secrets.from."2.0.0"]\nmade = { length = "3" }\n',
            4,
            '[secrets.from."2.0.0".made] length: must be a whole number',
        ),
        (
            MINIMAL + '[secrets.form."2.0.0+1"]\nkey = "x"\n',
            3,
            "[secrets] form: is a table; did you mean [secrets.from]?",
        ),
        (MINIMAL + '[secrets.from."2.0.0+1"]\nkey = 1\n', 4, '[secrets.from."2.0.0+1"] key: must be a string'),
        (MINIMAL + '[[not_applicable]]\ntier = "backup"\nreason = " "\n', 5, "must not be empty"),
        (MINIMAL + '[[not_applicable]]\ntier = "backup"\n', 3, "'reason' is missing"),
        (MINIMAL + '[[not_applicable]]\ntier = "install"\nreason = "x"\n', 4, "always applies"),
        (MINIMAL + '[[not_applicable]]\ntier = "settle"\nreason = "x"\n', 4, "always applies"),
        (MINIMAL + '[[disposable]]\nreason = "x"\n', 3, "exactly one of volume, path"),
        (MINIMAL + "[needs.keycloak]\nredirect_paths = []\n", 4, "must not be empty"),
        (MINIMAL + '[needs]\nkeycloak = "yes"\n', 4, "must be a table"),
        ('[source]\ngit = "x"\npath = "y"\n', 1, "exactly one of git, path, bundled"),
        ("[source]\n", 1, "exactly one of git, path, bundled"),
        ('[source]\ngit = "--upload-pack=touch /tmp/x"\n', 2, "hyphen"),
        ("canonical = true\n", 1, "'source' is missing"),
        ("a = 1\nb = = 2\n", 2, "no TOML"),
        (f"keep = {'9' * 5000}\n", 1, "no TOML"),
        (f"a = 1\nkeep = {'[' * 5000}\n", 2, "no TOML"),
        ("", 1, "'source' is missing"),
    ],
)
def test_each_fault_is_one_clear_message_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    message = refusal(tmp_path, text)
    assert f"notes/recipe.toml:{line}: " in message
    assert says in message


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, MINIMAL + "[health]\npth = 1\naccept = 3\n")
    assert "'pth'" in message
    assert "line 5" in message


def test_values_are_not_repeated_because_they_may_be_secrets(tmp_path: Path) -> None:
    assert "hunter2" not in refusal(tmp_path, MINIMAL + "[secrets]\nx = ['hunter2']\n")


def test_bundled_releases_lie_inside_the_folder(tmp_path: Path) -> None:
    assert "outside" in refusal(tmp_path, '[source]\nbundled = "../../etc"\n')


def test_a_missing_file_says_where(tmp_path: Path) -> None:
    with pytest.raises(RecipeTomlError, match="there is no recipe"):
        load_spec(tmp_path)


def test_a_folder_that_is_no_host_name_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "My Recipe"
    folder.mkdir()
    (folder / "recipe.toml").write_text(MINIMAL, encoding="utf-8")
    with pytest.raises(RecipeTomlError, match="cannot be a recipe's name"):
        load_spec(folder)


def test_every_key_is_described() -> None:
    keys = describe_keys()
    assert {"canonical", "source.git", "health.timeout", "sentinel[](sql).database"} <= {key.name for key in keys}
    assert [key.name for key in keys if not key.help or not key.type] == []
    assert json_schema()["additionalProperties"] is False


@given(st.text())
def test_no_text_crashes_the_line_index(text: str) -> None:
    assert all(line >= 1 for line in line_index(text).values())


def test_lines_inside_multi_line_strings_are_no_keys() -> None:
    index = line_index('a = """\nb = 1\n[c]\n"""\nd = 2\n')
    assert index == {("a",): 1, ("d",): 5}


def test_two_sentinels_that_are_the_same_datum_are_refused(tmp_path: Path) -> None:
    twice = '[[sentinel]]\nkind = "sql"\nservice = "db"\n[[sentinel]]\nkind = "sql"\nservice = "db"\nuser = "docs"\n'
    assert "two sentinels are the same datum (sql db postgres)" in refusal(tmp_path, MINIMAL + twice)
    named = '[[sentinel]]\nkind = "python"\n[[sentinel]]\nkind = "python"\nname = "a mail"\n'
    assert len(load_spec(written(tmp_path, MINIMAL + named)).sentinels) == 2


@pytest.mark.parametrize(("said", "seen"), [("0", "must be 1 or more"), ("-2", "must be 1"), ("true", "whole number")])
def test_at_least_one_known_good_is_kept(tmp_path: Path, said: str, seen: str) -> None:
    assert load_spec(written(tmp_path, f"keep = 3\n{MINIMAL}")).keep == 3
    assert load_spec(written(tmp_path, MINIMAL)).keep == 1
    assert seen in refusal(tmp_path, f"keep = {said}\n{MINIMAL}")


RANGED = (
    MINIMAL
    + """[env]
A = "always"
B = "always"
[env.before."2.0.0+1"]
B = "before 2.0.0+1"
OLD = "1"
[env.from."1.1.0"]
C = "from 1.1.0"
D = "from 1.1.0"
[env.from."2.0.0+3.1"]
A = "from 2.0.0+3.1"
D = "from 2.0.0+3.1"
[env.from.unreleased]
D = "unreleased"
[secrets]
key = "a"
[secrets.from."2.0.0"]
token = "b"
"""
)


@pytest.mark.parametrize(
    ("version", "env", "secrets"),
    [
        ("1.0.0+9", {"A": "always", "B": "before 2.0.0+1", "OLD": "1"}, {"key": "a"}),
        (
            "1.1.0+0.1-rc1",
            {"A": "always", "B": "before 2.0.0+1", "OLD": "1", "C": "from 1.1.0", "D": "from 1.1.0"},
            {"key": "a"},
        ),
        ("2.0.0+1", {"A": "always", "B": "always", "C": "from 1.1.0", "D": "from 1.1.0"}, {"key": "a", "token": "b"}),
        (
            "2.0.0+3.1",
            {"A": "from 2.0.0+3.1", "B": "always", "C": "from 1.1.0", "D": "from 2.0.0+3.1"},
            {"key": "a", "token": "b"},
        ),
        (
            "",
            {"A": "from 2.0.0+3.1", "B": "always", "C": "from 1.1.0", "D": "unreleased"},
            {"key": "a", "token": "b"},
        ),
    ],
    ids=["older", "all of a recipe version", "the bound is not before", "the bound is from", "unreleased"],
)
def test_a_version_has_the_values_that_hold_for_it(
    tmp_path: Path, version: str, env: dict[str, str], secrets: dict[str, str]
) -> None:
    spec = load_spec(written(tmp_path, RANGED))
    assert spec.env.at(parse(version)) == env
    assert spec.secrets.at(parse(version)) == secrets


def test_the_place_of_a_value_is_the_table_that_it_is_taken_from(tmp_path: Path) -> None:
    spec = load_spec(written(tmp_path, RANGED))
    place = spec.env.places(parse("2.0.0+3.1"))
    assert (place["A"], place["B"]) == (("env", "from", "2.0.0+3.1", "A"), ("env", "B"))
    assert spec.env.places(None)["D"] == ("env", "from", "unreleased", "D")


def test_a_secret_is_given_or_it_is_said_how_it_is_made(tmp_path: Path) -> None:
    text = '[secrets]\na = "x"\nb = { length = 3 }\n[secrets.from."2.0.0"]\na = { charset = "hex" }\n'
    spec = load_spec(written(tmp_path, MINIMAL + text))
    old, new = parse("1.0.0+1"), parse("2.0.0+1")
    assert (spec.given_secrets(old), spec.given_secrets(new)) == ({"a": "x"}, {})
    assert (spec.secret_rules(old), spec.secret_rules(new)) == (
        {"b": SecretRule(length=3)},
        {"a": SecretRule(charset="hex"), "b": SecretRule(length=3)},
    )


def test_no_value_of_a_secret_is_shown(tmp_path: Path) -> None:
    text = MINIMAL + '[secrets]\na = "hunter2"\n[secrets.from.unreleased]\na = "hunter3"\n'
    assert "hunter" not in repr(load_spec(written(tmp_path, text)))
