"""``ccci report`` and ``ccci index``, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from maderuns import made_result, red_result, written

from pytest_ccci import cli
from pytest_ccci.cli import report as module
from pytest_ccci.results.publish import publish
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.alerts import Alert, AlertKind, Hold, keep_hold, write_alert


@pytest.fixture(autouse=True)
def _here(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CCCI_STATE_DIR", str(state.root))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    for result in (made_result(1), red_result(2), made_result(3, recipe="notes")):
        publish(state, written(state, result))


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_all_of_it_is_written_anew(state: StateDir, capsys: pytest.CaptureFixture[str]) -> None:
    pages = [*state.pages.rglob("*.html"), *state.runs.rglob("*.html")]
    for page in pages:
        page.unlink()
    assert cli.main(["report", "--all"]) == 0
    assert said(capsys) == str(state.pages / "index.html")
    assert all(page.is_file() for page in pages)
    text = (state.pages / "index.html").read_text("utf-8")
    assert "2 recipes, 1 not green" in text
    assert 'href="lasuite-docs/index.html"' in text
    assert f'href="../runs/{red_result(2).run_id}/index.html"' in text


def test_the_dashboard_says_how_the_machine_stands(state: StateDir) -> None:
    write_alert(state, Alert(AlertKind.ROLLED_BACK, "traefik", notes="<b>it died</b>"))
    keep_hold(state, Hold("keycloak", "1", "2", AlertKind.HELD_MAJOR, ("major",), since="2026-01-01T00:00:00+00:00"))
    assert cli.main(["report"]) == 0
    text = (state.pages / "index.html").read_text("utf-8")
    assert "&lt;b&gt;it died&lt;/b&gt;" in text
    for told in (
        "rolled-back",
        "held",
        "major",
        "slot </span>1",
        "nowhere/docker.sock",
        "free,",
        "traefik",
        "keycloak",
    ):
        assert told in text.lower(), told


def test_a_run_or_a_recipe_by_its_name(state: StateDir, capsys: pytest.CaptureFixture[str]) -> None:
    run = red_result(2).run_id
    assert cli.main(["report", run]) == 0
    assert said(capsys) == str(state.run(run) / "index.html")
    assert cli.main(["report", "notes"]) == 0
    assert said(capsys) == str(state.pages / "notes" / "index.html")


@pytest.mark.parametrize("name", ["nothing", "../runs", "/etc", "."])
def test_what_is_neither_is_refused_with_what_there_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", name]) == 2
    assert "recipes: lasuite-docs, notes" in capsys.readouterr().err


def test_a_run_that_was_pruned_leads_to_its_recipe(state: StateDir, capsys: pytest.CaptureFixture[str]) -> None:
    run = red_result(2).run_id
    (state.run(run) / "results.json").unlink()
    assert cli.main(["report", run]) == 2
    assert "ccci report lasuite-docs" in capsys.readouterr().err


def test_it_is_opened_by_the_program_of_the_desktop(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[list[object]] = []
    monkeypatch.setattr(module, "which", lambda name: Path("/usr/bin") / name)
    monkeypatch.setattr(module, "run_program", lambda argv, **_: opened.append(argv))
    assert cli.main(["report", "notes", "--open"]) == 0
    assert opened == [[Path("/usr/bin/xdg-open"), (state.pages / "notes" / "index.html").as_uri()]]


def test_without_such_a_program_it_says_where_the_page_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "which", lambda _: None)
    assert cli.main(["report", "notes", "--open"]) == 1
    assert "open file:///" in capsys.readouterr().err


def test_the_index_is_shown_and_rebuilt(state: StateDir, capsys: pytest.CaptureFixture[str]) -> None:
    state.index.write_bytes(b"damaged")
    assert cli.main(["index", "--rebuild"]) == 0
    assert said(capsys) == f"{state.index}: 3 runs of 2 recipes"
    assert cli.main(["index"]) == 0
