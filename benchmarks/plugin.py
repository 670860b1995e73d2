"""What the installed plugin costs a test suite without recipes: `pytest --collect-only`, in environments of their own.

Three environments, each made for the measurement: pytest alone; with all that we depend on, at the same versions; and
with our wheel, installed as users install it. Each round runs all three, in an order that alternates, so that a drift
of the machine hits all alike; differences are taken round by round. What of our dependencies is a pytest plugin itself
costs every suite, too: that is the second row.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = 4
SUITE = "import pytest\n\n\n@pytest.mark.parametrize('n', range(20))\ndef test_it(n):\n    assert n >= 0\n"
ALONE, BESIDE, OURS = "pytest alone", "its dependencies", "pytest-ccci"

Cost = tuple[float, float]  # milliseconds of processor and of wall clock


def main() -> int:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--pairs", type=int, default=40, help="how many rounds (default 40)")
    asked.add_argument("--place", type=Path, help="where the environments are kept for the next time; else they go")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        pythons = _environments((given.place or Path(scratch)).absolute())
        suite = Path(scratch, "suite")
        suite.mkdir()
        (suite / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        for number in range(FILES):
            (suite / f"test_{number}.py").write_text(SUITE, encoding="utf-8")
        for python in pythons.values():  # whatever Python caches is cached
            _collect(python, suite)
        rounds = [_round(pythons, suite, number) for number in range(given.pairs)]
    print(f"load average {os.getloadavg()[0]:.1f}, {given.pairs} rounds, {FILES} files, milliseconds")
    for at, name in enumerate(("processor", "wall clock")):
        print(f"\n{name:24}{'median':>10}{'more: median':>16}{'quartiles':>18}{'ratio':>8}{'of the least':>15}")
        print(f"{ALONE:24}{statistics.median(each[ALONE][at] for each in rounds):10.1f}")
        for one, before in ((BESIDE, ALONE), (OURS, BESIDE)):
            print(_row(one, [each[one][at] for each in rounds], [each[before][at] for each in rounds]))
    return 0


def _row(name: str, these: list[float], those: list[float]) -> str:
    low, middle, high = statistics.quantiles([a - b for a, b in zip(these, those, strict=True)], n=4)
    ratio = statistics.median(a / b for a, b in zip(these, those, strict=True))
    spread, least = f"{low:.1f} to {high:.1f}", min(these) - min(those)  # on a busy machine the least says most
    return f"+ {name:22}{statistics.median(these):10.1f}{middle:16.1f}{spread:>18}{ratio:8.2f}{least:15.1f}"


def _round(pythons: dict[str, Path], suite: Path, number: int) -> dict[str, Cost]:
    """Each environment once, beginning with another each time, and backwards every other time."""
    names = list(pythons)
    first = number % len(names)
    order = names[first:] + names[:first]
    return {name: _collect(pythons[name], suite) for name in (reversed(order) if number % 2 else order)}


def _collect(python: Path, suite: Path) -> Cost:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [python, "-m", "pytest", "--collect-only", "-q"],
        cwd=suite,
        env=_environment(),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000, wall * 1000


def _environments(place: Path) -> dict[str, Path]:
    """The Python of each environment below ``place``; what is missing is made. Ours has this checkout's wheel."""
    ours = _made(place / "ours")
    _pip(ours, "install", HERE.parent)
    _pip(ours, "install", "--force-reinstall", "--no-deps", HERE.parent)  # of a checkout that was changed since
    frozen = _pip(ours, "freeze", "--exclude", "pytest-ccci").splitlines()
    beside, alone = _made(place / "beside"), _made(place / "alone")
    _pip(beside, "install", *frozen)
    _pip(alone, "install", *(line for line in frozen if line.startswith("pytest==")))
    return {ALONE: alone, BESIDE: beside, OURS: ours}


def _made(folder: Path) -> Path:
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
    return python


def _pip(python: Path, command: str, *words: str | Path) -> str:
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    argv = [python, "-m", "pip", command, *quiet, *words]
    return subprocess.run(argv, env=_environment(), check=True, stdout=subprocess.PIPE, text=True).stdout


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "CCCI"))}


if __name__ == "__main__":
    raise SystemExit(main())
