"""The pages: what they say, and that no text in them is more than text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from maderuns import hostile_result, made_result, red_result, written

from pytest_ccci.errors import Verdict
from pytest_ccci.ops.inflight import Holder
from pytest_ccci.ops.status import DiskRow, EngineRow, Situation
from pytest_ccci.redact import Redactor
from pytest_ccci.results import pages
from pytest_ccci.results import publish as publishing
from pytest_ccci.results import write as writing
from pytest_ccci.results.index import RunRow, record, row_of
from pytest_ccci.results.model import Evidence, KnownGoodChange, RefFact, RunResult
from pytest_ccci.results.pages import (
    badge_json,
    badge_svg,
    commit_link,
    dashboard_page,
    flaky,
    folder_of,
    inert,
    medians,
)
from pytest_ccci.results.publish import publish, write_recipe_page, write_run_page
from pytest_ccci.statedir import StateDir

ELEMENTS = """
    html head meta title style body a div nav main footer section h1 h2 h3 p span strong dl dt dd table thead tbody tr
    th td details summary pre code br ul ol li svg rect line polyline path text
"""
ATTRIBUTES = """
    lang charset http-equiv content name class id href title aria-label aria-hidden role scope colspan data-label
    tabindex open viewbox width height preserveaspectratio x y x1 x2 y1 y2 points reversed xmlns rx fill d font-family
    font-size text-anchor textlength
"""


class Seen(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def published(state: StateDir, *results: RunResult) -> Seen:
    """The page of the last of these runs, each of which has ended."""
    for result in results:
        publish(state, written(state, result))
    return Seen((state.run(results[-1].run_id) / "index.html").read_text("utf-8"))


def recipe_seen(state: StateDir, recipe: str = "lasuite-docs") -> Seen:
    return Seen((state.pages / folder_of(recipe) / "index.html").read_text("utf-8"))


def test_a_red_run_says_what_happened_why_and_whose_it_is(state: StateDir) -> None:
    text = published(state, red_result()).text
    said = (
        "lasuite-docs fail cold",
        "upgrade: backend keeps crashing (3 tasks in 9 s): column documents_document.field does not exist",
        "Blame: the recipe.",
        "upgraded from 1.0.0+2.7 aaaaaaaaaa",
        "to 1.1.0+2.8 cccccccccc (pr/broken-migration)",
        "not touched (the run is not green)",
        "upgrade: last lines of backend",
        "compose.yml:14 backend",
        "postgres:16 built",
        "keycloak 10.0.0+26.3",
        "LANGUAGE fr",
        "pytest --cold --ccci-ref",
    )
    assert [one for one in said if one not in text] == []


SHA = "0123456789abcdef0123456789abcdef01234567"
HEAD = RefFact(ref="tip", commit=SHA, version="01234567")


@pytest.mark.parametrize(
    ("source", "link"),
    [
        ("https://github.com/owner/recipe.git", f"https://github.com/owner/recipe/commit/{SHA}"),
        (
            "https://git.coopcloud.tech/coop-cloud/hedgedoc",
            f"https://git.coopcloud.tech/coop-cloud/hedgedoc/commit/{SHA}",
        ),
        ("https://git.example.org:3000/a/b/", f"https://git.example.org:3000/a/b/commit/{SHA}"),
        ("https://gitlab.com/group/sub/recipe.git", f"https://gitlab.com/group/sub/recipe/-/commit/{SHA}"),
        ("https://gitlab.example.org/a/b", f"https://gitlab.example.org/a/b/-/commit/{SHA}"),
        ("git@codeberg.org:owner/recipe.git", f"https://codeberg.org/owner/recipe/commit/{SHA}"),
        ("ssh://git@github.com/owner/recipe", f"https://github.com/owner/recipe/commit/{SHA}"),
        ("git@git.example.org:owner/recipe.git", ""),
        ("http://github.com/owner/recipe.git", ""),
        ("https://user@github.com/owner/recipe", ""),
        ("https://github.com/owner", ""),
        ("https://github.com/../recipe", ""),
        ("https://github.com/owner/recipe?x=1", ""),
        ("https://github.com/owner/recipe#x", ""),
        ("https://github.com/a/b\n.git", ""),
        ('https://github.com/a/"><script>', ""),
        ("https://github.com\\@evil.example.org/a/b", ""),
        ("https://g\u0131thub.com/a/b", ""),
        ("https://localhost/a/b", ""),
        ("javascript://github.com/a/b", ""),
        ("/srv/recipes/a", ""),
        ("", ""),
    ],
)
def test_a_commit_is_linked_only_where_the_remote_is_a_forge_for_sure(source: str, link: str) -> None:
    assert commit_link(source, HEAD) == link


def test_what_is_no_commit_of_the_remote_is_not_linked(state: StateDir) -> None:
    at = "https://github.com/owner/recipe"
    assert commit_link(at, None) == ""
    assert commit_link(at, HEAD.model_copy(update={"dirty": True})) == ""
    assert commit_link(at, HEAD.model_copy(update={"commit": SHA[:12]})) == ""
    page = published(state, made_result(source=at))
    assert f"{at}/commit/{'a' * 40}" in page.attributes["href"]
    assert f"{at}/commit/{'b' * 40}" in page.attributes["href"]


def test_the_diff_names_an_image_whose_tag_moved(state: StateDir) -> None:
    image = made_result().images[0]
    moved = image.model_copy(update={"digest": "sha256:" + "9" * 64})
    text = published(state, made_result(1), made_result(2, images=(moved, *made_result().images[1:]))).text
    diff = text.partition("Against the last green run")[2]
    assert "lasuite/impress-backend:v2.8 moved: sha256:222222222222 → sha256:999999999999" in diff


def test_a_run_in_another_mode_than_asked_and_a_quarantine_are_in_the_headline(state: StateDir) -> None:
    change = KnownGoodChange(before="1.0.0+2.7", after="1.0.0+2.7", action="quarantined", reason="it is not whole")
    result = red_result(requested_mode="quick", mode_reason="no known-good", known_good=change, verdict=Verdict.ERROR)
    text = published(state, result).text
    assert "It was cold, though quick was asked for: no known-good" in text
    assert "The known-good is in quarantine." in text.partition("Tiers")[0]
    assert "Blame: the machine or pytest-ccci, not the recipe." in text


def test_the_diff_names_the_image_that_moved_and_the_lines_that_are_new(state: StateDir) -> None:
    text = published(state, made_result(1), made_result(2), red_result(3)).text
    diff = text.partition("Against the last green run")[2].partition("Where the time went")[0]
    assert f"run {made_result(2).run_id}" in diff
    assert "lasuite/impress-backend: v2.8 → v2.9" in diff
    assert "upgrade, converge: 4.9 s → 12.1 s" in diff
    assert "ERROR django.db.utils.ProgrammingError" in diff


def test_a_green_run_that_was_pruned_is_told_without_a_diff(state: StateDir) -> None:
    published(state, made_result(1), red_result(2))
    (state.run(made_result(1).run_id) / "results.json").unlink()
    page = Seen(write_run_page(state, red_result(2)).read_text("utf-8"))
    assert "Its results were pruned" in page.text
    assert not any(made_result(1).run_id in href for href in page.attributes["href"])


def test_the_timeline_is_to_scale_and_the_same_for_both_modes(state: StateDir) -> None:
    cold, quick = made_result(1, seconds=50.0), made_result(2, mode="quick", requested_mode="quick", seconds=20.0)
    page = published(state, cold, quick)
    assert "on a clock of 50.0 s" in page.text
    widths = [float(width) for width in page.attributes["width"] if width not in {"100%", "1000"}]
    converge = 4.5 / 50.0 * 1000
    assert converge in widths


def test_steps_that_overlap_or_have_no_sense_stay_within_the_picture(state: StateDir) -> None:
    page = published(state, hostile_result(long=10))
    assert all(0 <= float(x) <= 1000 for x in page.attributes["x"])


def test_two_verdicts_of_one_commit_are_flaky_only_where_all_else_is_the_same(state: StateDir) -> None:
    red = {"verdict": Verdict.FAIL, "head": made_result().head}
    published(state, made_result(1), made_result(2), red_result(3, **red))
    text = recipe_seen(state).text
    assert "Flaky: cold runs of 1.1.0+2.8 bbbbbbbbbb from 1.0.0+2.7 came to fail (1), pass (2) on the same" in text

    rows = [row_of(made_result(1)), row_of(red_result(2, **red))]
    assert len(flaky(rows)) == 1
    others: list[dict[str, object]] = [
        {"infra": {"traefik": "3.1.0"}},
        {"asked": ("install",)},
        {"mode": "quick"},
        {"base": None},
        {"head": RefFact(ref="tip", commit="b" * 40, version="1.1.0+2.8", dirty=True)},
    ]
    for other in others:
        assert flaky([rows[0], row_of(red_result(2, **{**red, **other}))]) == []


def test_a_recipes_page_has_history_trend_medians_and_known_goods(state: StateDir) -> None:
    runs = [made_result(number, seconds=20.0 + number) for number in range(1, 9)]
    page = published(state, *runs, red_result(9))
    assert "converge 12.1 4.9" in page.text
    text = recipe_seen(state).text
    assert "8 green runs: median 24.5 s, newest 28.0 s, the newer half +18% against the older" in text
    assert "Median of each step, of 8 green runs" in text
    assert "Known-good 1.1.0+2.8 , promoted" in text


def test_medians_are_of_green_runs_and_sum_a_step_that_is_done_twice() -> None:
    def row(verdict: str, *took: float) -> RunRow:
        steps = tuple(("install", "deploy", each) for each in took)
        return RunRow("r", "x", "cold", "cold", verdict, "now", 1.0, steps=steps)

    rows = [row("fail", 99.0), row("pass", 1.0, 1.0), row("pass", 4.0), row("pass", 3.0)]
    assert medians(rows) == [("install", "deploy", 3.0, 2.0, 4.0)]


def unharmed(page: Seen, raw: str) -> None:
    """No element, attribute, address or character of anybody else's."""
    assert set(page.tags) <= set(ELEMENTS.split())
    assert set(page.attributes) <= set(ATTRIBUTES.split())
    ours = re.compile(
        r"#main|badge\.(svg|json)|(results\.json|journal\.jsonl)|(\.\./)+(runs|pages)/[\w.%-]*(/?[\w.%-]+)+|[\w%.-]+/index\.html|(\.\./)+index\.html"
    )
    assert [href for href in page.attributes["href"] if not ours.fullmatch(href)] == []
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]", raw) == []
    assert len(raw) < 4 << 20


def test_hostile_text_is_text_on_every_page(state: StateDir) -> None:
    hostile = hostile_result()
    publish(state, written(state, hostile))
    paths = [
        state.run(hostile.run_id) / "index.html",
        state.pages / folder_of(hostile.recipe) / "index.html",
    ]
    for path in paths:
        raw = path.read_text("utf-8")
        unharmed(Seen(raw), raw)
        assert "alert(1)" in Seen(raw).text
        assert "^[[2J" in raw
        assert "⟨U+202E⟩" in raw
        assert "{{ 7 * 7 }}" in raw
    raw = dashboard_page([row_of(hostile)], kept=lambda _: True, has_page=lambda _: True)
    unharmed(Seen(raw), raw)
    ET.fromstring((paths[1].parent / "badge.svg").read_text("utf-8"))  # noqa: S314  it is ours, and that is what is tested
    assert list(state.root.parent.iterdir()) == [state.root]


def test_no_page_allows_a_script_or_any_address(state: StateDir) -> None:
    page = published(state, made_result())
    raw = (state.run(made_result().run_id) / "index.html").read_text("utf-8")
    policy = next(content for content in page.attributes["content"] if "default-src" in content)
    style = re.search(r"<style>(.*?)</style>", raw, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "style" not in page.attributes
    assert not re.search(r"(src|href)=.?https?:", raw)


def test_a_planted_secret_is_on_no_page_nor_in_index_or_badge(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "Zq8LkP2wVx7tRb5n"
    monkeypatch.setattr(writing, "SECRETS", Redactor([secret]))
    head = made_result().head
    assert head is not None
    evidence = (Evidence(title=f"log {secret}", text=f"DATABASE_URL=postgres://u:{secret}@db/x " * 2000),)
    red = red_result(
        2,
        evidence=evidence,
        warnings=(f"it says {secret}",),
        head=head.model_copy(update={"ref": secret, "version": f"1.0.0+{secret}"}),
        settings={"x": secret},
        reproduce=f"pytest {secret}",
    )
    published(state, made_result(1, warnings=(secret,)), red)
    written_files = [path for path in state.root.rglob("*") if path.is_file()]
    assert {"index.html", "badge.svg", "index.sqlite"} <= {path.name for path in written_files}
    for encoded in (secret, secret[:12], base64.b64encode(secret.encode()).decode()[:16]):
        assert [path for path in written_files if encoded.encode() in path.read_bytes()] == []
    assert "[secret]" in (state.run(red.run_id) / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31m\x7f\r", "^[[31m^?^M"),
        ("a\u202eb\u2069\x85\ud800", "a⟨U+202E⟩b⟨U+2069⟩⟨U+0085⟩⟨U+D800⟩"),
        ("grüße 日本語 🙂", "grüße 日本語 🙂"),
        ("x" * 30, "xxxxxxxxxxxxxxxxxxxx … (10 more characters)"),
    ],
)
def test_what_a_terminal_or_reader_would_obey_is_in_the_open(text: str, shown: str) -> None:
    assert inert(text, 20) == shown


@pytest.mark.parametrize("name", ["..", ".", "", "a/../../b", "/etc", "x" * 300, "\0", "%2e%2e", "ä b", ".hidden"])
def test_a_recipes_folder_stays_in_its_place(name: str, state: StateDir) -> None:
    folder = folder_of(name)
    assert re.fullmatch(r"[A-Za-z0-9%_~-][A-Za-z0-9%._~-]*", folder)
    assert (state.pages / folder).resolve().parent == state.pages.resolve()


def test_different_recipes_have_different_folders() -> None:
    names = ["a", "A", "a/b", "a%2Fb", "..", "%2E.", "x" * 300, "x" * 301]
    assert len({folder_of(name) for name in names}) == len(names)


def test_badges_say_verdict_and_version(state: StateDir) -> None:
    publish(state, written(state, made_result()))
    folder = state.pages / "lasuite-docs"
    told = json.loads((folder / "badge.json").read_text())
    assert told == {"schemaVersion": 1, "label": "ccci", "message": "pass · 1.1.0+2.8", "color": "brightgreen"}
    assert "pass · 1.1.0+2.8" in (folder / "badge.svg").read_text("utf-8")
    assert json.loads(badge_json(None))["message"] == "no run"
    assert "no run" in badge_svg(None)


def test_the_dashboard_has_what_is_not_green_first() -> None:
    rows = [row_of(made_result(1, recipe="apple")), row_of(red_result(2, recipe="zebra"))]
    text = Seen(dashboard_page(rows, kept=lambda _: False, has_page=lambda _: False)).text
    assert text.index("zebra") < text.index("apple")
    assert "2 recipes, 1 not green" in text


NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def situation(*runs: Holder, free: int = 80 << 30, **more: object) -> Situation:
    """A machine of which nothing is known but this."""
    empty: tuple[()] = ()
    given: dict[str, object] = {"infra": empty, "canonicals": empty, "leases": empty, "alerts": empty, **more}
    engine = EngineRow("unix:///run/docker.sock", version="27.5.1")
    return Situation("/srv/ci", "ci.test", engine, runs=runs, disk=DiskRow(free, 1 << 30, None), **given)  # type: ignore[arg-type]  # its fields by name


def test_the_dashboard_says_who_holds_a_slot_until_when_and_which_are_free() -> None:
    def since(hour: int) -> str:
        return f"2026-11-30T{hour:02}:50:00+00:00"

    runs = (
        Holder("0", "r1", "notes", "cold", "", "11", since(11)),
        Holder("2", "r2", "late", "cold", "", "12", since(10)),
        Holder("x.ci.test", "r3", "new", "quick", "", "13", "no time"),
    )
    usual = {("notes", "cold"): 900.0, ("late", "cold"): 600.0, ("new", "quick"): 20.0}
    page = dashboard_page(
        [], kept=lambda _: True, has_page=lambda _: True, here=situation(*runs), slots=4, usual=usual, now=NOW
    )
    text = Seen(page).text
    assert "notes cold r1 pid 11 2026-11-30 11:50 UTC in about 5 min" in text
    assert "late cold r2 pid 12 2026-11-30 10:50 UTC 1 h later than usual" in text
    assert "no slot new quick r3 pid 13 no time not known" in text
    assert re.findall(r"slot (\d) free", text) == ["1", "3"]


def test_the_dashboard_shows_how_the_free_disk_went_in_a_week() -> None:
    disk = [
        ("2026-11-30T06:00:00+00:00", 90 << 30),
        ("2026-11-25T12:00:00+00:00", 100 << 30),
        ("2026-10-01T12:00:00+00:00", 500 << 30),
        ("<b>", 1),
    ]
    page = dashboard_page(
        [], kept=lambda _: True, has_page=lambda _: True, here=situation(), slots=1, disk=disk, now=NOW
    )
    assert "20.0 GiB less than 5 d ago" in Seen(page).text
    assert 'points="171.4,0.0 578.6,6.0 600.0,12.0"' in page
    alone = dashboard_page([], kept=lambda _: True, has_page=lambda _: True, here=situation(), slots=1, now=NOW)
    assert "polyline" not in alone


def test_a_page_that_cannot_be_written_is_told_and_the_rest_is(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    path = written(state, made_result())
    (state.run(made_result().run_id) / "index.html").mkdir()
    publish(state, path)
    assert "the run has no page yet" in caplog.text
    assert (state.pages / "lasuite-docs" / "index.html").is_file()
    monkeypatch.setattr(publishing, "write_atomic", full)
    publish(state, path)
    assert "its recipe's page is an older one: [Errno 28] No space left on device" in caplog.text


def test_a_recipe_without_any_run_has_a_page_all_the_same(state: StateDir) -> None:
    assert "No run is known." in Seen(write_recipe_page(state, "new").read_text("utf-8")).text


def test_pages_are_for_their_owner_only(state: StateDir) -> None:
    record(state, row_of(made_result()))
    publish(state, written(state, made_result()))
    pages: list[Path] = [*state.pages.rglob("*.*"), *state.runs.rglob("index.html")]
    assert {path.stat().st_mode & 0o077 for path in pages} == {0}


def test_what_is_compiled_of_the_templates_is_kept_where_python_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a folder for temporary files, where it would stay for ever."""
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    place = pages._place_for_compiled(Path("/opt/site/templates"))
    assert place == tmp_path / "opt/site/templates"
    assert place.is_dir()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert pages._place_for_compiled(Path("/opt/site/templates")) is None


def test_where_nothing_can_be_kept_the_page_is_made_all_the_same(
    state: StateDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "file"))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    pages._environment.cache_clear()
    try:
        assert write_run_page(state, made_result(1)).is_file()
    finally:
        pages._environment.cache_clear()
