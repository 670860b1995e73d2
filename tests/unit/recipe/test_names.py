from __future__ import annotations

import pytest

from pytest_ccci.errors import OptionError, UsageError
from pytest_ccci.recipe.names import require_fitting_names

LONG = "a-zone-that-is-too-long.for.docker.example"


def test_a_zone_under_which_no_app_fits_is_the_operators_mistake_and_not_the_recipes() -> None:
    with pytest.raises(OptionError, match=r"zone a-zone.*abra cuts names at 45\n.*shorter --ccci-zone"):
        require_fitting_names("page", LONG, canonical=False)


@pytest.mark.parametrize("zone", ["no host", "UPPER.test", ".test", ""])
def test_a_zone_that_is_no_host_name_is_refused_before_anything_is_started(zone: str) -> None:
    with pytest.raises(OptionError, match="is no host name"):
        require_fitting_names("page", zone, canonical=False)


def test_a_recipe_whose_canonical_does_not_fit_says_so_only_where_it_is_enrolled() -> None:
    name = "a-recipe-whose-name-is-rather-too-long"
    with pytest.raises(UsageError, match=f"recipe {name}: the stack name warm-{name}_ci_test has 51 characters"):
        require_fitting_names(name, "ci.test", canonical=True)
    require_fitting_names(name, "ci.test", canonical=False)
    require_fitting_names("lasuite-docs", "ci.test", canonical=True)
