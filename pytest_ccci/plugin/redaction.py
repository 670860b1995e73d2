"""Scrubs text where it leaves this pytest process: reports, what xdist sends, warnings, terminal, log file, junit."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Generator, Iterable
from functools import partial
from typing import Any

import pytest

from pytest_ccci.redact import SECRETS, harmless

__all__ = ["Scrubbed", "scrub_junit", "scrub_report", "seal"]

# What pytest itself goes by: whose report it is, and of what.
_IDENTITY = frozenset({"nodeid", "location", "keywords", "outcome", "when", "$report_type"})


class Scrubbed:
    """A text stream from whose every write the secrets are cut, and what steers a terminal; all else is its own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write ``text`` without secrets, and harmless."""
        self._stream.write(harmless(SECRETS.scrub(text)))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of ``lines`` without secrets."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def seal(config: pytest.Config) -> None:
    """From now on no secret gets to the terminal, to ``--log-file``, and with ``-s`` through Python's own streams."""
    writer: Any = getattr(config.pluginmanager.getplugin("terminalreporter"), "_tw", None)
    if writer is not None and not isinstance(writer._file, Scrubbed):  # noqa: SLF001  pytest's writer has no public door
        writer._file = Scrubbed(writer._file)  # noqa: SLF001  the same
    log_file: Any = getattr(config.pluginmanager.getplugin("logging-plugin"), "log_file_handler", None)
    if log_file is not None and not isinstance(log_file.stream, Scrubbed):
        log_file.stream = Scrubbed(log_file.stream)
    if config.getoption("capture", default="") == "no" and not isinstance(sys.stdout, Scrubbed):
        _seal_streams(config)


def _itself(value: Any) -> Any:
    return value


def _seal_streams(config: pytest.Config) -> None:
    before = sys.stdout, sys.stderr

    def restore() -> None:
        sys.stdout, sys.stderr = before

    config.add_cleanup(restore)
    sys.stdout, sys.stderr = Scrubbed(sys.stdout), Scrubbed(sys.stderr)


def scrub_report(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Cut every secret out of what ``report`` will show or store."""
    if not SECRETS:
        return
    for name, value in vars(report).items():
        if name not in _IDENTITY | {"longrepr"}:
            setattr(report, name, SECRETS.scrub_all(value))
    if report.longrepr is None:
        return
    report.longrepr = _scrubbed(report.longrepr)
    if SECRETS.finds(str(report.longrepr)):
        # Wrapped or coloured in a way the parts did not show: the plain text loses its colours, and the secret.
        report.longrepr = SECRETS.scrub(str(report.longrepr))


def scrub_junit(config: pytest.Config) -> None:
    """Cut out of the junit file, before it is written, what was learned after a report was made, and names of tests."""
    from _pytest.junitxml import xml_key  # noqa: PLC0415  there is no public way

    xml: Any = config.stash.get(xml_key, None)
    if xml is None or not SECRETS:
        return
    xml.global_properties[:] = SECRETS.scrub_all(xml.global_properties)
    for test in xml.node_reporters_ordered:
        made = test.to_xml()
        for element in made.iter():
            element.text = SECRETS.scrub_all(element.text)
            element.attrib.update(SECRETS.scrub_all(element.attrib))
        test.to_xml = partial(_itself, made)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Errors of collection, after a run that was made in the same process."""
    report = yield
    scrub_report(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """What xdist's workers send, and what report logs keep, whoever has changed the report meanwhile."""
    data = yield
    return SECRETS.scrub_all(data, but=_IDENTITY) if SECRETS else data


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message: warnings.WarningMessage) -> None:
    """Warnings, before the summary has them and before a worker sends them."""
    message = warning_message.message
    if not isinstance(message, Warning) or not SECRETS.finds(str(message)):
        return
    text = SECRETS.scrub(str(message))
    message.args = SECRETS.scrub_all(message.args)
    if SECRETS.finds(str(message)):
        warning_message.message = UserWarning(f"{type(message).__name__}: {text}")


@pytest.hookimpl(tryfirst=True)
def pytest_internalerror(excrepr: Any) -> None:
    """An internal error, which a worker sends as text."""
    _scrubbed(excrepr)


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return SECRETS.scrub(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_scrubbed(part) for part in value))
    if isinstance(value, list | tuple):
        return type(value)([_scrubbed(part) for part in value])
    if dataclasses.is_dataclass(value) or hasattr(value, "toterminal"):
        for name, part in vars(value).items():
            if isinstance(part, str | list | tuple) or hasattr(part, "toterminal"):
                setattr(value, name, _scrubbed(part))
    return value
