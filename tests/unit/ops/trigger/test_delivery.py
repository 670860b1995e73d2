"""Deliveries as forges send them, and what follows from each: the table is `cases.yml` beside this file."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_ccci.errors import Refused
from pytest_ccci.ops.trigger.decision import Known, answer, decide
from pytest_ccci.ops.trigger.delivery import Delivery, read_delivery, read_request

HERE = Path(__file__).parent
SECRET = "shared-by-forge-and-trigger"
GITEA: dict[str, Any] = json.loads((HERE / "gitea_comment.json").read_text(encoding="utf-8"))
CASES: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "cases.yml").read_text(encoding="utf-8"))
MARKS = {"X-Gitea-Signature": "", "X-Gogs-Signature": "", "X-Forgejo-Signature": "", "X-Hub-Signature-256": "sha256="}


def over(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: over(below.get(key), value) for key, value in above.items()}}
    return above


def body_of(case: dict[str, Any]) -> bytes:
    if "raw" in case:
        return str(case["raw"]).encode()
    sent = over(GITEA, case.get("body", {}))
    if case.get("forge") == "github":
        del sent["pull_request"], sent["is_pull"]
        sent["issue"]["pull_request"] = {"url": "https://api.github.com/repos/coop/notes/pulls/3"}
    if "pad" in case:
        sent["issue"] = {**sent["issue"], "body": "x" * case["pad"]}
    return json.dumps(sent).encode()


def delivery_of(case: dict[str, Any]) -> Delivery:
    body = body_of(case)
    tag = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers: dict[str, str | None] = {name: f"{mark}{tag}" for name, mark in MARKS.items()}
    headers |= {"Content-Type": "application/json", "X-Hub-Signature": "sha1=00", "X-Gitea-Event-Type": "x"}
    headers |= dict.fromkeys(("X-Forgejo-Event", "X-Gitea-Event", "X-GitHub-Event"), "issue_comment")
    if case.get("forge") == "github":
        headers = {name: value for name, value in headers.items() if "Hub" in name or name == "Content-Type"}
    headers |= case.get("headers", {})
    rows = [(name.lower(), value) for name, value in headers.items() if value is not None]
    rows += [row for row in rows if row[0] == case.get("twice", "").lower()]
    return Delivery(tuple(rows), body + case.get("tail", "").encode())


@pytest.mark.parametrize("name", CASES)
def test_a_delivery_becomes_a_decision(name: str) -> None:
    case = CASES[name]
    secret = case.get("secret", SECRET).encode()
    if case["expect"] == "rejected":
        with pytest.raises(Refused) as caught:
            read_delivery(delivery_of(case), secret)
        assert case["words"] in str(caught.value)
        return
    facts = read_delivery(delivery_of(case), secret)
    if case["expect"] == "nothing":
        assert facts is None
        return
    assert facts is not None
    decision = decide(facts, Known(**{"bot": "ccci", "member": True, **case.get("known", {})}))
    assert f"{decision.what} {decision.reason}" == case["expect"]
    assert decision.mode == case.get("mode", "cold")
    assert len(decision.commit) == (40 if decision.what == "run" else 0)
    assert case.get("commit", decision.commit) == decision.commit
    assert case.get("fork", facts.fork) == facts.fork
    assert case.get("words", "") in decision.words
    assert f"!testme {case.get('sure', '')}" in answer(decision) or "sure" not in case


def test_the_request_as_it_was_captured_is_a_delivery() -> None:
    sent = delivery_of({})
    head = "".join(f"{name.title()}: {value}\r\n" for name, value in sent.headers)
    for line in ("POST /hook HTTP/1.1\r\n", ""):
        raw = f"{line}Content-Length: {len(sent.body)}\r\n{head}\r\n".encode() + sent.body
        facts = read_delivery(read_request(raw), SECRET.encode())
        assert facts is not None
        assert (facts.repository, facts.pull, facts.comment_id, facts.head) == ("coop/notes", 3, 1001, "a" * 40)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "no empty line"),
        (b"POST / HTTP/1.1\r\nX: y", "no empty line"),
        (b"no header\n\nbody", "a header cannot be read"),
        (b"Content-Length: 9\n\nbody", "cut off"),
        (b"Content-Length: 4\nContent-Length: 4\n\nbody", "is there 2 times"),
    ],
)
def test_what_is_no_request_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words):
        read_request(raw)
