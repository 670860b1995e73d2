"""A cold run that is told its base: what is refused in words before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ccci.errors import OptionError, RefError, UsageError
from pytest_ccci.recipe.repository import Mirror, open_mirror
from pytest_ccci.recipe.spec import RecipeSpec, load_spec
from pytest_ccci.run.plan import Plan
from pytest_ccci.run.prepare import require_release_base
from pytest_ccci.run.session import open_run
from pytest_ccci.settings import Settings, resolve

TOML = 'canonical = true\n[source]\nbundled = "releases"\n'


@pytest.fixture
def spec(tmp_path: Path) -> RecipeSpec:
    """Three releases and a tip; the branch pr/old builds on the second."""
    folder = tmp_path / "notes"
    for place in ("1-1.0.0+1", "2-1.1.0+1", "3-2.0.0+1", "tip", "pr/old"):
        (folder / "releases" / place).mkdir(parents=True)
        (folder / "releases" / place / "compose.yml").write_text(f"x-of: {place}", encoding="utf-8")
    (folder / "releases" / "pr" / "old" / ".base").write_text("1.1.0+1", encoding="utf-8")
    (folder / "recipe.toml").write_text(TOML, encoding="utf-8")
    return load_spec(folder)


@pytest.fixture
def mirror(spec: RecipeSpec, tmp_path: Path) -> Mirror:
    return open_mirror(spec, cache=tmp_path / "cache")


def settings(tmp_path: Path, **given: str) -> Settings:
    return resolve({"state_dir": str(tmp_path / "state"), **given}, {}, {})


def plan(spec: RecipeSpec, mirror: Mirror, tmp_path: Path, base: str, ref: str = "tip") -> Plan:
    return require_release_base(spec, settings(tmp_path, base=base, ref=ref), mirror.resolve(ref), mirror)


@pytest.mark.parametrize(
    ("ref", "base", "unusual"),
    [
        ("tip", "2.0.0+1", ""),
        ("tip", "1.0.0+1", "it upgraded from 1.0.0+1, as was asked for, and not from 2.0.0+1"),
        ("latest", "1.0.0+1", "it upgraded from 1.0.0+1, as was asked for, and not from 1.1.0+1"),
        ("pr/old", "1.1.0+1", ""),
    ],
)
def test_an_older_release_is_the_base_that_is_asked_for(
    spec: RecipeSpec, mirror: Mirror, tmp_path: Path, ref: str, base: str, unusual: str
) -> None:
    found = plan(spec, mirror, tmp_path, base, ref)
    assert (found.base, found.unusual) == (base, unusual)


@pytest.mark.parametrize(
    ("ref", "base", "why"),
    [
        ("tip", "1.0.0+2", r"'1\.0\.0\+2' is no release of this recipe"),
        ("tip", "main", "'main' is no release of this recipe"),
        ("1.1.0+1", "1.1.0+1", r"it is not older than head \(1\.1\.0\+1\)"),
        ("1.1.0+1", "2.0.0+1", r"it is not older than head \(1\.1\.0\+1\)"),
        ("pr/old", "2.0.0+1", r"head does not build on it; the newest release that it builds on is 1\.1\.0\+1"),
    ],
)
def test_what_is_no_release_or_not_older_is_refused_with_those_there_are(
    spec: RecipeSpec, mirror: Mirror, tmp_path: Path, ref: str, base: str, why: str
) -> None:
    with pytest.raises(RefError, match=why) as caught:
        plan(spec, mirror, tmp_path, base, ref)
    assert "2.0.0+1, 1.1.0+1, 1.0.0+1" in caught.value.seen


def test_a_release_with_almost_that_name_is_named(spec: RecipeSpec, mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(RefError, match=r"did you mean 1\.0\.0\+1\?"):
        plan(spec, mirror, tmp_path, "v1.0.0+1")


def test_a_recipe_whose_upgrade_does_not_apply_has_no_base(spec: RecipeSpec, mirror: Mirror, tmp_path: Path) -> None:
    spec.file.write_text(f'{TOML}[[not_applicable]]\ntier = "upgrade"\nreason = "no data"\n', encoding="utf-8")
    with pytest.raises(RefError, match="upgrade does not apply to this recipe: no data"):
        plan(load_spec(spec.folder), mirror, tmp_path, "1.0.0+1")


def test_it_is_refused_before_the_run_has_a_directory(spec: RecipeSpec, tmp_path: Path) -> None:
    asked = settings(tmp_path, base="9.9.9+9")
    with pytest.raises(RefError):
        open_run(spec, asked, tiers_selected=frozenset(), whole=True)
    assert list((tmp_path / "state" / "runs").glob("*")) == []


def test_a_reseed_from_another_base_is_refused(spec: RecipeSpec, tmp_path: Path) -> None:
    asked = settings(tmp_path, base="1.0.0+1", ref="latest", reseed="true")
    with pytest.raises(OptionError, match=r"nothing to reseed by this run: it upgraded from 1\.0\.0\+1"):
        open_run(spec, asked, tiers_selected=frozenset(), whole=True)


def test_the_line_to_do_it_again_holds_the_base(spec: RecipeSpec, tmp_path: Path) -> None:
    run = open_run(spec, settings(tmp_path, base="1.0.0+1"), tiers_selected=frozenset(), whole=True)
    assert " --ccci-base 1.0.0+1 " in run.close().reproduce


def test_of_two_runs_with_one_id_only_the_first_is_begun(spec: RecipeSpec, tmp_path: Path) -> None:
    asked = settings(tmp_path, run_id="20261130-224451-3f2c1a")
    run = open_run(spec, asked, tiers_selected=frozenset(), whole=True)
    assert run.run_id == asked.run_id
    journal = run.context.diary.path / "journal.jsonl"
    before = journal.read_bytes()
    with pytest.raises(UsageError, match="was begun before, and an id is for one run\n  seen: it may go on"):
        open_run(spec, asked, tiers_selected=frozenset(), whole=True)
    assert journal.read_bytes() == before


def test_an_id_that_led_to_no_run_can_be_used(spec: RecipeSpec, tmp_path: Path) -> None:
    one = {"run_id": "20261130-224451-3f2c1a"}
    with pytest.raises(RefError):
        open_run(spec, settings(tmp_path, ref="nowhere", **one), tiers_selected=frozenset(), whole=True)
    assert open_run(spec, settings(tmp_path, **one), tiers_selected=frozenset(), whole=True).run_id == one["run_id"]
