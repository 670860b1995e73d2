from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pytest_ccci
from pytest_ccci import process
from pytest_ccci.ops.provision import Need, install

MAKERS = {"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs"}
HERE = Path(__file__).parent
Trials = Callable[..., dict[str, Any]]


@pytest.fixture
def full() -> bool:
    """Whether this is the full run, ``CCCI_TRIALS=all``: each step, each fault, 100 000 files; else a sample."""
    return os.environ.get("CCCI_TRIALS") == "all"


@pytest.fixture
def size(full: bool) -> int:
    """How many trials each test makes: ``CCCI_TRIALS`` is a number or ``all``, which is 0 here; default a sample."""
    return 0 if full else int(os.environ.get("CCCI_TRIALS", "40"))


def _maker(kind: str) -> Path:
    """The program that makes a file system, installed when it is missing: a proof that is skipped proves nothing."""
    found = process.which(f"mkfs.{kind}")
    if found is None and process.which("apt-get"):
        install((Need(MAKERS[kind], "the proofs of the store make file systems"),))
        found = process.which(f"mkfs.{kind}")
    return found or pytest.skip(f"there is no mkfs.{kind}, and no apt to install it")


@pytest.fixture
def maker() -> Callable[[str], Path]:
    """Gives the program that makes a file system of a kind."""
    return _maker


@pytest.fixture
def quick_place() -> Iterator[Path]:
    """A folder in memory where there is one: a kill does not care, and a trial syncs often."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="ccci-trials-", dir=base) as folder:
        yield Path(folder)


@pytest.fixture
def mounted(quick_place: Path) -> Iterator[Callable[..., Path]]:
    """Makes a file system of a kind in a file and mounts it."""
    mounts: list[Path] = []

    def mount(kind: str, *, mib: int = 320) -> Path:
        if os.geteuid() != 0:
            pytest.skip("a loop mount needs root")
        maker = _maker(kind)
        image, place = quick_place / f"{kind}.img", quick_place / kind
        with image.open("wb") as file:
            file.truncate(mib << 20)
        process.run([maker, "-q", image], timeout=60)
        place.mkdir()
        process.run(["mount", "-o", "loop", image, place], timeout=60)
        mounts.append(place)
        return place

    yield mount
    for place in mounts:
        process.run(["umount", place], timeout=60)


@pytest.fixture
def trials(quick_place: Path, record_property: Callable[[str, object], None]) -> Trials:
    """Runs the trial program and gives its report."""

    def run(
        kind: str, size: int, *, backend: str = "copy", switch: str = "", place: Path | None = None
    ) -> dict[str, Any]:
        root = (place or quick_place) / f"{kind}-{switch}"
        options = {"root": str(root), "kind": kind, "size": size, "backend": backend, "switch": switch}
        package, checkout = Path(pytest_ccci.__file__).parent.parent, HERE.parents[2]
        env = {"PYTHONPATH": f"{package}:{checkout}", "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
        argv = [sys.executable, str(HERE / "trials.py"), json.dumps(options)]
        report: dict[str, Any] = json.loads(process.run(argv, timeout=60 + 2 * (size or 20_000), env=env).stdout)
        if not switch:
            record_property("trials", json.dumps({"kind": f"{kind} {backend}", **report}))
        evidence = json.dumps({**report, "losses": len(report["losses"])}, indent=1)
        sys.stdout.write(f"{kind} {backend} {switch} {evidence}\n")
        return report

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What came of all trials, those with a guard taken away left out."""
    rows = [
        json.loads(str(value))
        for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
        for name, value in report.user_properties
        if name == "trials"
    ]
    if not rows:
        return
    terminalreporter.section("trials of the store")
    for row in rows:
        terminalreporter.line(f"{row['kind']:<16} {row['trials']:>6} of {row['points']} points")
    states = Counter[str]()
    for row in rows:
        states.update(row["states"])
    terminalreporter.line("states seen: " + ", ".join(f"{state} {count}" for state, count in sorted(states.items())))
    losses = [loss for row in rows for loss in row["losses"]]
    terminalreporter.line(f"{sum(row['trials'] for row in rows)} trials, {len(losses)} losses")
    for loss in losses[:20]:
        terminalreporter.line(loss)
