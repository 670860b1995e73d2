"""What somebody else prunes between two quick runs costs a named step, and nothing of what is kept."""

from __future__ import annotations

from pathlib import Path

from page import COMPOSE, write_page
from realruns import PAGE_TEST, Pytest, own_name

from pytest_ccci.engine.client import Engine
from pytest_ccci.engine.images import missing_images
from pytest_ccci.errors import Verdict
from pytest_ccci.statedir import StateDir
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
