"""Templates in recipe.toml: sandboxed, and an unknown name is an error that says where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from pytest_ccci.errors import RecipeTomlError

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

__all__ = ["render", "render_all"]


def render(text: str, context: Mapping[str, Any], *, where: str = "") -> str:
    """``text`` with its ``{{ … }}`` filled from ``context``; ``where`` names file and key in an error.

    Raises:
        RecipeTomlError: a template that cannot be read, or a name that is not in ``context``.
    """
    if "{" not in text:
        return text
    from jinja2 import TemplateError  # noqa: PLC0415  light until a recipe is run

    try:
        return _sandbox().from_string(text).render(context)
    except (TemplateError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
        # The value itself may hold secrets by now: only the template as written and the reason are shown.
        raise RecipeTomlError(
            f"template {text!r}: {error}",
            where=where,
            advice=f"known names: {', '.join(sorted(context)) or 'none'}",
        ) from None


def render_all(values: Mapping[str, str], context: Mapping[str, Any], *, where: str = "") -> dict[str, str]:
    """Each value rendered; an error names its key."""
    return {key: render(value, context, where=f"{where}, key {key}".lstrip(", ")) for key, value in values.items()}


@cache
def _sandbox() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined  # noqa: PLC0415  light until a recipe is run
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415  the same

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
