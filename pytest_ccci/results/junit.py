"""The ``ccci.*`` properties of junit files: a pure mapping from what a run is to pairs of strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_ccci.results.model import RefFact, RunResult

__all__ = ["PROPERTIES", "properties", "suite_properties"]

PROPERTIES = ("mode", "requested_mode", "recipe", "base", "head", "head_commit", "run_id", "verdict")


def properties(
    *,
    recipe: str,
    verdict: str,
    requested_mode: str,
    mode: str = "",
    run_id: str = "",
    base: RefFact | None = None,
    head: RefFact | None = None,
) -> dict[str, str]:
    """All eight properties, by full name; what is not known is the empty string."""
    values = {
        "mode": mode or requested_mode,
        "requested_mode": requested_mode,
        "recipe": recipe,
        "base": base.version if base else "",
        "head": head.version if head else "",
        "head_commit": head.commit if head else "",
        "run_id": run_id,
        "verdict": str(verdict),
    }
    return {f"ccci.{name}": values[name] for name in PROPERTIES}


def suite_properties(runs: Sequence[RunResult | Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    """The properties of a whole session: plain names for one run, ``ccci.<name>[<recipe>]`` for several.

    Several of one recipe differ in what they start from: ``ccci.<name>[<recipe> from <base>]``.
    """
    sets = [run if not isinstance(run, RunResult) else _of(run) for run in runs]
    if len(sets) == 1:
        return tuple(sets[0].items())
    recipes = [one["ccci.recipe"] for one in sets]
    return tuple((f"{name}[{_called(one, recipes)}]", value) for one in sets for name, value in one.items())


def _called(one: Mapping[str, str], recipes: Sequence[str]) -> str:
    recipe = one["ccci.recipe"]
    return f"{recipe} from {one['ccci.base']}" if recipes.count(recipe) > 1 else recipe


def _of(run: RunResult) -> dict[str, str]:
    return properties(
        recipe=run.recipe,
        verdict=run.verdict,
        requested_mode=run.requested_mode,
        mode=run.mode,
        run_id=run.run_id,
        base=run.base,
        head=run.head,
    )
