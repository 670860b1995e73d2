"""A result bears its verdict by its facts: whichever of them is changed or gone, it is not green."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_ccci.errors import Verdict
from pytest_ccci.results.model import RunResult
from pytest_ccci.results.verdict import recompute

BASE = {"ref": "1.0.0+1.22", "commit": "1" * 40, "version": "1.0.0+1.22", "release": "1.0.0+1.22"}
HEAD = {"ref": "latest", "commit": "2" * 40, "version": "1.1.0+1.22", "release": "1.1.0+1.22"}


def tier(name: str, verdict: str = "pass", reason: str = "", **facts: str) -> dict[str, Any]:
    return {"tier": name, "verdict": verdict, "reason": reason, "facts": facts}


def cold() -> dict[str, Any]:
    return {
        "run_id": "20261130-012649-be4d33",
        "recipe": "page",
        "requested_mode": "cold",
        "mode": "cold",
        "asked": ["install", "upgrade", "backup", "restore", "custom", "settle"],
        "verdict": "pass",
        "base": dict(BASE),
        "head": dict(HEAD),
        "started": "2026-11-30T01:26:49+00:00",
        "tiers": [
            tier("install", release="1.0.0+1.22", commit="1" * 40),
            tier("upgrade", release="1.1.0+1.22", commit="2" * 40),
            tier("backup", **{"app:/data": "2 files, 153 bytes"}),
            tier("restore", changed="1 sentinels", restored="1 archives"),
            tier("custom"),
            tier("settle", left="nothing"),
        ],
        "custom": [{"nodeid": "page/test_page.py::test_it", "verdict": "pass"}],
        "known_good": {"before": None, "after": "1.1.0+1.22", "action": "seeded"},
        "images": [{"ref": "nginx:1.22", "image_id": "sha256:ab"}],
        "engine": {"version": "28.5.0"},
    }


def quick() -> dict[str, Any]:
    found = cold()
    found.update(requested_mode="quick", mode="quick")
    found["base"] = {**HEAD, "ref": "2" * 40}
    found["head"] = {"ref": "tip", "commit": "3" * 40, "version": "33333333"}
    found["tiers"][0:4] = [
        tier("install", commit="2" * 40),
        tier("upgrade", commit="3" * 40),
        tier("backup", "skip", "a quick run does not test backup: cold does"),
        tier("restore", "skip", "a quick run does not test restore: cold does"),
    ]
    found["tiers"][-1] = tier("settle", **{"known-good": "byte-identical (e24fddf97041)"})
    found["known_good"] = {"before": "1.1.0+1.22", "after": "1.1.0+1.22", "action": "unchanged"}
    return found


def without_base() -> dict[str, Any]:
    found = cold()
    found.update(base=None)
    found["tiers"][0:2] = [tier("install", commit="2" * 40), tier("upgrade", "skip", "there is no earlier release")]
    return found


def recomputed(found: dict[str, Any]) -> tuple[Verdict, str]:
    return recompute(RunResult.model_validate(found))


def a_part() -> dict[str, Any]:
    found = cold()
    found.update(asked=["install", "settle"], custom=[], known_good={"action": "none"})
    found["tiers"] = [found["tiers"][0], found["tiers"][-1]]
    return found


def one_test() -> dict[str, Any]:
    found = cold()
    found.update(asked=[], known_good={"action": "none"})
    found["tiers"] = [tier for tier in found["tiers"] if tier["tier"] not in {"backup", "restore"}]
    return found


@pytest.mark.parametrize("made", [cold, quick, without_base, a_part, one_test])
def test_a_green_run_is_green_again(made: Callable[[], dict[str, Any]]) -> None:
    assert recomputed(made()) == (Verdict.PASS, "")


def test_a_green_cold_run_that_did_not_promote_is_green_with_the_known_good_that_was_there() -> None:
    found = cold()
    kept = {"before": "1.0.0+1.22", "after": "1.0.0+1.22", "action": "unchanged"}
    found["known_good"] = {**kept, "reason": "not promoted: head is not the latest release"}
    assert recomputed(found) == (Verdict.PASS, "")
    found["known_good"]["after"] = "1.1.0+1.22"
    assert recomputed(found) == (Verdict.UNVERIFIED, "the known-good is not the one it was")


def test_a_red_run_is_red_again_with_its_reason() -> None:
    found = cold()
    found["tiers"][1] = tier("upgrade", "fail", "the table is gone")
    found.update(verdict="fail", known_good={"action": "none"})
    assert recomputed(found) == (Verdict.FAIL, "upgrade: the table is gone")


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "the verdict": lambda r: r.update(verdict="fail"),
    "the mode": lambda r: r.update(mode="quick" if r["mode"] == "cold" else "cold"),
    "a mode of nobody's": lambda r: r.update(mode="warm"),
    "no test passed": lambda r: r["custom"][0].update(verdict="fail"),
    "the tests are gone": lambda r: r.update(custom=[]),
    "something was left": lambda r: r.update(leftovers=["volume x"]),
    "the images are gone": lambda r: r.update(images=[]),
    "an image without its id": lambda r: r["images"][0].update(image_id=""),
    "the engine is gone": lambda r: r.update(engine={}),
    "another head": lambda r: r["head"].update(commit="4" * 40),
    "no head": lambda r: r.update(head=None),
    "another base": lambda r: r["base"].update(commit="4" * 40),
    "the other mode's known-good": lambda r: r["known_good"].update(
        action="unchanged" if r["mode"] == "cold" else "promoted"
    ),
    "a known-good that failed": lambda r: r["known_good"].update(action="failed"),
    "nothing was asked for": lambda r: r.update(asked=[], custom=[]),
    "a step of the order": lambda r: r["tiers"].reverse(),
    "a tier twice": lambda r: r["tiers"].append(r["tiers"][0]),
}


def of_tier(number: int, **values: object) -> Callable[[dict[str, Any]], object]:
    return lambda result: result["tiers"][number].update(values)


def without_tier(number: int) -> Callable[[dict[str, Any]], object]:
    return lambda result: result["tiers"].pop(number)


CHANGES.update({f"tier {number} is gone": without_tier(number) for number in range(6)})
CHANGES.update(
    {f"tier {n} is {verdict}": of_tier(n, verdict=verdict) for n in range(6) for verdict in ("fail", "error")}
)
CHANGES.update({f"tier {n} is unverified": of_tier(n, verdict="unverified") for n in range(6)})
CHANGES.update({f"tier {n} tells nothing": of_tier(n, facts={}, reason="") for n in (0, 1, 2, 3, 5)})
CHANGES.update({f"tier {n} deployed another commit": of_tier(n, facts={"commit": "f"}) for n in (0, 1)})


@pytest.mark.parametrize("made", [cold, quick])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_no_fact_that_is_changed_or_gone_leaves_it_green(
    made: Callable[[], dict[str, Any]], change: Callable[[dict[str, Any]], object]
) -> None:
    found = made()
    change(found)
    verdict, why = recomputed(found)
    assert verdict == Verdict.UNVERIFIED
    assert why


@pytest.mark.parametrize("release", [None, ""])
def test_only_a_release_becomes_the_known_good(release: str | None) -> None:
    found = cold()
    found["head"]["release"] = release
    assert recomputed(found) == (Verdict.UNVERIFIED, "only a release becomes the known-good")


def test_a_quick_run_that_moved_the_known_good_is_not_green() -> None:
    found = quick()
    found["known_good"]["after"] = "33333333"
    assert recomputed(found)[0] == Verdict.UNVERIFIED


def test_a_part_of_a_run_makes_no_known_good() -> None:
    found = a_part()
    found["known_good"] = {"after": "1.1.0+1.22", "action": "seeded"}
    assert recomputed(found) == (Verdict.UNVERIFIED, "only a run of all tiers makes a known-good")
