from __future__ import annotations

import re

import pytest
from maderuns import hostile_result

from pytest_ccci.errors import Verdict
from pytest_ccci.results.model import (
    COUNTED,
    FEWER,
    LEFT_OUT,
    NOT_COUNTED,
    UNASKED,
    CoveredPath,
    CustomTest,
    DisposablePlace,
    Evidence,
    ImageUse,
    KnownGoodAction,
    KnownGoodChange,
    LintFinding,
    RefFact,
    RunResult,
    StepResult,
    TierResult,
)
from pytest_ccci.results.report import markdown, plain, summary, version_text, where_time_went

BASE = RefFact(ref="latest", commit="a" * 40, version="1.0.0+1.0", release="1.0.0+1.0")
HEAD = RefFact(ref="pr/add-field", commit="b" * 40, version="1.1.0+1.1")
TIERS = ("backup", "restore")
LONG = "backend keeps crashing (3 tasks in 9 s): ProgrammingError: column documents_document.field does not exist"


def result(**changes: object) -> RunResult:
    given: dict[str, object] = {
        "run_id": "r1",
        "recipe": "lasuite-docs",
        "requested_mode": "quick",
        "mode": "cold",
        "mode_reason": "no known-good yet",
        "verdict": Verdict.FAIL,
        "base": BASE,
        "head": HEAD,
        "started": "2026-01-01T00:00:00Z",
        "seconds": 83.44,
        "tiers": (
            TierResult(
                tier="install",
                verdict=Verdict.PASS,
                seconds=6.3,
                steps=(StepResult(name="deploy", seconds=4.2), StepResult(name="health", seconds=2.0)),
            ),
            TierResult(
                tier="upgrade",
                verdict=Verdict.FAIL,
                seconds=14.2,
                reason=LONG,
                steps=(StepResult(name="deploy", seconds=1.0),),
                evidence=(Evidence(title="log of backend", text="last words"),),
            ),
            TierResult(tier="settle", verdict=Verdict.PASS, seconds=3.0),
        ),
        "custom": (CustomTest(nodeid="recipes/x/test_a.py::test_l", verdict=Verdict.UNVERIFIED, reason="blocked: x"),),
        "reproduce": "pytest --cold --ccci-ref " + "b" * 40 + " recipes/lasuite-docs --and-a-very-long-tail-of-options",
    }
    return RunResult.model_validate({**given, **changes})


def test_a_summary_says_what_happened_then_why_then_what_to_do() -> None:
    lines = plain(summary(result(), result_file="/state/results.json")).splitlines()
    where = [
        next(number for number, line in enumerate(lines) if text in line)
        for text in (
            "lasuite-docs  FAIL  cold",
            "because",
            "tier      verdict",
            "known-good   ",
            "again with",
            "all of it in",
        )
    ]
    assert where == sorted(where)
    assert lines[0].endswith("83.4 s")


def test_a_summary_fits_its_width_except_for_what_is_to_be_copied() -> None:
    for width in (60, 100):
        lines = [line.text for line in summary(result(), width=width)]
        assert [line for line in lines if len(line) > width] == [line for line in lines if "again with" in line]


def test_a_fallback_is_labelled() -> None:
    text = plain(summary(result()))
    assert "cold, though quick was asked for: no known-good yet" in text


def test_a_stand_in_is_named_so() -> None:
    assert "stand-in     the same wiring" in plain(summary(result(stand_in="the same wiring")))


def test_what_blocks_many_of_the_authors_tests_is_told_once_and_other_reasons_beside_it() -> None:
    blocked = [
        CustomTest(nodeid=f"recipes/x/test_a.py::test_{name}", verdict=Verdict.UNVERIFIED, reason="blocked: upgrade")
        for name in "abc"
    ]
    own = CustomTest(nodeid="recipes/x/test_a.py::test_d", verdict=Verdict.FAIL, reason="404")
    text = plain(summary(result(custom=(*blocked, own))))
    assert text.count("unverified, blocked: upgrade") == 1
    assert "test_a.py::test_a and 2 more: unverified, blocked: upgrade" in text
    assert "test_a.py::test_d: fail, 404" in text


def test_an_authors_test_that_did_not_pass_is_listed_under_its_tier() -> None:
    own = CustomTest(nodeid="recipes/x/test_a.py::test_l", verdict=Verdict.FAIL, reason="404")
    lines = plain(summary(result(custom=(own,)))).splitlines()
    number = next(number for number, line in enumerate(lines) if line.startswith("  custom"))
    assert lines[number + 1] == "    test_a.py::test_l: fail, 404"


def test_the_reason_stands_once_and_what_it_blocks_in_one_line() -> None:
    fault = TierResult(tier="upgrade", verdict=Verdict.FAIL, reason=f"{LONG}\n  seen: 3 tasks died\n  try:  mend it")
    blocked = [TierResult(tier=t, verdict=Verdict.UNVERIFIED, reason="blocked: upgrade failed") for t in TIERS]
    tests = [
        CustomTest(
            nodeid=f"recipes/x/test_a.py::test_{n}", verdict=Verdict.UNVERIFIED, reason="blocked: upgrade failed"
        )
        for n in range(13)
    ]
    settle = TierResult(tier="settle", verdict=Verdict.PASS)
    lines = plain(summary(result(tiers=(fault, *blocked, settle), custom=tests), width=200)).splitlines()
    text = "\n".join(lines)
    assert [text.count(piece) for piece in (LONG, "3 tasks died", "mend it")] == [1, 1, 1]
    assert [line.strip() for line in lines if "blocked" in line] == [
        "backup    unverified      0.0  blocked: upgrade failed (restore, custom too)"
    ]
    assert "test_a.py" not in text


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ("none", "not touched"),
        ("unchanged", "1.1.0+1.1, unchanged"),
        ("promoted", "1.0.0+1.0 → 1.1.0+1.1, promoted and re-read"),
        ("seeded", "1.1.0+1.1, seeded and re-read"),
        ("restored-and-proved", "1.1.0+1.1, restored and proved"),
        ("quarantined", "QUARANTINED"),
        ("failed", "the promotion failed"),
    ],
)
def test_each_fate_of_the_known_good_is_told(action: KnownGoodAction, text: str) -> None:
    change = KnownGoodChange(before="1.0.0+1.0", after="1.1.0+1.1", action=action, reason="so it is")
    shown = plain(summary(result(known_good=change)))
    assert text in shown
    assert "(so it is)" in shown


def test_the_seconds_of_steps_are_summed_and_the_rest_is_other() -> None:
    time = where_time_went(result())
    assert time[:2] == (("deploy", 5.2), ("health", 2.0))
    assert time[-1][0] == "other"
    assert sum(seconds for _, seconds in time) == pytest.approx(83.44)


def test_only_images_built_here_are_listed() -> None:
    images = (
        ImageUse(ref="postgres:15", image_id="x", origin="built"),
        ImageUse(ref="nginx:1", image_id="y", origin="pulled"),
    )
    text = plain(summary(result(images=images)))
    assert "built here   postgres:15" in text
    assert "nginx:1" not in text


def test_a_version_says_the_ref_only_when_that_says_more() -> None:
    assert version_text(None) == "none"
    assert version_text(HEAD) == "1.1.0+1.1 (pr/add-field, bbbbbbbbbb)"
    assert (
        version_text(HEAD.model_copy(update={"ref": "1.1.0+1.1", "dirty": True}))
        == "1.1.0+1.1 (bbbbbbbbbb, dirty tree)"
    )


def test_what_a_red_run_keeps_is_told_by_the_way_and_not_as_a_warning() -> None:
    [line] = [line for line in summary(result(kept_work="/state/runs/x/trees")) if "/state/runs/x/trees" in line.text]
    assert (line.text.split(), line.tone) == (["kept", "/state/runs/x/trees"], "dim")


def test_that_nobody_asked_whether_it_serves_is_told_with_the_reason_and_in_a_green_run_too() -> None:
    install = TierResult(tier="install", verdict=Verdict.PASS, facts={UNASKED: "it only runs by the clock"})
    [line] = [line for line in summary(result(tiers=(install,), verdict=Verdict.PASS)) if "clock" in line.text]
    assert line.text == "  not asked    whether it serves: it only runs by the clock"


def test_what_an_older_version_went_without_is_told_in_a_green_run_too() -> None:
    facts = {"release": "1.0.0+1", LEFT_OUT: "compose.oidc.yml, secret token"}
    install = TierResult(tier="install", verdict=Verdict.PASS, facts=facts)
    [line] = [line for line in summary(result(tiers=(install,), verdict=Verdict.PASS)) if "oidc" in line.text]
    assert line.text == "  left out     compose.oidc.yml, secret token: not in 1.0.0+1"


def test_a_run_that_reached_nothing_says_so() -> None:
    assert "none was reached" in plain(summary(result(tiers=(), custom=())))


def test_findings_are_told_with_their_code_and_the_worse_are_loud() -> None:
    found = (
        LintFinding(
            level="error", code="start-first-volume", where="db", text="data is torn", file="compose.yml", line=7
        ),
        LintFinding(level="warning", code="moving-image", where="app", text="pin a version"),
    )
    lines = [line for line in summary(result(findings=found)) if line.text.startswith("  lint")]
    assert [(line.text.split(None, 1)[1], line.tone) for line in lines] == [
        ("error: compose.yml:7: db: data is torn [start-first-volume]", "bad"),
        ("warning: app: pin a version [moving-image]", "warn"),
    ]


def test_how_much_was_counted_and_what_is_fewer_is_shown_per_tier() -> None:
    facts = {COUNTED: "3 rows in 1 table, before and after", FEWER: "table note of db has 2 rows, and had 3"}
    tiers = (
        TierResult(tier="upgrade", verdict=Verdict.PASS, facts=facts),
        TierResult(tier="restore", verdict=Verdict.PASS, facts={NOT_COUNTED: "db: connection refused"}),
    )
    lines = {line.text: line.tone for line in summary(result(tiers=tiers))}
    assert lines["  counted      upgrade: 3 rows in 1 table, before and after"] == "plain"
    assert lines["  fewer        upgrade: table note of db has 2 rows, and had 3"] == "warn"
    assert lines["  not counted  restore: db: connection refused"] == "warn"


def test_what_is_called_disposable_and_what_blocks_a_known_good_are_shown_in_every_summary() -> None:
    bind = CoveredPath(
        service="app",
        target="/srv",
        kind="bind",
        source="/host",
        writable=True,
        covered=False,
        why="outside",
        blocks=True,
    )
    fine = CoveredPath(
        service="db",
        target="/data",
        kind="named volume",
        source="pg",
        writable=True,
        covered=True,
        why="in every snapshot",
    )
    found = result(coverage=(bind, fine), disposable=(DisposablePlace(place="/var/cache", reason="filled again"),))
    text = plain(summary(found))
    assert "disposable   /var/cache: filled again" in text
    assert "not covered  app:/srv (bind /host): outside" in text
    assert "/data" not in text
    assert "disposable" not in plain(summary(result()))


def test_markdown_says_verdict_reason_and_tiers() -> None:
    text = markdown([result()])
    assert text.startswith("### ❌ lasuite&#45;docs: fail (cold)\n")
    assert "| upgrade | ❌ fail | 14.2 | backend keeps crashing" in text
    assert "quick was asked for: no known&#45;good yet" in text


def test_text_of_a_recipe_is_no_markup_in_markdown() -> None:
    text = markdown([hostile_result(long=10)])
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {line.count("|") for line in rows} == {5}
    assert "<script" not in text
    assert "javascript:" not in text
    assert "```" not in text
    assert "@everyone" not in text
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]", text) == []
    assert set(re.findall(r"<[^>]*>", text)) <= {
        "<details>",
        "<summary>",
        "</summary>",
        "</details>",
        "<code>",
        "</code>",
    }


def test_markdown_is_bounded() -> None:
    assert len(markdown([hostile_result(long=1 << 20)])) < 1 << 18


def test_the_page_is_the_last_thing_that_a_summary_says() -> None:
    lines = plain(summary(result(), result_file="/state/results.json", page="/state/index.html")).splitlines()
    assert lines[-1].split() == ["page", "/state/index.html"]
