from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_ccci.errors import OptionError
from pytest_ccci.recipe.releases import Release, parse
from pytest_ccci.recipe.repository import Head
from pytest_ccci.recipe.spec import BundledSource, RecipeSpec
from pytest_ccci.run.known_good import require_reseedable
from pytest_ccci.settings import Settings, resolve


def release(tag: str) -> Release:
    found = parse(tag)
    assert found is not None
    return found


OLD, NEW = release("1.0.0+1"), release("1.1.0+1")
AT_OLD = Head(OLD.tag, "1" * 40, release=OLD, version=OLD.tag)
LATEST = Head("latest", "2" * 40, release=NEW, version=NEW.tag)
TIP = Head("tip", "3" * 40, version="33333333")
DIRTY = Head("tip", "2" * 40, release=NEW, version="22222222+U", dirty=True)


class Repository:
    """What a recipe's repository answers."""

    def releases(self) -> tuple[Release, ...]:
        return OLD, NEW


MIRROR: Any = Repository()


def spec(*, canonical: bool = True) -> RecipeSpec:
    folder = Path("/recipes/docs")
    return RecipeSpec("docs", folder, BundledSource(folder / "releases"), canonical=canonical)


def settings(**given: str) -> Settings:
    return resolve(given, {}, {})


def test_a_whole_cold_run_of_the_latest_release_can_reseed() -> None:
    require_reseedable(spec(), settings(reseed="true"), LATEST, MIRROR, whole=True)


@pytest.mark.parametrize(
    ("head", "given", "canonical", "whole", "why"),
    [
        (LATEST, {}, False, True, "not enrolled"),
        (TIP, {}, True, True, r"head is not the latest release \(1\.1\.0\+1\)"),
        (AT_OLD, {}, True, True, "head is not the latest release"),
        (DIRTY, {}, True, True, "not committed"),
        (LATEST, {}, True, False, "only a part of it is selected"),
        (LATEST, {"mode": "quick"}, True, True, "a quick run never promotes"),
    ],
)
def test_a_reseed_that_could_not_end_in_a_known_good_is_refused_before_anything_is_done(
    head: Head, given: dict[str, str], *, canonical: bool, whole: bool, why: str
) -> None:
    with pytest.raises(OptionError, match=rf"recipe\.toml: there is nothing to reseed by this run: .*{why}") as caught:
        require_reseedable(spec(canonical=canonical), settings(**given), head, MIRROR, whole=whole)
    assert "ccci reseed" in caught.value.advice
