"""What somebody else prunes between two quick runs costs a named step, and nothing of what is kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from page import COMPOSE, write_page
from realruns import PAGE_TEST, Outcome, Pytest, command, own_name

from pytest_ccci import process
from pytest_ccci.engine.client import Engine, connect
from pytest_ccci.engine.images import missing_images
from pytest_ccci.errors import Verdict
from pytest_ccci.results.write import load_result
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.store.canonical import CanonicalStore

TOML = 'name = "localhost/@NAME@"\nbase = "nginx:{version}"\n[versions]\n"1.22" = []\n'
DOCKERFILE = """\
ARG BASE
FROM ${BASE}
VOLUME /var/cache/pages
"""


def test_a_prune_between_two_quick_runs_costs_a_named_step(
    user_pytest: Pytest, warm_state: StateDir, engine: Engine, tmp_path: Path
) -> None:
    name = own_name()
    image = f"localhost/{name}:1.22"
    recipe = write_page(tmp_path / name, tests=PAGE_TEST, compose=COMPOSE.replace("nginx:1.22", image))
    built = recipe / "images" / name
    built.mkdir(parents=True)
    (built / "image.toml").write_text(TOML.replace("@NAME@", name), encoding="utf-8")
    (built / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
    seeded = user_pytest("--cold", "--ccci-ref", "latest", recipe)
    assert seeded.result.known_good.action == "seeded", seeded.out
    (outside,) = [path for path in seeded.result.coverage if path.kind == "image volume"]
    assert (outside.target, outside.covered) == ("/var/cache/pages", False)
    store = CanonicalStore(warm_state.canonical(name), name)
    before = store.fingerprint()

    # As `docker system prune -a -f --volumes` would, but of this app only: others use this engine too.
    engine.client.api.remove_image(image)
    volumes = [row["Name"] for row in engine.client.api.volumes()["Volumes"] or () if name in row["Name"]]
    for volume in volumes:
        engine.client.api.remove_volume(volume)

    done = user_pytest("--quick", recipe)
    assert done.rc == 0, done.out
    assert (done.result.mode, done.result.verdict) == ("quick", Verdict.PASS)
    assert done.tier("install").facts["images again"] == image
    assert "images again, removed by somebody else" in [step.name for step in done.tier("install").steps]
    assert store.fingerprint() == before
    assert missing_images(engine, [image]) == ()
    engine.client.api.remove_image(image)


START = """\
from pytest_ccci.engine.discovery import find_engine
from pytest_ccci.settings import resolve
from pytest_ccci.statedir import open_state
settings = resolve({}, {})
print(find_engine(settings, open_state(settings.state_dir)).host)
"""


@dataclass(frozen=True)
class Elsewhere:
    """An engine of its own, in a network of its own: one machine has no two Swarm managers."""

    state: StateDir
    inside: tuple[str, ...]
    engine: Engine

    def pytest(self, *words: str | Path) -> Outcome:
        """A pytest there, which opens one run."""
        before = set(self.state.runs.glob("*"))
        done = process.run([*self.inside, *command(*words)], timeout=600, check=False)
        print(done.stdout[-9000:], done.stderr[-3000:])  # noqa: T201  pytest shows it when the test fails
        (fresh,) = {path for path in set(self.state.runs.glob("*/")) - before if path.is_dir()}
        return Outcome(done.rc, done.stdout + done.stderr, (load_result(fresh / "results.json"),))


@pytest.fixture
def elsewhere(
    tmp_path: Path, warm_state: StateDir, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Elsewhere]:
    """It has the images that the suite's engine has, so that nothing is built for long."""
    state, net = open_state(tmp_path / "own"), f"ccci-{os.getpid()}"
    (state.root / "images").symlink_to((warm_state.root / "images").resolve())
    monkeypatch.setenv("CCCI_STATE_DIR", str(state.root))
    monkeypatch.delenv("DOCKER_HOST")
    inside = ("nsenter", f"--net=/run/netns/{net}")
    with ExitStack() as undo:
        process.run(["ip", "netns", "add", net], timeout=60)
        undo.callback(process.run, ["ip", "netns", "delete", net], timeout=60)
        for words in (
            "link set lo up",
            "link add here type veth peer there",
            "address add 10.214.0.1/30 dev here",
            "link set here up",
            "link set there up",
            "route add default via 10.214.0.2",
        ):
            process.run(["ip", "-netns", net, *words.split()], timeout=60)
        stop = [
            sys.executable,
            "-c",
            "import sys; from pytest_ccci.cli import main; sys.exit(main())",
            "engine",
            "stop",
        ]
        undo.callback(process.run, [*inside, *stop, "--remove"], timeout=300)
        host = process.run([*inside, sys.executable, "-c", START], timeout=300).stdout.split()[-1]
        own = connect(host)
        for image in engine.client.images.list():
            for ref in image.tags:
                if ref.startswith(("nginx:", "traefik:", "debian:", "localhost/pytest-ccci-certificates:")):
                    own.client.images.load(b"".join(image.save(named=ref)))
        yield Elsewhere(state, inside, own)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start an engine")
def test_a_prune_of_the_whole_engine_costs_what_it_removed_and_nothing_else(
    elsewhere: Elsewhere, page_recipe: Path
) -> None:
    run, own, name = elsewhere.pytest, elsewhere.engine, page_recipe.name
    assert run("--cold", "--ccci-ref", "latest", page_recipe).result.known_good.action == "seeded"
    store = CanonicalStore(elsewhere.state.canonical(name), name)
    before = store.fingerprint()
    first = run("--quick", page_recipe)
    assert (first.rc, first.result.mode) == (0, "quick"), first.out
    assert "images again" not in first.tier("install").facts

    process.run(["docker", "-H", own.host, "system", "prune", "-a", "-f", "--volumes"], timeout=120)
    assert missing_images(own, ["nginx:1.22"]) == ("nginx:1.22",)
    assert store.fingerprint() == before
    assert store.verify() == ()

    second = run("--quick", page_recipe)
    assert (second.rc, second.result.mode, second.result.verdict) == (0, "quick", Verdict.PASS), second.out
    assert second.tier("install").facts["images again"] == "nginx:1.22"
    again = [step.name for step in second.tier("install").steps]
    assert "images again, removed by somebody else" in again
    usual = [step.name for step in first.tier("install").steps]
    assert [step for step in again if step != "images again, removed by somebody else"] == usual, "nothing else"
    assert {tier.tier: tier.verdict for tier in second.result.tiers} == {
        tier.tier: tier.verdict for tier in first.result.tiers
    }
    assert second.result.warnings == first.result.warnings
    assert store.fingerprint() == before
    assert missing_images(own, ["nginx:1.22"]) == ()
