"""A fake run behind the plugin's seams: it answers as its script says, and writes down what it was asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FAKE = (Path(__file__).parent / "fake_run.txt").read_text(encoding="utf-8")


class Recipes:
    """Makes recipe folders for a pytester session and reads what the fake runs wrote down."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.root = pytester.path
        pytester.makeconftest(FAKE)
        pytester.makeini("[pytest]\nfilterwarnings = error\n")

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
