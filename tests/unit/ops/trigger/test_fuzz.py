"""Whatever comes, nothing runs but an exact command of a member; nothing crashes, and no answer steers a terminal.

The suite plays some hundred of each kind; ``CCCI_FUZZ=100000`` plays as many in all, and prints the count.
"""

from __future__ import annotations

import builtins
import copy
import hashlib
import hmac
import itertools
import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NoReturn
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from pytest_ccci.errors import Refused
from pytest_ccci.ops.trigger.decision import CommentFacts, Known, answer, decide, parse_command
from pytest_ccci.ops.trigger.delivery import Delivery, read_delivery, read_request

LONG = int(os.environ.get("CCCI_FUZZ", "0"))
SECRET = b"shared-by-forge-and-trigger"
GITEA: dict[str, Any] = json.loads((Path(__file__).parent / "gitea_comment.json").read_text(encoding="utf-8"))
SHA = "a" * 40
EXACT = re.compile(r"!testme(?: --quick| [0-9a-f]{40})?[ \t]*(?:[\r\n].*)?", re.DOTALL | re.ASCII)
PIECES = (
    *(
        "!testme",
        "!testme",
        "!testme",
        " ",
        " ",
        "  ",
        "\t",
        "\n",
        "\r\n",
        "--quick",
        " --quick",
        "--reach",
        SHA,
        f" {SHA}",
    ),
    *(
        SHA[:12],
        SHA.upper(),
        "a",
        "0",
        ">",
        "`",
        "```",
        "    ",
        "$(touch /tmp/x)",
        ";id",
        "`id`",
        "|sh",
        "&&",
        "../../etc",
    ),
    *(
        "/",
        "\\",
        "%2e%2e",
        "\x00",
        "\x1b[2J",
        "\x1b]0;x\x07",
        "\x9b1m",
        "\u202e",
        "\u200b",
        "\u00a0",
        "\ufeff",
        "\u2028",
    ),
    *("\ud800", "é", "\u0660", "<!--", "-->", "@ada", "![x](y)", "{{ x }}", "${X}", "'", '"', "!", "-", "é" * 50),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 1.5, float("inf"), "", "open", "closed", "created"),
    *("edited", "deleted", "ccci", "ada", "../..", "coop/notes", "coop/../x", [], {}, [[]], {"id": 1}, "1001", SHA),
)
EVENTS = (*["issue_comment"] * 20, "pull_request_comment", "push", "", "\x1b[2J")


def text(random: Random) -> str:
    head = "!testme" if random.random() < 0.7 else ""
    return head + "".join(random.choices(PIECES, k=random.randrange(4 if head else 7)))


def payload(random: Random) -> bytes:
    """A delivery's body with some values changed, removed or added; now and then broken as a text."""
    sent = json.loads(json.dumps(GITEA))
    sent["comment"]["body"] = text(random)
    for _ in range(random.choice((0, 0, 0, 1, 1, 2, 5))):
        table = sent
        while True:
            key = random.choice([*table, "else"])
            if isinstance(table.get(key), dict) and random.random() < 0.7:
                table = table[key]
                continue
            break
        if random.random() < 0.2:
            table.pop(key, None)
        else:
            table[key] = copy.deepcopy(random.choice((*VALUES, text(random))))
    body = json.dumps(sent).encode("utf-8", "surrogatepass")
    luck = random.random()
    if luck < 0.03:
        at = random.randrange(len(body))
        return body[:at] + random.randbytes(random.randrange(4)) + body[at + random.randrange(4) :]
    if luck < 0.04:
        return random.choice((b"", b"null", b"[" * 5000, b'{"a":' * 5000, b"\xff\xfe", random.randbytes(30)))
    return body


def delivery(random: Random) -> Delivery:
    body = payload(random)
    tag = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    rows = [("content-type", "application/json"), ("x-gitea-signature", tag), ("x-gitea-event", random.choice(EVENTS))]
    if random.random() < 0.1:
        more = ("x-forgejo-signature", "x-hub-signature-256", "x-github-event", "x-forgejo-event", "x-gitea-signature")
        rows.append((random.choice(more), random.choice((tag, f"sha256={tag}", "issue_comment", text(random)))))
    return Delivery(tuple(row for row in rows if random.random() < 0.99), body)


def request(random: Random) -> bytes:
    sent = delivery(random)
    rows = "".join(f"{name}: {value}\r\n" for name, value in sent.headers).encode("utf-8", "surrogatepass")
    raw = rows + random.choice((b"\r\n", b"\n", b"")) + sent.body
    return raw if random.random() < 0.7 else raw[: random.randrange(len(raw) + 1)]


@contextmanager
def no_effects() -> Iterator[None]:
    """Whoever opens a file, starts a program or connects fails the test."""

    def caught(*words: object, **_more: object) -> NoReturn:
        raise AssertionError(f"an effect: {words!r}")

    with (
        mock.patch.object(builtins, "open", caught),
        mock.patch.object(os, "open", caught),
        mock.patch.object(os, "system", caught),
        mock.patch.object(subprocess, "Popen", caught),
        mock.patch.object(socket.socket, "connect", caught),
    ):
        yield


def decided(random: Random, facts: CommentFacts) -> None:
    known = Known(
        "ccci", random.random() < 0.1, random.choice((True, True, False, None)), random.choice(("", SHA, "c" * 40, "x"))
    )
    decision = decide(facts, known)
    told = answer(decision)
    assert f"{told}{decision.words}".replace("\n", "").isprintable()
    assert not decision.sure or re.fullmatch(r"[0-9a-f]{40}", decision.sure)
    if decision.what == "run":
        assert EXACT.fullmatch(facts.text)
        assert known.member is True
        assert not known.handled
        assert (facts.action, facts.sender.lower(), facts.is_open, facts.is_pull) == (
            "created",
            facts.author.lower(),
            True,
            True,
        )
        assert decision.commit in {facts.head, facts.text[8:48]}
        assert re.fullmatch(r"[0-9a-f]{40}", decision.commit)
        assert re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", facts.repository)
        assert ".." not in facts.repository.split("/")


def comment(random: Random) -> None:
    made = text(random)
    note(f"made: {made!r}")
    with no_effects():
        command = parse_command(made)
        assert (command is not None and not command.problem) == bool(EXACT.fullmatch(made))
        decided(random, CommentFacts("coop/notes", 3, 1001, made, "ada", "ada", head=SHA))


def read(random: Random, act: Callable[[], CommentFacts | None]) -> None:
    words = ""
    with no_effects():
        try:
            facts = act()
        except Refused as error:
            words, facts = str(error), None
        assert words.isprintable()
        if facts is not None:
            decided(random, facts)


def delivered(random: Random) -> None:
    made = delivery(random)
    note(f"made: {made!r}")
    read(random, lambda: read_delivery(made, SECRET))


def forged(random: Random) -> None:
    made = delivery(random)
    with no_effects(), pytest.raises(Refused):
        read_delivery(made, random.choice((b"", b"x", SECRET[:-1], random.randbytes(20))))


def captured(random: Random) -> None:
    made = request(random)
    note(f"made: {made!r}")
    read(random, lambda: read_delivery(read_request(made), SECRET))


TARGETS: dict[str, tuple[Callable[[Random], None], int]] = {
    "comments": (comment, 40),
    "signed deliveries": (delivered, 35),
    "forged deliveries": (forged, 10),
    "captured requests": (captured, 15),
}
"""What is played, and its share of a long run in percent."""


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_runs_but_an_exact_command_of_a_member(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    act, share = TARGETS[name]
    played = itertools.count()

    @settings(
        max_examples=LONG * share // 100 or 200,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # each input is of its seed alone, which leaves nothing to shrink
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=True))
    def one(random: Random) -> None:
        next(played)
        act(random)

    one()
    if LONG:
        with capsys.disabled():
            print(f"\n{name}: {next(played)} inputs")  # noqa: T201  what a long run is for
