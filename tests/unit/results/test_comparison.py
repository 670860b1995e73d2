"""What differs from the last green run: each kind by a row that has it and one that only looks like it."""

from __future__ import annotations

import pytest
from maderuns import made_result, red_result

from pytest_ccci.results.comparison import differences
from pytest_ccci.results.model import Evidence, ImageUse, RunResult, StepResult

OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "9" * 64


def told(run: RunResult, green: RunResult) -> dict[str, tuple[str, ...]]:
    return {one.title: one.lines for one in differences(run, green)}


def with_images(*refs: str, digest: str = OLD) -> RunResult:
    return made_result(images=tuple(ImageUse(ref=ref, image_id=digest, digest=digest) for ref in refs))


def test_a_run_that_is_the_same_has_no_difference() -> None:
    assert told(made_result(2), made_result(1)) == {}


@pytest.mark.parametrize(
    ("before", "now", "line"),
    [
        (with_images("a/b:1"), with_images("a/b:2"), "a/b: 1 → 2"),
        (
            with_images("a/b:1"),
            with_images("a/b:1", digest=NEW),
            "a/b:1 moved: sha256:111111111111 → sha256:999999999999",
        ),
        (with_images("a/b:1"), with_images("a/b:1", "c"), "c: not there → latest"),
        (with_images("reg:5000/a"), with_images(), "reg:5000/a: latest → not there"),
        (with_images("a:1@sha256:5"), with_images("a:2@sha256:6"), "a: 1 → 2"),
    ],
)
def test_an_image_that_moved_came_or_went_is_named(before: RunResult, now: RunResult, line: str) -> None:
    assert told(now, before) == {"Images": (line,)}


def test_versions_and_environment() -> None:
    green, run = made_result(), made_result(base=None, infra={"traefik": "3.1.0"}, settings={"mode": "cold"})
    found = told(run, green)
    assert found["Versions"] == ("base: 1.0.0+2.7 (aaaaaaaaaa) → none",)
    assert "traefik: 3.0.0+v3.5.0 → 3.1.0" in found["Environment"]
    assert "keycloak: 10.0.0+26.3 → not set" in found["Environment"]
    assert "setting fast_health: true (default) → not set" in found["Environment"]


def test_a_variable_that_is_other_is_named_but_not_what_each_run_has_of_its_own() -> None:
    def run(number: int, **variables: str) -> RunResult:
        result = made_result(number, domain=f"notes-{number}.ci.test")
        own = {
            "DOMAIN": result.domain,
            "STACK_NAME": result.domain.replace(".", "_"),
            "OIDC_ISSUER": f"https://keycloak.ci.test/realms/notes-{result.run_id}",
        }
        return result.model_copy(update={"environment": own | variables})

    found = told(run(2, LANGUAGE="fr", TAG="2", NEW="yes"), run(1, LANGUAGE="fr", TAG="1"))
    assert found == {"Environment": ("NEW: not set → yes", "TAG: 1 → 2")}


@pytest.mark.parametrize(
    ("before", "now", "differs"), [(4.0, 7.0, True), (7.0, 4.0, True), (4.0, 5.0, False), (0.1, 0.9, False)]
)
def test_a_step_that_takes_much_longer_or_shorter_is_named(before: float, now: float, differs: bool) -> None:
    def run(took: float) -> RunResult:
        install = made_result().tiers[0].model_copy(update={"steps": (StepResult(name="deploy", seconds=took),)})
        return made_result(tiers=(install,))

    line = f"install, deploy: {before:.1f} s → {now:.1f} s"
    assert told(run(now), run(before)) == ({"Durations": (line,)} if differs else {})


def test_lines_that_differ_in_times_and_numbers_only_are_not_new() -> None:
    def run(*lines: str) -> RunResult:
        red = red_result()
        upgrade = red.tiers[1].model_copy(update={"evidence": (Evidence(title="log", text="\n".join(lines)),)})
        return red.model_copy(update={"tiers": (upgrade,)})

    before = run("2026-11-30T14:02:11Z INFO took 12 ms", "request 0xdeadbeef from 10.0.0.3")
    now = run("2026-12-01T09:00:00.123Z INFO took 9 ms", "request 0xcafe from 10.0.1.7", "ERROR no such column", "", "")
    assert told(now, before) == {"New log lines": ("ERROR no such column",)}
