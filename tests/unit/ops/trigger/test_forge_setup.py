"""Who may make a tag in spite of its protections; what a forge must be for `ccci doctor` is in tests/forge."""

from __future__ import annotations

import pytest

from pytest_ccci.cli import main
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.trigger.forge_setup import unprotected_tags
from pytest_ccci.ops.trigger.gitea import TagProtection, check_forge

BOT = "ccci"


def lets(rule: TagProtection) -> bool:
    return BOT in (rule.whitelist_usernames or ())


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([], "no protection covers one such as 0.1.0+1.0.0"),
        ([("*", [])], ""),
        ([("*", ["boss"])], ""),
        ([("[0-9]*", [])], ""),
        ([("/^[0-9]+\\./", [])], ""),
        ([("/.*/", None)], ""),
        ([("0.*", [])], "no protection covers one such as 12.34.56"),
        ([("v*", [])], "no protection covers"),
        ([("/[/", [])], "no protection covers"),
        ([("{*,x}", [])], "no protection covers"),
        ([("*", ["ccci"])], "the protection of * lets it"),
        ([("*", []), ("v*", ["ccci"])], "the protection of v* lets it"),
        ([("0.*", []), ("1*", [])], ""),
    ],
)
def test_a_tag_of_a_release_is_protected_or_it_is_told_why_not(
    rules: list[tuple[str, list[str] | None]], words: str
) -> None:
    told = unprotected_tags(
        [TagProtection(name_pattern=name, whitelist_usernames=users) for name, users in rules], lets
    )
    assert told.startswith(words) if words else told == ""


@pytest.mark.parametrize(
    "address", ["http://git.example.org", "git.example.org", "https://", "ftp://x.org", "https://a b"]
)
def test_a_token_is_not_sent_just_anywhere(address: str) -> None:
    with pytest.raises(UsageError):
        check_forge(address)


def test_a_forge_is_named_by_its_front_page() -> None:
    for address in ("https://git.example.org", "https://example.org/git/", "http://127.0.0.1:3000", "https://x:81"):
        check_forge(address)


def test_doctor_says_what_else_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--forge", "https://git.example.org", "--bot", "ccci"]) == 2
    assert "--token-file, --team" in capsys.readouterr().err
