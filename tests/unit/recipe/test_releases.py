from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ccci.recipe.releases import Release, newest, newest_older_than, parse, sort_tags


def release(tag: str) -> Release:
    found = parse(tag)
    assert found is not None, tag
    return found


@pytest.mark.parametrize(
    "tags",
    [
        ("1.0.0+1.0", "1.0.1+1.0", "1.1.0+0.9", "2.0.0+0.1", "10.0.0+0.0"),
        ("1.2.0+1.0.0", "1.2.0+2.0.0", "1.2.0+10.0.0"),
        ("1.0.0+v1.6.87-0", "1.0.0+v1.6.870-0", "1.0.0+v1.6.870-1"),
        ("1.0.0+1.0-rc1", "1.0.0+1.0-rc2", "1.0.0+1.0", "1.0.0+1.0.1"),
        ("1.0.0-alpha+2.0", "1.0.0-alpha.1+1.0", "1.0.0-beta+1.0", "1.0.0+0.1"),
        ("1.0.6+1.0.6-social-amd64", "1.0.7+1.0.6-social-amd64"),
        ("0.1.0+2024.1", "0.1.0+2024.10", "0.1.0+2025.1"),
    ],
)
def test_releases_are_ordered_by_recipe_half_then_app_half(tags: tuple[str, ...]) -> None:
    releases, odd = sort_tags(reversed(tags))
    assert [each.tag for each in releases] == list(tags)
    assert odd == ()


def test_build_metadata_counts() -> None:
    assert release("1.2.0+1.0.0") != release("1.2.0+2.0.0")


@pytest.mark.parametrize("tag", ["1.0.0", "latest", "1.0+2.0", "1.0.0+", "+1.0", "v1", "", "1.0.0.0+1"])
def test_a_tag_that_is_no_release_is_kept_aside_and_listed(tag: str) -> None:
    releases, odd = sort_tags([tag, "1.0.0+1.0"])
    assert [each.tag for each in releases] == ["1.0.0+1.0"]
    assert odd == (tag,)


def test_the_base_is_strictly_older_even_when_the_head_is_the_newest() -> None:
    releases, _ = sort_tags(["1.0.0+1.0", "1.1.0+1.0", "1.1.0+v1.0"])
    assert newest_older_than(release("1.1.0+1.0"), releases) == release("1.0.0+1.0")
    assert newest_older_than(release("1.0.0+1.0"), releases) is None
    assert newest([]) is None


@given(st.lists(st.text(alphabet="0123456789.+-vabcrc٣²", max_size=20)))
def test_any_tags_can_be_sorted(tags: list[str]) -> None:
    releases, odd = sort_tags(tags)
    assert len(releases) + len(odd) == len(set(tags))
    assert list(releases) == sorted(releases)


@given(st.tuples(*[st.integers(0, 10**20)] * 3), st.text(min_size=1, max_size=30))
def test_every_semver_with_any_app_half_is_a_release(numbers: tuple[int, int, int], app: str) -> None:
    tag = ".".join(map(str, numbers)) + "+" + app
    found = parse(tag)
    if max(numbers) < 10**18:
        assert found is not None
        assert (found.tag, found.app_half) == (tag, app)
        assert found == found  # noqa: PLR0124  the key itself must be computable
