"""A red run as one file: played on an empty state directory it fails in the same way, and no secret is in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from page import COMPOSE, TOML, write_page
from realfixtures import SHARED
from realruns import PAGE_TEST, Pytest, ccci, own_name, why_the_upgrade_is_red

from pytest_ccci.errors import Verdict
from pytest_ccci.ops.bundle import open_bundle
from pytest_ccci.recipe.git import Git
from pytest_ccci.results.write import load_result
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.warm.infra_recipe import known_secrets

GIVEN = "Zq8LkP2wVx7tRb5nGiven"
SECRET = """\
secrets: {key: {external: true, name: "${STACK_NAME}_key_${SECRET_KEY_VERSION}"}}
volumes: {content: }
"""


@pytest.fixture
def empty_state(warm_state: StateDir) -> Iterator[StateDir]:
    """Another state directory on the same engine, which shares nothing but zone and infra."""
    other = open_state(warm_state.root.with_name(f"{warm_state.root.name}-other"))
    for name in SHARED:
        (other.root / name).symlink_to((warm_state.root / name).resolve())
    yield other
    shutil.rmtree(other.root)


def recipe_with_a_secret(folder: Path) -> Path:
    """The page recipe with a secret that is given; its tip tells it to its log, and dies."""
    compose = COMPOSE.replace("volumes: {content: }\n", SECRET)
    compose = compose.replace("networks: [proxy]", "networks: [proxy]\n    secrets: [key]")
    toml, tests = f'{TOML}[secrets]\nkey = "{GIVEN}"\n', f"{PAGE_TEST}\nKEY = {GIVEN!r}\n"
    recipe = write_page(folder, tests=tests, compose=compose, toml=toml)
    with (recipe / "releases" / "1-1.0.0+1.22" / ".env.sample").open("a", encoding="utf-8") as sample:
        sample.write("SECRET_KEY_VERSION=v1\n")
    tip = recipe / "releases" / "tip" / "compose.yml"
    broken = "image: nginx:1.22\n    command: [bash, -c, 'echo the key is $$(cat /run/secrets/key); exit 3']"
    tip.write_text(tip.read_text("utf-8").replace("image: nginx:1.22", broken), "utf-8")
    return recipe


def test_a_bundle_of_a_red_run_fails_alike_on_an_empty_state_directory_and_holds_no_secret(
    user_pytest: Pytest, warm_state: StateDir, empty_state: StateDir, tmp_path: Path
) -> None:
    recipe = recipe_with_a_secret(tmp_path / "recipes" / own_name())
    done = user_pytest("--cold", recipe)
    assert "the key is [secret]" in "".join(e.text for tier in done.result.tiers for e in tier.evidence)
    reason = why_the_upgrade_is_red(done)
    bundle = tmp_path / "run.tar.zst"
    assert ccci("bundle", done.result.run_id, "-o", bundle).rc == 0
    shutil.rmtree(recipe)

    played = ccci("replay", bundle, f"--ccci-state-dir={empty_state.root}")
    assert played.rc == 0, played.stderr
    assert "The same step came to the same verdict." in played.stdout
    (path,) = empty_state.runs.glob("*/results.json")
    again = load_result(path)
    assert again.verdict == Verdict.FAIL
    assert next(tier for tier in again.tiers if tier.tier == "upgrade").verdict == Verdict.FAIL
    assert (again.base, again.head) == (done.result.base, again.head)
    assert again.head is not None
    assert done.result.head is not None
    assert again.head.commit == done.result.head.commit
    assert reason.partition(" ")[0] == next(t.reason for t in again.tiers if t.tier == "upgrade").partition(" ")[0]

    (tmp_path / "open").mkdir()
    replay = open_bundle(bundle, tmp_path / "open")
    git = Git(tmp_path / "open" / "repository.git")
    names = "".join(f"{row.split(' ')[0]}\n" for row in git.run("rev-list", "--objects", "--all").stdout.splitlines())
    objects = git.run("cat-file", "--batch", stdin=names.encode()).stdout
    planted = [GIVEN, *(value for app in ("traefik", "keycloak") for value in known_secrets(warm_state, app).values())]
    texts = {str(file): file.read_text("utf-8", "replace") for file in (tmp_path / "open").rglob("*") if file.is_file()}
    assert len(planted) > 1
    assert [name for name, text in {**texts, "objects": objects}.items() if any(one in text for one in planted)] == []
    assert replay.bundle.replaced == ("recipe.toml", "test_page.py")
