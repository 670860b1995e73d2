"""What the plugin costs a test suite that has no recipes: `pytest --collect-only` with it and without it, in pairs.

In an environment of its own, in which the wheel is installed as users install it. Without is ``-p no:ccci``: pytest
then never imports the plugin. The order within a pair alternates, so that a drift of the machine hits both alike.
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
SUITE = "import pytest\n\n\n@pytest.mark.parametrize('n', range(20))\ndef test_it(n):\n    assert n >= 0\n"


def main() -> int:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--pairs", type=int, default=30, help="how many pairs (default 30)")
    asked.add_argument("--venv", type=Path, help="an environment that has the wheel; made for the measurement if unset")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as place:
        python = _python_of(given.venv) if given.venv else _installed(Path(place, "venv"))
        suite = Path(place, "suite")
        suite.mkdir()
        (suite / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (suite / "test_it.py").write_text(SUITE, encoding="utf-8")
        for words in ([], ["-p", "no:ccci"]):  # whatever Python caches is cached
            _collect(python, suite, words)
        pairs = [_pair(python, suite, swapped=number % 2 == 1) for number in range(given.pairs)]
    print(f"load average {os.getloadavg()[0]:.1f}, {given.pairs} pairs")
    print(f"{'':16}{'without':>10}{'with':>10}{'difference: median':>22}{'quartiles':>18}")
    for name, at in (("processor, ms", 0), ("wall clock, ms", 1)):
        without, beside = ([pair[which][at] * 1000 for pair in pairs] for which in (0, 1))
        differences = [b - a for a, b in zip(without, beside, strict=True)]
        low, middle, high = statistics.quantiles(differences, n=4)
        print(
            f"{name:16}{statistics.median(without):10.1f}{statistics.median(beside):10.1f}{middle:22.1f}"
            f"{f'{low:.1f} to {high:.1f}':>18}   ratio {statistics.median(beside) / statistics.median(without):.2f}"
        )
    return 0


def _pair(python: Path, suite: Path, *, swapped: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    """Without the plugin, with it: processor and wall seconds of each."""
    if swapped:
        beside = _collect(python, suite, [])
        return _collect(python, suite, ["-p", "no:ccci"]), beside
    without = _collect(python, suite, ["-p", "no:ccci"])
    return without, _collect(python, suite, [])


def _collect(python: Path, suite: Path, words: list[str]) -> tuple[float, float]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "CCCI"))}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [python, "-m", "pytest", "--collect-only", "-q", *words],
        cwd=suite,
        env=env,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def _installed(folder: Path) -> Path:
    """An environment with the wheel of this checkout."""
    venv.create(folder, with_pip=True)
    python = _python_of(folder)
    print(f"installing the wheel into {folder}", file=sys.stderr)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-input", str(HERE.parent)], check=True)
    return python


def _python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


if __name__ == "__main__":
    raise SystemExit(main())
