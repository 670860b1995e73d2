from __future__ import annotations

import pytest

from pytest_ccci.errors import RecipeInvalid
from pytest_ccci.recipe.compose_yaml import load_document, load_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: =", {"a": "="}),
        ("=: 1", {"=": 1}),
        ("a: 2001-01-01", {"a": "2001-01-01"}),
        ("a: 2001-99-99", {"a": "2001-99-99"}),
        ("a: 0444", {"a": 292}),
        ("a: 0o17", {"a": "0o17"}),
        ("a: 08", {"a": "08"}),
        ("a: 1:30", {"a": "1:30"}),
        ("a: .inf", {"a": ".inf"}),
        ("a: yes", {"a": "yes"}),
        ("a: true", {"a": True}),
        ("a: 'true'", {"a": "true"}),
        ("a:", {"a": None}),
        ("1: a\n2001-01-01: b\nnull: c", {"1": "a", "2001-01-01": "b", "null": "c"}),
        ("a: !reset null", {"a": None}),
        ("a: !override [b]", {"a": ["b"]}),
        ("a: !!python/name:os.system x", {"a": "x"}),
        ("\ufeffa: 1", {"a": 1}),
        ("---\na: 1\n---\nb: 2\n", {"a": 1}),
        ("b: &x {c: 1, d: 2}\na: {<<: *x, d: 3}", {"b": {"c": 1, "d": 2}, "a": {"d": 3, "c": 1}}),
        ("a: {<<: [{b: 1}, {b: 2, c: 3}]}", {"a": {"b": 1, "c": 3}}),
        ("a: {<<: x, b: 1}", {"a": {"b": 1}}),
        ("", None),
        (f"a: {'9' * 5000}", {"a": "9" * 5000}),
    ],
)
def test_every_scalar_is_a_value(text: str, value: object) -> None:
    assert load_yaml(text, where="x") == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a:\n\tb: 1", "x:2: this is no YAML"),
        ("a: [", "x:1: this is no YAML"),
        ("a: *b", "undefined alias"),
        ("a: \0", "unacceptable character"),
        ("a: &a [*a]", "repeats itself"),
        ("a: &a {<<: *a}", "merges itself"),
        ("[" * 5000, "too many levels"),
        ("- " * 5000, "too many levels"),
        ("a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{f'*a{n}, ' * 9}]\n" for n in range(9)), "repeats itself"),
        ('a: "\\ud800" b', "x:1: this is no YAML"),
    ],
)
def test_what_is_no_yaml_or_without_end_is_told_at_once(text: str, says: str) -> None:
    with pytest.raises(RecipeInvalid) as caught:
        load_yaml(text, where="x")
    assert says in str(caught.value)


def test_keys_and_items_have_lines_and_the_second_of_two_is_named() -> None:
    found = load_document("a:\n  b: 1\n  c:\n    - d\n    - e: 2\n  b: 3\n", where="x")
    assert (found.line(("a", "b")), found.line(("a", "c", 1, "e"))) == (6, 5)
    assert found.line(("a", "gone", 1)) == 1
    assert found.twice == ((("a", "b"), 6),)
    assert found.value == {"a": {"b": 3, "c": ["d", {"e": 2}]}}
