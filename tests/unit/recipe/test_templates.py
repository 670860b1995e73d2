from __future__ import annotations

import pytest

from pytest_ccci.errors import RecipeTomlError
from pytest_ccci.recipe.templates import render, render_all


class Realm:
    issuer = "https://keycloak.ci.test/realms/x"
    _private = "s3cret"


def test_a_template_sees_its_context() -> None:
    assert render("{{ realm.issuer }}/certs", {"realm": Realm()}) == "https://keycloak.ci.test/realms/x/certs"
    assert render("plain ${HOME} $x", {}) == "plain ${HOME} $x"


@pytest.mark.parametrize("text", ["{{ relm.issuer }}", "{{ realm.isuer }}", "{{ realm", "{% for %}", "{{ 1 / 0 }}"])
def test_what_cannot_be_rendered_names_key_and_file(text: str) -> None:
    with pytest.raises(RecipeTomlError) as caught:
        render_all({"OIDC": text}, {"realm": Realm()}, where="notes/recipe.toml [env]")
    assert "notes/recipe.toml [env], key OIDC" in str(caught.value)
    assert "known names: realm" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{{ realm.__class__.__mro__ }}",
        "{{ realm._private }}",
        "{{ ''.__class__.__subclasses__() }}",
        "{{ [].append(1) }}",
    ],
)
def test_the_sandbox_holds(text: str) -> None:
    with pytest.raises(RecipeTomlError):
        render(text, {"realm": Realm()})
