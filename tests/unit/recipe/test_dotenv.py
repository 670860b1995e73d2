from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ccci.recipe.dotenv import SecretSpec, parse_env, parse_exports, write_env

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
        ("A='unclosed", "'unclosed"),
        ("A=#nothing", ""),
        ("\ufeffA=1", "1"),
        ("A=1\r", "1"),
    ],
)
def test_single_lines(text: str, expected: str) -> None:
    assert parse_env(text).values["A"] == expected


@given(st.text())
def test_no_text_crashes_the_reader(text: str) -> None:
    parse_env(text)
    parse_exports(text)


_NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,10}", fullmatch=True)


@given(st.dictionaries(_NAMES, st.text().filter(lambda text: len((text + "x").splitlines()) == 1)))
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
