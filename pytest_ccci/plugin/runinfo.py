"""What the ``ccci_run`` fixture gives: the facts of the run, without its levers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_ccci.plugin.protocol import RecipeRun
    from pytest_ccci.results.model import RefFact

__all__ = ["RunInfo"]


@dataclass(frozen=True)
class RunInfo:
    """The run that a test belongs to."""

    run_id: str
    recipe: str
    mode: str
    requested_mode: str
    mode_reason: str
    base: RefFact | None
    head: RefFact | None
    results_path: Path

    @classmethod
    def of(cls, run: RecipeRun) -> RunInfo:
        """The facts of ``run``, as they are now."""
        return cls(
            run_id=run.run_id,
            recipe=run.recipe,
            mode=run.mode,
            requested_mode=run.requested_mode,
            mode_reason=run.mode_reason,
            base=run.base,
            head=run.head,
            results_path=run.results_path,
        )
