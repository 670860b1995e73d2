"""A recipe whose every text is hostile to who reads it: what people see is whole, and nothing of it runs."""

from __future__ import annotations

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

from page import COMPOSE, TOML, write_page
from realruns import Pytest

from pytest_ccci import process
from pytest_ccci.statedir import StateDir

SCRIPT = "</pre></td><script>alert(1)</script><img src=x onerror=alert(1)>"
SQL = "'); DROP TABLE runs; --"
OBEYED = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\u2066\u200b"
TEXT = f"{SCRIPT} {SQL} {OBEYED}"
BRANCH = "pr/<script>alert(1)</script>'\"$(touch${IFS}owned);DROP-\u202egnp"
CRASHES = f"""
printf '%s\\n' {json.dumps(TEXT.replace(chr(27), "@ESC@"), ensure_ascii=False)} | sed 's/@ESC@/\\x1b/g' >&2
head -c 10485760 /dev/zero | tr '\\0' A; echo
printf '%s\\n' 'Error: {SCRIPT.replace("'", "")} \x9b31m is not there' >&2
exit 1
"""
LONGEST = 4 << 20
GIT = process.which("git") or Path("git")
STEERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


class Tags(HTMLParser):
    """The tags of a page, and its addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.places: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.places += [value or "" for name, value in attrs if name in {"href", "src"}]
        assert not [name for name, _ in attrs if name.startswith("on")]


def hostile(folder: Path) -> Path:
    """The page recipe in a git repository; its branch crashes, with hostile labels, notes, log and name."""
    write_page(folder, tests="", toml=TOML.replace('bundled = "releases"', 'path = "recipe"'))
    repository = folder / "recipe"

    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run([GIT, "-C", repository, *who, *words], check=True, capture_output=True)

    repository.mkdir()
    git("init", "--quiet", "--initial-branch=main")
    for release in ("1-1.0.0+1.22", "2-1.1.0+1.22"):
        for file in (folder / "releases" / release).iterdir():
            (repository / file.name).write_bytes(file.read_bytes())
        git("add", "--all")
        git("commit", "--quiet", "-m", release)
        git("tag", release.partition("-")[2])
    git("switch", "--quiet", "-c", BRANCH)
    labels = json.dumps({"caption": TEXT, SCRIPT: SQL})
    command = json.dumps(["bash", "-c", CRASHES.replace("$", "$$")])
    text = COMPOSE.replace("@RELEASE@", "1.1.0+1.22").replace(
        "    networks: [proxy]\n", f"    networks: [proxy]\n    labels: {labels}\n    command: {command}\n"
    )
    (repository / "compose.yml").write_text(text, "utf-8")
    (repository / "release").mkdir()
    (repository / "release" / "next").write_text(f"{TEXT}\n{'B' * (10 << 20)}\n", "utf-8")
    git("add", "--all")
    git("commit", "--quiet", "-m", TEXT)
    return folder


def test_terminal_page_and_result_are_whole_and_nothing_runs(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir
) -> None:
    folder = page_recipe.with_name(f"h{page_recipe.name}")
    done = user_pytest("--ccci-ref", BRANCH, "--color=no", hostile(folder))
    assert done.rc == 1, done.out
    assert STEERS.findall(done.out) == []
    assert max(map(len, done.out.splitlines())) < 2000
    assert "is not there" in done.out
    assert "alert(1)" in done.out
    place = warm_state.run(done.result.run_id)
    page = (place / "index.html").read_text("utf-8")
    assert STEERS.findall(page) == []
    seen = Tags(page)
    assert not seen.tags & {"script", "img", "iframe", "object", "form", "base"}
    assert not [where for where in seen.places if ":" in where]
    assert "&lt;script&gt;alert(1)" in page
    for file in (*place.rglob("*.json*"), place / "index.html"):
        assert file.stat().st_size < LONGEST, file
    assert done.result.head is not None
    assert BRANCH[:20] in done.result.head.ref
    assert not list(folder.rglob("owned*"))
