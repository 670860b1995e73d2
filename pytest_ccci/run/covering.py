"""What of an app a snapshot covers on this machine: the recipe's compose file, seen with the Swarm's nodes."""

from __future__ import annotations

from dataclasses import asdict

from pytest_ccci.engine.objects import nodes_of
from pytest_ccci.recipe.compose_facts import ComposeFacts
from pytest_ccci.recipe.coverage import CoverageStatement, coverage
from pytest_ccci.results.model import CoveredPath
from pytest_ccci.run.context import RunContext

__all__ = ["coverage_of", "covered_paths"]


def coverage_of(context: RunContext, facts: ComposeFacts, *, stack: str) -> CoverageStatement:
    """The coverage statement of what is deployed as ``stack``."""
    nodes = nodes_of(context.machine.engine)
    return coverage(facts, disposable=context.spec.disposable, nodes=nodes, stack=stack)


def covered_paths(statement: CoverageStatement) -> tuple[CoveredPath, ...]:
    """The statement as results tell it."""
    return tuple(CoveredPath(**asdict(path)) for path in statement.paths)
