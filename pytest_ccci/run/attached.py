"""The author's tests on another version than head: a pytest of their own, attached to the app that is deployed now."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from pytest_ccci import process
from pytest_ccci.errors import CcciError, ProgramFailed, Verdict
from pytest_ccci.results.model import CustomTest, RefFact
from pytest_ccci.results.write import load_result
from pytest_ccci.settings import current_environment
from pytest_ccci.statedir import load_state, write_atomic
from pytest_ccci.waiting import Stopwatch
from pytest_ccci.warm.realm_model import RealmLease
from pytest_ccci.web import Route

__all__ = ["NO_TESTS", "AppTests", "Attachment", "AuthorsTests", "load_attachment", "perform_tests"]

_PATIENCE = 900.0
_TAIL = 1500
_LINE = 160
_NOT_ITS = ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_PLUGINS")
"""What this pytest has from its own caller, and another one must not take over; xdist's own names as well."""


@dataclass(frozen=True)
class AuthorsTests:
    """The author's tests that were asked for: by node id, from ``rootdir``, with pytest's configuration file if any."""

    nodeids: tuple[str, ...] = ()
    rootdir: Path = Path()
    config_file: Path | None = None


NO_TESTS = AuthorsTests()


@dataclass(frozen=True)
class Attachment:
    """All that another process needs to test the app of a run; it holds the realm's passwords."""

    recipe: str
    run_id: str
    mode: str
    version: RefFact
    host: str
    stack: str
    domain: str
    url: str
    route: Route
    state: Path
    realm: RealmLease | None = None


@dataclass(frozen=True)
class AppTests:
    """What the author's tests came to on a ``version``; ``problem`` where they could not be performed at all."""

    version: str
    tests: tuple[CustomTest, ...] = ()
    seconds: float = 0.0
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            return f"the author's tests could not be run on {self.version}: {_first(self.problem)}"
        came_to = [test.verdict for test in self.tests]
        skipped = f", {came_to.count(Verdict.SKIP)} skipped" if Verdict.SKIP in came_to else ""
        passed = f"{came_to.count(Verdict.PASS)} of {len(came_to)} tests passed on {self.version}{skipped}"
        told = f"{passed}, in {self.seconds:.1f} s"
        bad = [f"{test.nodeid.rpartition('/')[2]}: {test.verdict}, {_first(test.reason)}" for test in self.red]
        return "; ".join([told, *bad])

    @property
    def red(self) -> tuple[CustomTest, ...]:
        """Those that did not pass, nor were skipped."""
        return tuple(test for test in self.tests if test.verdict not in {Verdict.PASS, Verdict.SKIP})

    def compared(self, nodeid: str) -> str:
        """What is to be said of a test that fails on head; empty where nothing is known of it."""
        there = next((test.verdict for test in self.tests if test.nodeid == nodeid), None)
        if there == Verdict.FAIL:
            return f"it fails on {self.version} as well"
        if there == Verdict.PASS:
            return f"it passed on {self.version}: the change broke it, or it cannot run twice on the same data"
        return ""


def load_attachment(path: Path) -> Attachment:
    """What `perform_tests` wrote.

    Raises:
        ProgramFailed: there is none: nobody but it starts such a pytest.
    """
    found = load_state(path, Attachment, advice="only a run starts a pytest that is attached to it")
    if found is None:
        raise ProgramFailed(f"there is no {path}", advice="only a run starts a pytest that is attached to it")
    return found


def perform_tests(tests: AuthorsTests, attachment: Attachment, *, work: Path) -> AppTests:
    """Perform ``tests`` on the app that is deployed; ``work`` is a folder for what is needed meanwhile.

    What they come to is told, and never raised: they are about a version that nobody wants to merge.
    """
    watch, version = Stopwatch(), attachment.version.version
    folder = work / "attached"
    try:
        folder.mkdir(parents=True, mode=0o700)
        write_atomic(folder / "app.json", TypeAdapter(Attachment).dump_json(attachment))
        done = process.run(
            [
                *(sys.executable, "-m", "pytest", "-p", "pytest_ccci.plugin.attached", "-p", "no:cacheprovider"),
                *("-o", "addopts=", "-q", "--color=no", f"--rootdir={tests.rootdir}"),
                *(("-c", str(tests.config_file)) if tests.config_file else ()),
                *(f"--ccci-attached={folder / 'app.json'}", f"--ccci-mode={attachment.mode}"),
                *tests.nodeids,
            ],
            timeout=_PATIENCE,
            cwd=tests.rootdir,
            env=_environment(current_environment().items()),
            check=False,
            dies_with_us=True,
        )
        if not (folder / "results.json").is_file():
            raise ProgramFailed(f"pytest ended with exit status {done.rc}", tail=(done.stdout + done.stderr)[-_TAIL:])
        return AppTests(version, load_result(folder / "results.json").custom, watch.seconds)
    except (CcciError, OSError) as error:
        return AppTests(version, problem=str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _first(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= _LINE else f"{line[:_LINE]} …"


def _environment(inherited: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in inherited if name not in _NOT_ITS and not name.startswith("PYTEST_XDIST")}
