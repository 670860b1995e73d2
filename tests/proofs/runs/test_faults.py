"""Faults of the machine, planted one by one: each is an error and never the recipe's, and the next run is green.

An engine and a Keycloak that go away in the middle are in `test_outages.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from realfixtures import SHARED, starter
from realruns import Outcome, Pytest, of_stack

from pytest_ccci import process
from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import Verdict
from pytest_ccci.locks import hold
from pytest_ccci.recipe.names import canonical_domain
from pytest_ccci.run.host import Machine
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.warm.alerts import AlertKind, open_alerts

_MIB = 1024 * 1024
BIG = f"head -c {80 * _MIB} /dev/urandom > /usr/share/nginx/html/big; exec nginx -g 'daemon off;'"


def _is_the_machines(done: Outcome, engine: Engine, tier: str, words: str) -> None:
    assert done.rc != 0
    assert done.result.verdict == Verdict.ERROR
    assert Verdict.FAIL not in {each.verdict for each in done.result.tiers}
    assert done.tier(tier).verdict == Verdict.ERROR
    assert words in done.tier(tier).reason
    assert of_stack(engine, done.result.recipe[:4]) == []


@pytest.fixture
def small_state(machine: Machine, warm_state: StateDir, tmp_path: Path) -> Iterator[StateDir]:
    """A state directory on a file system of its own, with room for 8 MiB; engine, zone and infra are the suite's."""
    assert machine.engine.host == os.environ["DOCKER_HOST"]
    place = tmp_path / "small"
    place.mkdir()
    process.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "small", place], timeout=60)
    try:
        state = open_state(place / "state")
        for name in SHARED:
            (state.root / name).symlink_to(warm_state.root / name)
        yield state
    finally:
        process.run(["umount", "--lazy", place], timeout=60)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_disk_that_is_full(
    small_state: StateDir, page_recipe: Path, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCCI_STATE_DIR", str(small_state.root))
    run = starter(small_state, tmp_path)
    for compose in page_recipe.glob("releases/*/compose.yml"):
        text = compose.read_text("utf-8")
        command = f'    command: [sh, -c, "{BIG}"]\n    environment:'
        compose.write_text(text.replace("    environment:", command), "utf-8")
    _is_the_machines(run("--cold", page_recipe), engine, "install", "no room for a run")
    # Bytes enough, and too few inodes.
    _resize(small_state, "400m,nr_inodes=900")
    _is_the_machines(run("--cold", page_recipe), engine, "install", "inodes needed")
    told = [alert for _, alert in open_alerts(small_state) if alert.app == page_recipe.name]
    assert [alert.kind for alert in told] == [AlertKind.DISK], "one, which the second one renewed"
    assert "inodes needed" in told[0].notes
    # Room enough for what is known beforehand, and not for the archive of what the app then writes.
    _resize(small_state, "72m,nr_inodes=100000")
    _is_the_machines(run("--cold", page_recipe), engine, "backup", "No space left on device")
    _resize(small_state, "400m")
    assert run("--cold", page_recipe).rc == 0


def _resize(state: StateDir, size: str) -> None:
    process.run(["mount", "-o", f"remount,size={size}", state.root.parent], timeout=60)


def test_a_registry_that_answers_that_it_was_asked_too_often(
    user_pytest: Pytest, page_recipe: Path, engine: Engine, httpserver: HTTPServer
) -> None:
    answer = {"errors": [{"code": "TOOMANYREQUESTS", "message": "you have reached your pull rate limit"}]}
    httpserver.expect_request("/v2/").respond_with_json({})
    httpserver.expect_request("/v2/page/manifests/9").respond_with_json(answer, status=429)
    tip = page_recipe / "releases" / "tip" / "compose.yml"
    good = tip.read_text("utf-8")
    tip.write_text(good.replace("image: nginx:1.22", f"image: 127.0.0.1:{httpserver.port}/page:9"), "utf-8")
    _is_the_machines(user_pytest("--cold", page_recipe), engine, "upgrade", "pull rate limit")
    tip.write_text(good, "utf-8")
    assert user_pytest("--cold", page_recipe).rc == 0


def test_a_lock_that_another_run_holds_for_too_long(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir, machine: Machine
) -> None:
    assert user_pytest("--ccci-ref", "latest", page_recipe).rc == 0
    store = CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name)
    before = store.fingerprint()
    lock = warm_state.lock(canonical_domain(page_recipe.name, machine.settings.zone))
    with hold(lock, wait=0, owner={"run": "r0", "doing": "something that takes long"}):
        done = user_pytest("--quick", "--ccci-lock-wait=1s", page_recipe)
    assert done.rc != 0
    assert done.result.verdict == Verdict.ERROR
    assert Verdict.FAIL not in {each.verdict for each in done.result.tiers}
    assert "held by" in done.out
    assert "r0" in done.out
    assert store.fingerprint() == before
    assert user_pytest("--quick", page_recipe).rc == 0
