"""Keeps secrets out of reports: assertion introspection, --showlocals, captured output and logs, properties."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_ccci.results.redact import Redactor

__all__ = ["scrub_report"]


def scrub_report(report: pytest.TestReport | pytest.CollectReport, redactor: Redactor) -> None:
    """Cut every registered secret out of what ``report`` will show or store."""
    if not redactor:
        return
    report.sections = [(title, redactor.scrub(text)) for title, text in report.sections]
    if report.longrepr is None:
        return
    report.longrepr = _scrubbed(report.longrepr, redactor)
    if redactor.finds(str(report.longrepr)):
        # Wrapped or coloured in a way the parts did not show: the plain text loses its colours, and the secret.
        report.longrepr = redactor.scrub(str(report.longrepr))


def _scrubbed(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str):
        return redactor.scrub(value)
    if isinstance(value, list | tuple):
        return type(value)([_scrubbed(part, redactor) for part in value])
    if dataclasses.is_dataclass(value) or hasattr(value, "toterminal"):
        for name, part in vars(value).items():
            if isinstance(part, str | list | tuple) or hasattr(part, "toterminal"):
                setattr(value, name, _scrubbed(part, redactor))
    return value
