from __future__ import annotations

import pytest

from pytest_ccci.ops.trigger.decision import Command, parse_command

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("!testme", Command()),
        ("!testme \t", Command()),
        ("!testme\r\nand more\r\n", Command()),
        ("!testme\r!testme --quick", Command()),
        ("!testme --quick", Command(mode="quick")),
        (f"!testme {SHA}", Command(commit=SHA)),
        (f"!testme {SHA}\n> !testme", Command(commit=SHA)),
    ],
)
def test_three_forms_are_commands(text: str, command: Command) -> None:
    assert parse_command(text) == command


@pytest.mark.parametrize(
    "text",
    [
        "",
        "testme",
        "please !testme",
        "\n!testme",
        "> !testme",
        ">!testme",
        "    !testme",
        "\t!testme",
        " \t!testme",
        "```\n!testme\n```",
        "`!testme`",
        "<!-- !testme -->",
        "- !testme",
        "\\!testme",
        "\u200b!testme",
    ],
)
def test_what_does_not_begin_like_one_is_none(text: str) -> None:
    assert parse_command(text) is None


@pytest.mark.parametrize(
    "text",
    [
        " !testme",
        "!TestMe",
        "!testmeplease",
        "!testme  --quick",
        "!testme --quick --quick",
        f"!testme --quick {SHA}",
        f"!testme {SHA} --quick",
        "!testme --Quick",
        "!testme -- quick",
        "!testme --reach",
        "!testme $(id)",
        "!testme; id",
        "!testme\u00a0--quick",
        "!testme\u200b",
        "!testme\x1b[2J",
        "!testme\x0b",
        f"!testme {SHA[:12]}",
        f"!testme {SHA}0",
        f"!testme {SHA.upper()}",
        f"!testme\t{SHA}",
        "!testme " + "\u0660" * 40,
    ],
)
def test_all_else_that_begins_like_one_has_a_problem_in_words(text: str) -> None:
    command = parse_command(text)
    assert command is not None
    assert command.problem
    assert command.commit == ""
