"""Results of runs that never were, for tests and benchmarks of the index and the pages."""

from __future__ import annotations

from pathlib import Path

from pytest_ccci.errors import Verdict
from pytest_ccci.results.model import (
    CoveredPath,
    CustomTest,
    Evidence,
    ImageUse,
    KnownGoodChange,
    LintFinding,
    RefFact,
    RunResult,
    StepResult,
    TierResult,
)
from pytest_ccci.results.verdict import ORDER
from pytest_ccci.results.write import write_result
from pytest_ccci.statedir import StateDir

__all__ = ["hostile_result", "made_result", "red_result", "written"]

BASE = RefFact(ref="1.0.0+2.7", commit="a" * 40, version="1.0.0+2.7", release="1.0.0+2.7")
HEAD = RefFact(ref="latest", commit="b" * 40, version="1.1.0+2.8", release="1.1.0+2.8")
LOG = (
    "--- container 4f1c2a9be07d\n2026-11-30T14:02:11Z INFO  listening on :8000\n"
    "2026-11-30T14:02:13Z ERROR django.db.utils.ProgrammingError: column documents_document.field does not exist\n"
)


def made_result(number: int = 1, **changes: object) -> RunResult:
    """A whole green run, the ``number``-th of its recipe, as far as ``changes`` say nothing else."""
    day, second = divmod(number, 86400)
    hour, minute = second // 3600, second // 60 % 60
    stamp = f"2026{1 + day // 28 % 12:02}{1 + day % 28:02}-{hour:02}{minute:02}{second % 60:02}"
    given: dict[str, object] = {
        "run_id": f"{stamp}-{number:06x}",
        "recipe": "lasuite-docs",
        "requested_mode": "cold",
        "mode": "cold",
        "asked": ORDER,
        "verdict": Verdict.PASS,
        "base": BASE,
        "head": HEAD,
        "domain": "lasuite-docs-4f1c.ci.test",
        "started": f"2026-{1 + day // 28 % 12:02}-{1 + day % 28:02}T{hour:02}:{minute:02}:{second % 60:02}+00:00",
        "seconds": 29.4,
        "tiers": (
            _tier("install", 9.1, {"images": 0.4, "deploy": 2.1, "converge": 4.5, "serve": 1.1, "sentinels": 0.7}),
            _tier("upgrade", 8.2, {"deploy": 1.6, "converge": 4.9, "serve": 0.9, "census": 0.5}),
            _tier("backup", 1.9, {"backup": 1.7}),
            _tier("restore", 3.4, {"restore": 1.2, "converge": 1.8, "sentinels": 0.3}),
            _tier("custom", 2.3, {}),
            _tier("settle", 4.3, {"proof window": 2.1, "undeploy": 1.3, "diff": 0.5}),
        ),
        "custom": (CustomTest(nodeid="recipes/lasuite-docs/test_page.py::test_login", verdict="pass", seconds=2.3),),
        "known_good": KnownGoodChange(
            before="1.0.0+2.7", after="1.1.0+2.8", action="promoted", snapshot_before="s1", snapshot_after="s2"
        ),
        "coverage": (
            CoveredPath(
                service="db",
                target="/var/lib/postgresql/data",
                kind="volume",
                source="lasuite-docs_db",
                writable=True,
                covered=True,
                why="a named volume",
            ),
        ),
        "images": (
            ImageUse(ref="lasuite/impress-backend:v2.8", image_id="sha256:" + "1" * 64, digest="sha256:" + "2" * 64),
            ImageUse(ref="postgres:16", image_id="sha256:" + "3" * 64, origin="built"),
        ),
        "environment": {"DOMAIN": "lasuite-docs-4f1c.ci.test", "LANGUAGE": "fr", "SECRET_DB_PASSWORD_VERSION": "v1"},
        "engine": {"version": "27.5.1", "api": "1.47", "storage": "overlay2"},
        "infra": {"traefik": "3.0.0+v3.5.0", "keycloak": "10.0.0+26.3"},
        "reproduce": "pytest --cold --ccci-ref " + "b" * 40 + " recipes/lasuite-docs",
        "settings": {"mode": "cold (command line)", "fast_health": "true (default)"},
    }
    return RunResult.model_validate({**given, **changes})


def _tier(name: str, seconds: float, steps: dict[str, float], **more: object) -> TierResult:
    facts = {"counted": "412 rows in 38 tables, 96 files, before and after"} if name == "upgrade" else {"seen": "all"}
    made = tuple(StepResult(name=step, seconds=took) for step, took in steps.items())
    given = {"tier": name, "verdict": Verdict.PASS, "seconds": seconds, "facts": facts, "steps": made, **more}
    return TierResult.model_validate(given)


def red_result(number: int = 1, **changes: object) -> RunResult:
    """A red run, which is the recipe's fault."""
    reason = "backend keeps crashing (3 tasks in 9 s): column documents_document.field does not exist"
    tiers = (
        _tier("install", 9.1, {"images": 0.4, "deploy": 2.1, "converge": 4.5, "serve": 1.1, "sentinels": 0.7}),
        _tier(
            "upgrade",
            14.2,
            {"deploy": 1.6, "converge": 12.1},
            verdict=Verdict.FAIL,
            reason=reason,
            evidence=(
                Evidence(title="tasks of lasuite-docs", text="14:02:11  backend  failed  exit 1  v2.8  task: exited"),
                Evidence(title="last lines of backend", text=LOG),
            ),
        ),
        *(
            _tier(name, 0.0, {}, verdict=Verdict.UNVERIFIED, reason="blocked: upgrade failed")
            for name in ("backup", "restore", "custom")
        ),
        _tier("settle", 2.9, {"undeploy": 1.3, "diff": 0.5}),
    )
    finding = LintFinding(
        level="warning",
        code="no-healthcheck",
        where="backend",
        text="backend has no health check",
        file="compose.yml",
        line=14,
        why="only that it runs can be seen",
        mend="add a healthcheck",
    )
    head = RefFact(ref="pr/broken-migration", commit="c" * 40, version="1.1.0+2.8")
    image = ImageUse(ref="lasuite/impress-backend:v2.9", image_id="sha256:" + "7" * 64, digest="sha256:" + "8" * 64)
    given = {
        "verdict": Verdict.FAIL,
        "head": head,
        "tiers": tiers,
        "custom": (),
        "known_good": KnownGoodChange(before="1.0.0+2.7", after="1.0.0+2.7", reason="the run is not green"),
        "images": (image, ImageUse(ref="postgres:16", image_id="sha256:" + "3" * 64, origin="built")),
        "findings": (finding,),
        "seconds": 26.4,
        "warnings": ("archives and work trees of this run are removed: 1200.0 MiB are above 1024.0 MiB",),
    }
    return made_result(number, **{**given, **changes})


HOSTILE = (
    "</td></pre><script>alert(1)</script><img src=x onerror=alert(1)>",
    "'\"><a href=javascript:alert(1)>x</a>",
    "x'); DROP TABLE runs; --",
    "\x1b[2J\x1b]8;;https://example.org\x07link\x1b]8;;\x07\x9b31m\b\b",
    "\u202egnp.exe\u2066 \u200b\ufeff\u00ad",
    "{{ 7 * 7 }}{% for x in y %}",
    "| a | b |\n# heading\n```\n[x](javascript:alert(1)) @everyone <!-- ",
    "../../../../etc/passwd\0",
    "\r\n\r\n",
)
ALL_HOSTILE = " ".join(HOSTILE)


def hostile_result(number: int = 1, *, long: int = 10 << 20) -> RunResult:
    """A red run of which every text that may come from a recipe is hostile, and one line of a log ``long``."""
    bad = ALL_HOSTILE
    ref = RefFact(ref=bad, commit=bad, version=bad, release=bad, dirty=True)
    evidence = (Evidence(title=bad, text=f"{bad}\n{'A' * long}\n{bad}"), Evidence(title=bad, text="B" * long))
    tier = TierResult(
        tier=bad,
        verdict=Verdict.FAIL,
        seconds=1.0,
        reason=bad,
        facts={bad: bad, "counted": bad, "kept app": bad},
        steps=(StepResult(name=bad, seconds=1.0), StepResult(name="negative", seconds=-5.0)),
        evidence=evidence,
    )
    finding = LintFinding(level="error", code=bad, where=bad, text=bad, file=bad, line=1, why=bad, mend=bad)
    place = CoveredPath(
        service=bad, target=bad, kind=bad, source=bad, writable=True, covered=False, why=bad, blocks=True
    )
    return made_result(
        number,
        recipe=bad,
        stand_in=bad,
        requested_mode=bad,
        mode_reason=bad,
        verdict=Verdict.FAIL,
        base=ref,
        head=ref,
        domain=bad,
        tiers=(tier,),
        custom=(CustomTest(nodeid=bad, verdict=Verdict.FAIL, reason=bad),),
        known_good=KnownGoodChange(
            before=bad, after=bad, action="quarantined", reason=bad, snapshot_before=bad, snapshot_after=bad
        ),
        coverage=(place,),
        images=(ImageUse(ref=bad, image_id=bad, digest=bad, origin=bad),),
        environment={bad: bad},
        engine={bad: bad},
        infra={bad: bad},
        leftovers=(bad,),
        findings=(finding,) * 500,
        evidence=evidence,
        warnings=(bad,),
        kept_work=bad,
        reproduce=bad,
        folder=bad,
        source=f"https://github.com/owner/{bad}",
        settings={bad: bad},
    )


def written(state: StateDir, result: RunResult) -> Path:
    """The results.json of the run, as its end would leave it."""
    return write_result(result, state.run(result.run_id) / "results.json")
