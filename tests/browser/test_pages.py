"""The pages in a real Chromium: whole in each width and colour, also by keyboard or with a screen reader only.

``CCCI_SHOTS`` is a folder that takes a picture of each, to be looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from maderuns import hostile_result, made_result, red_result, written

from pytest_ccci import process
from pytest_ccci.errors import Verdict
from pytest_ccci.ops.inflight import Holder
from pytest_ccci.ops.report import recipes_page
from pytest_ccci.ops.status import CanonicalRow, DiskRow, EngineRow, InfraRow, Situation
from pytest_ccci.results.index import note_disk
from pytest_ccci.results.model import KnownGoodChange, RunResult
from pytest_ccci.results.pages import folder_of
from pytest_ccci.results.publish import publish, write_recipe_page
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.warm.alerts import AlertKind, Hold

pytestmark = pytest.mark.full

GONE = "the snapshot's Merkle root is not that of its manifest: 3 files differ, the first is db/base/16384/2619"


def _quarantined() -> RunResult:
    change = KnownGoodChange(before="1.0.0+2.7", after="1.0.0+2.7", action="quarantined", reason=GONE)
    return red_result(5, verdict=Verdict.ERROR, mode="quick", requested_mode="quick", known_good=change, recipe="notes")


def _error() -> RunResult:
    why = "the engine went away: Cannot connect to the Docker daemon at unix:///run/docker.sock"
    tiers = tuple(
        tier.model_copy(update={"verdict": Verdict.ERROR, "reason": why}) if tier.verdict == Verdict.FAIL else tier
        for tier in red_result().tiers
    )
    return red_result(4, verdict=Verdict.ERROR, tiers=tiers, recipe="files")


RUNS = {
    "green": made_result(1),
    "red": red_result(2),
    "again, green": made_result(3, head=red_result().head, mode="quick", requested_mode="quick"),
    "error": _error(),
    "quarantined": _quarantined(),
    "hostile": hostile_result(6, long=1 << 20),
}


def _situation() -> Situation:
    """A machine with something of each kind that its page tells."""
    hold = Hold("keycloak", "10.0.0", "11.0.0", AlertKind.HELD_MAJOR, ("a major version",), "2026-11-20T03:00:00+00:00")
    infra = (
        InfraRow("traefik", "traefik.ci.test", "healthy", "3.0.0+v3.5.0", last_good="3.0.0+v3.5.0"),
        InfraRow("keycloak", "keycloak.ci.test", "unhealthy", "10.0.0+26.3", hold=hold, held_for=864000.0),
    )
    canonicals = (CanonicalRow("notes", "/srv/ci/canonical/notes", "xfs", "", release="1.0.0+2.7", quarantine=GONE),)
    runs = (Holder("0", "r1", "files", "cold", "upgrade", "11", "2026-11-30T11:50:00+00:00"),)
    alert: dict[str, object] = {"kind": "disk", "app": "", "time": "2026-11-30T11:00:00+00:00", "notes": "4.1 GiB free"}
    engine = EngineRow("unix:///run/docker.sock", version="27.5.1", storage="overlay2")
    disk = DiskRow(80 << 30, 1 << 30, None)
    return Situation("/srv/ci", "ci.test", engine, infra, canonicals, runs, (), (alert,), disk)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The file of each page, by what it shows."""
    state = open_state(tmp_path_factory.mktemp("pages") / "state")
    shown: dict[str, Path] = {}
    for name, result in RUNS.items():
        publish(state, written(state, result))
        shown[f"run, {name}"] = state.run(result.run_id) / "index.html"
    for recipe in {result.recipe for result in RUNS.values()}:
        write_recipe_page(state, recipe)
    shown["recipe"] = _recipe(state, "lasuite-docs")
    shown["recipe, hostile"] = _recipe(state, RUNS["hostile"].recipe)
    for hour in range(0, 24, 3):
        note_disk(state, at=f"2026-11-30T{hour:02}:00:00+00:00", free=(90 - hour) << 30)
    shown["dashboard"] = state.pages / "index.html"
    shown["dashboard"].write_text(recipes_page(state, here=_situation(), slots=2), "utf-8")
    return shown


def _recipe(state: StateDir, name: str) -> Path:
    return state.pages / folder_of(name) / "index.html"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser; the tests are skipped where there is none, and fail on a CI machine."""
    binary = process.which("chromium") or process.which("google-chrome")
    if binary is None and "CI" not in os.environ:
        pytest.skip("there is no Chromium here: apt install chromium")
    assert binary is not None, "there is no Chromium here: apt install chromium"
    playwright = pytest.importorskip("playwright.sync_api", reason="the extra pages is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(binary), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A tab that has noted what its console said, what went wrong, and what it asked for beside its own page."""
    width, scheme = getattr(request, "param", (1280, "light"))
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab = context.new_page()
    tab.complaints = []
    tab.on("console", lambda message: tab.complaints.append(message.text))
    tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.on("dialog", lambda dialog: (tab.complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
    tab.on("request", lambda asked: asked.is_navigation_request() or tab.complaints.append(f"asked for {asked.url}"))
    yield tab
    context.close()


KINDS = [*(f"run, {name}" for name in RUNS), "recipe", "recipe, hostile", "dashboard"]


@pytest.mark.parametrize("opened", [(w, s) for w in (1280, 360) for s in ("light", "dark")], indirect=True, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_whole_quiet_and_can_be_read_by_all(opened: Any, pages: dict[str, Path], kind: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra pages is not installed")
    opened.goto(pages[kind].as_uri())
    _picture(opened, kind)
    opened.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
    assert opened.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, "it scrolls sideways"
    found = axe.Axe().run(opened, options={"resultTypes": ["violations"]}).response["violations"]
    serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}]
    assert serious == []
    assert opened.complaints == []


def _picture(tab: Any, kind: str) -> None:
    if folder := os.environ.get("CCCI_SHOTS"):
        dark = tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        look = f"{tab.viewport_size['width']}-{'dark' if dark else 'light'}"
        name = kind.replace(", ", "-").replace(" ", "-")
        tab.screenshot(path=f"{folder}/{name}-{look}.png", full_page="hostile" not in kind)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "hostile" not in kind])
def test_the_keyboard_alone_reaches_all_that_can_be_used_and_shows_where_it_is(
    opened: Any, pages: dict[str, Path], kind: str
) -> None:
    opened.goto(pages[kind].as_uri())
    usable = opened.locator("a[href], summary, [tabindex='0']").evaluate_all(
        "all => all.filter(one => one.checkVisibility() && !one.closest('details:not([open]) > :not(summary)')).length"
    )
    reached = 0
    opened.keyboard.press("Tab")
    while opened.evaluate("document.activeElement !== document.body") and reached <= usable:
        style = "getComputedStyle(document.activeElement)"
        assert opened.evaluate(f"{style}.outlineStyle !== 'none' && {style}.outlineWidth !== '0px'"), "no focus is seen"
        reached += 1
        opened.keyboard.press("Tab")
    assert reached == usable


def test_from_all_recipes_to_a_red_runs_last_lines_by_keyboard_only(opened: Any, pages: dict[str, Path]) -> None:
    opened.goto(pages["dashboard"].as_uri())
    _tab_to(opened, "lasuite-docs")
    opened.keyboard.press("Enter")
    opened.wait_for_url(f"{pages['recipe'].as_uri()}**")
    _tab_to(opened, RUNS["red"].run_id)
    opened.keyboard.press("Enter")
    opened.wait_for_url(f"{pages['run, red'].as_uri()}**")
    _tab_to(opened, "last lines of backend")
    opened.keyboard.press("Enter")
    assert opened.get_by_text("column documents_document.field does not exist").last.is_visible()
    assert opened.complaints == []


def _tab_to(tab: Any, text: str) -> None:
    """Press Tab until what has the focus says ``text``."""
    for _ in range(200):
        tab.keyboard.press("Tab")
        said = "document.activeElement.textContent + (document.activeElement.getAttribute('href') || '')"
        if text in tab.evaluate(said):
            return
    pytest.fail(f"{text!r} is not reached by the keyboard")
