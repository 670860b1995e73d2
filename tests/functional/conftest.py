"""A fake run behind the plugin's seams: it answers as its script says, and writes down what it was asked."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

FAKE = (Path(__file__).parent / "fake_run.txt").read_text(encoding="utf-8")
REAL = (Path(__file__).parent / "real_run.txt").read_text(encoding="utf-8")


# Plugins that may be installed (the extra `plugins`, and those that this suite itself needs), by the names of their
# entry points: each test asks for its own. To import hypothesis alone takes three times as long as the rest of a
# pytest.
OTHERS = (
    "allure_pytest",
    "anyio",
    "asyncio",
    "flaky",
    "html",
    "html_fixtures",
    "hypothesispytest",
    "instafail",
    "metadata",
    "flask",
    "pytest_cov",
    "pytest_forked",
    "pytest_httpserver",
    "pytest_order",
    "randomly",
    "random_order",
    "repeat",
    "rerunfailures",
    "rich",
    "sugar",
)


class Recipes:
    """Makes recipe folders for a pytester session and reads what the fake runs wrote down."""

    def __init__(self, pytester: pytest.Pytester, fake: str = FAKE) -> None:
        self.pytester = pytester
        self.root = pytester.path
        pytester.makeconftest(fake)
        without = " ".join(f"-p no:{name}" for name in OTHERS)
        pytester.makeini(f"[pytest]\nfilterwarnings = error\naddopts = {without}\n")

    def add(self, name: str, toml: str = "", **modules: str) -> Path:
        """A recipe with its custom tests; ``toml`` is the fake run's script."""
        folder = self.root / "recipes" / name
        folder.mkdir(parents=True)
        (folder / "recipe.toml").write_text(toml, encoding="utf-8")
        for module, text in modules.items():
            (folder / f"{module}.py").write_text(text, encoding="utf-8")
        return folder

    @property
    def journal(self) -> list[str]:
        """What the fake runs were asked, in order."""
        path = self.root / "journal.txt"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    @property
    def results(self) -> list[dict[str, Any]]:
        """Every results.json that the runs have written, the first run first."""
        files = sorted(self.root.glob("state/*/results.json"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(path.read_text(encoding="utf-8")) for path in files]

    def said(self, word: str) -> list[str]:
        """The journal's lines with that first word."""
        return [line for line in self.journal if line.split()[0] == word]


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CCCI_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def recipes(pytester: pytest.Pytester) -> Recipes:
    return Recipes(pytester)


@pytest.fixture
def real_runs(pytester: pytest.Pytester) -> Recipes:
    """Recipes whose runs are real down to the tiers; what a tier does to an engine is scripted."""
    return Recipes(pytester, fake=REAL)
