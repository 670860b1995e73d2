"""``ccci explain``: what a run would do, of the recipes that are bundled here; nothing is deployed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from maderuns import made_result, red_result

from pytest_ccci import cli
from pytest_ccci.ops import explain as module
from pytest_ccci.results.index import record, row_of
from pytest_ccci.statedir import StateDir

RECIPES = Path(__file__).resolve().parents[3] / "recipes"


@pytest.fixture(autouse=True)
def _here(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CCCI_STATE_DIR", str(state.root))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert cli.main(["explain", str(RECIPES / "custom-html"), *arguments]) == 0
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_it_says_base_head_tiers_and_images(state: StateDir, capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, "--ccci-ref", "latest")
    assert lines[0] == "custom-html  cold"
    assert [line.split()[0] for line in lines[1:3]] == ["from", "to"]
    assert [line.split() for line in lines[3:9]] == [
        [name, "yes"] for name in ("install", "upgrade", "backup", "restore", "custom", "settle")
    ]
    assert any(line.startswith("  images    nginx:") for line in lines)
    assert lines[-1] == "  takes     not known: no green cold run of it yet"
    assert list(state.runs.glob("*/")) == []


def test_quick_that_is_not_possible_is_cold_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, "--quick")
    assert lines[0] == "custom-html  cold"
    assert lines[1].startswith("  not quick: ")


def test_a_version_without_an_older_one_skips_the_upgrade(capsys: pytest.CaptureFixture[str]) -> None:
    ref, base = "", {"release": "latest"}
    while base:
        ref = base["release"]
        base = json.loads("\n".join(told(capsys, "--ccci-ref", ref, "--json")))["base"]
    lines = told(capsys, "--ccci-ref", ref)
    assert "  upgrade   skipped: there is no release older than head: it is installed fresh" in lines


def test_the_estimate_is_the_median_of_green_runs_in_that_mode(
    state: StateDir, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, seconds in enumerate((10.0, 20.0, 90.0), 1):
        record(state, row_of(made_result(number, recipe="custom-html", seconds=seconds)))
    record(state, row_of(red_result(9, recipe="custom-html", seconds=500.0)))
    record(state, row_of(made_result(10, recipe="custom-html", mode="quick", seconds=1.0)))
    assert told(capsys)[-1] == "  takes     about 20 s, the median of 3 green cold runs"


def test_ports_images_and_disk_are_told_beside_what_is_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = told(capsys)
    assert "            which of them are here is not known: no engine answers" in lines
    assert any(line.startswith("  disk      ") and "what the app writes is not known" in line for line in lines)

    class Here:
        client = None

    recipe = tmp_path / "voice"
    for release in ("1-1.0.0+1", "tip"):
        place = recipe / "releases" / release
        place.mkdir(parents=True)
        service = "{image: 'mumble:1', ports: [{target: 64738, published: 64738, mode: host}, {target: 1}]}"
        (place / "compose.yml").write_text(f"version: '3.8'\nservices: {{app: {service}}}\n", "utf-8")
    (recipe / "recipe.toml").write_text('[source]\nbundled = "releases"\n', "utf-8")
    monkeypatch.setattr(module, "engine_at_hand", lambda *_: Here)
    monkeypatch.setattr(module, "missing_images", lambda _client, images: images)
    monkeypatch.setattr(module, "published_ports", lambda _engine, but: {(64738, "tcp"): f"other, not {but}"})
    monkeypatch.setattr(module, "_size_of_known_good", lambda *_: 40_960)
    assert cli.main(["explain", str(recipe)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  images    mumble:1 (to fetch or build)" in lines
    assert "  port      64738/tcp" in lines
    assert any("64738/tcp by other, not warm-voice_ci_test is taken" in line for line in lines)
    assert any("a copy of the known-good takes at most 40.0 KiB" in line for line in lines)
    found = json.loads("\n".join(told(capsys, "--json")))
    assert found["free"] > 0
    assert found["known_good"] == 40_960


@pytest.mark.parametrize("arguments", [("--ccci-ref", "nowhere"), ("--ccci-base", "9.9.9+1")])
def test_what_a_run_would_refuse_is_refused(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", str(RECIPES / "custom-html"), *arguments]) == 2
    assert arguments[1] in capsys.readouterr().err
