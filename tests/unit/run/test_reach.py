"""A run that is told what its head may reach: refused in words before it has a directory, or opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ccci.errors import OptionError, RecipeInvalid, RefError
from pytest_ccci.recipe.spec import RecipeSpec, load_spec
from pytest_ccci.run.prepare import open_context
from pytest_ccci.settings import resolve

COMPOSE = "services:\n  app:\n    image: notes:1\n    volumes: [{volumes}]\n"


@pytest.fixture
def spec(tmp_path: Path) -> RecipeSpec:
    """A release that mounts one folder of the machine, a tip that mounts none, and a branch that mounts two."""
    folder = tmp_path / "notes"
    for place, volumes in (
        ("1-1.0.0+1", "'/srv/media:/m:ro'"),
        ("tip", ""),
        ("pr/wide", "'/srv/media:/m:ro', '/var/run/docker.sock:/s', '/etc:/e:ro'"),
    ):
        (folder / "releases" / place).mkdir(parents=True)
        (folder / "releases" / place / "compose.yml").write_text(COMPOSE.format(volumes=volumes), encoding="utf-8")
    (folder / "recipe.toml").write_text('[source]\nbundled = "releases"\n', encoding="utf-8")
    return load_spec(folder)


def opened(spec: RecipeSpec, tmp_path: Path, **given: str) -> str:
    """The version of a run that was opened, and whether it was given a directory."""
    context = open_context(spec, resolve({"state_dir": str(tmp_path / "state"), **given}, {}, {}))
    assert list((tmp_path / "state" / "runs").iterdir())
    return context.head.version


def test_a_head_that_reaches_more_is_refused_before_anything_is_made(spec: RecipeSpec, tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid) as caught:
        opened(spec, tmp_path, ref="pr/wide", reach="1.0.0+1")
    assert "reaches outside of its app what 1.0.0+1 does not; nothing was deployed" in caught.value.what
    assert "app: /var/run/docker.sock, by which the Docker engine is reached" in caught.value.seen
    assert "/etc of the machine: the base does not reach it" in caught.value.seen
    assert "/srv/media" not in caught.value.seen
    assert "--ccci-grant=bind:/var/run/docker.sock" in caught.value.advice
    runs = tmp_path / "state" / "runs"
    assert not runs.exists() or not list(runs.iterdir())


def test_what_is_granted_passes(spec: RecipeSpec, tmp_path: Path) -> None:
    grants = "bind:/var/run/docker.sock 'bind:/etc:ro'"
    assert opened(spec, tmp_path, ref="pr/wide", reach="1.0.0+1", grant=grants)


@pytest.mark.parametrize(
    "given", [{"ref": "pr/wide"}, {"ref": "tip", "reach": "1.0.0+1"}, {"ref": "1.0.0+1", "reach": "1.0.0+1"}]
)
def test_a_head_that_reaches_no_more_or_is_not_asked_is_opened(
    given: dict[str, str], spec: RecipeSpec, tmp_path: Path
) -> None:
    assert opened(spec, tmp_path, **given)


def test_a_base_that_is_nothing_and_a_grant_that_cannot_be_read_are_errors(spec: RecipeSpec, tmp_path: Path) -> None:
    with pytest.raises(RefError, match="'nothing' is no branch, tag or commit"):
        opened(spec, tmp_path, reach="nothing")
    with pytest.raises(OptionError, match="No closing quotation"):
        opened(spec, tmp_path, reach="tip", grant="'bind:/")
