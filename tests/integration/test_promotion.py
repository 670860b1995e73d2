"""A promotion upgrades kept data, which no fresh app has: what that loses keeps the known-good where it is."""

from __future__ import annotations

from pathlib import Path

from realruns import Pytest, of_stack

from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import Verdict
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore

OLD, NEW = "1.0.0+1.22", "1.1.0+1.22"
SERVE = "exec nginx -g 'daemon off;'"
UPLOADS = "mkdir -p /usr/share/nginx/html/up; head -c 9000 /dev/zero | split -b 1000 - /usr/share/nginx/html/up/"
ONLY_IN_THE_CANONICAL = f"case ${{STACK_NAME}} in warm-*) {UPLOADS} ;; esac; {SERVE}"
"""What somebody left in the kept app long ago, and no fresh one has."""


def _starts_with(recipe: Path, release: str, command: str) -> None:
    (folder,) = (recipe / "releases").glob(f"*{release}")
    compose = folder / "compose.yml"
    image = "    image: nginx:1.22\n"
    text = compose.read_text("utf-8").replace(image, f'{image}    command: [sh, -c, "{command}"]\n')
    compose.write_text(text, "utf-8")


def test_a_release_that_loses_what_only_the_canonical_holds_is_not_promoted(
    page_recipe: Path, user_pytest: Pytest, warm_state: StateDir, engine: Engine, tmp_path: Path
) -> None:
    _starts_with(page_recipe, OLD, ONLY_IN_THE_CANONICAL)
    _starts_with(page_recipe, NEW, f"rm -rf /usr/share/nginx/html/up; {SERVE}")
    newer = page_recipe / "releases" / f"2-{NEW}"
    newer.rename(tmp_path / "later")
    assert user_pytest("--ccci-ref", "latest", page_recipe).result.known_good.action == "seeded"
    (tmp_path / "later").rename(newer)
    store = CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name)
    before = store.fingerprint()

    done = user_pytest("--ccci-ref", "latest", page_recipe)
    assert done.rc == 1
    assert done.tier("upgrade").verdict == Verdict.PASS
    settle = done.tier("settle")
    assert settle.verdict == Verdict.FAIL
    assert "the promotion lost data: volume content holds " in settle.reason
    assert (done.result.known_good.action, done.result.known_good.after) == ("failed", OLD)
    assert store.fingerprint() == before
    assert of_stack(engine, f"warm-{page_recipe.name}") == []

    toml = page_recipe / "recipe.toml"
    meant = '[[expected_loss]]\nvolume = "content"\nreason = "uploads end with 1.1"\n'
    toml.write_text(toml.read_text("utf-8") + meant, "utf-8")
    assert user_pytest("--ccci-ref", "latest", page_recipe).result.known_good.action == "promoted"
