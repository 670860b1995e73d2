"""A run that was cut off is an error or unverified, never green; it promotes nothing, blames nobody, and settles."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ccci import waiting

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes

TIERS = ("install", "upgrade", "backup", "restore", "settle")
PHASES = ("test-setup", "test-call", "test-teardown")
SAMPLE = ("upgrade", "test-call", "settle")
"""Where each signal and worker is played in a bare test run: a tier of ours, a test of the author's, the end."""
TESTS = """
import pytest
from conftest import hold
WHERE = {where!r}
def here(name):
    if name == WHERE: hold(name)
@pytest.fixture
def around():
    here("test-setup")
    yield
    here("test-teardown")
def test_first(app): assert app.up
def test_held(app, around):
    here("test-call")
    assert app.up
def test_last(app): assert app.up
"""


def everywhere(*rows: tuple[Any, ...]) -> list[Any]:
    """Each of ``rows`` at each place; all but the first row, outside of ``SAMPLE``, for the full proof."""
    return [
        pytest.param(where, *row, marks=[pytest.mark.full] if row in rows[1:] and where not in SAMPLE else [])
        for row in rows
        for where in (*TIERS, *PHASES)
    ]


def held_at(recipes: Recipes, where: str) -> None:
    """A recipe whose run waits at ``where`` until it is interrupted or told to go on."""
    recipes.add("one", f"[{where}]\nhold = true\n" if where in TIERS else "", test_app=TESTS.format(where=where))


@contextlib.contextmanager
def started(recipes: Recipes, where: str, *options: str, **given: Any) -> Iterator[subprocess.Popen[str]]:
    """A pytest of its own, once it is at ``where``."""
    argv = [sys.executable, "-m", "pytest", "recipes", "--junit-xml=j.xml", *options]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **given}
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(recipes.root), *sys.path])}
    with subprocess.Popen(argv, cwd=recipes.root, text=True, start_new_session=True, env=env, **given) as child:
        try:
            waiting.until(
                lambda: f"holding {where}" in recipes.journal or child.poll() is not None,
                deadline=waiting.Deadline(90),
                what=f"the run to be at {where}",
            )
            yield child
            child.wait(timeout=90)
        finally:
            child.kill()


def judged(recipes: Recipes) -> dict[str, str]:
    """Verdicts of the only run by tier and test, with the run's own; checks what holds wherever it was cut off."""
    assert len(recipes.results) == 1, recipes.journal
    result = recipes.results[0]
    found = {row["tier"]: row["verdict"] for row in result["tiers"] if row["tier"] != "custom"}
    found |= {row["nodeid"].rpartition("::")[2]: row["verdict"] for row in result["custom"]}
    assert "fail" not in found.values(), result
    assert "promoted" not in recipes.journal
    assert recipes.journal.count("undeployed one") <= 1
    assert "undeployed one" in recipes.journal
    assert len(recipes.said("settle")) == 1, "settle was cut off, and performed a second time"
    return {**found, "run": result["verdict"]}


def expected_at(where: str) -> dict[str, str]:
    """Before: passed. There: error. After: unverified. Settle is performed all the same."""
    steps = ["install", "upgrade", "backup", "restore", "test_first", "test_held", "test_last"]
    at = steps.index("test_held" if where in PHASES else where) if where != "settle" else len(steps)
    verdicts = {step: "pass" if n < at else "error" if n == at else "unverified" for n, step in enumerate(steps)}
    return {**verdicts, "settle": "error" if where == "settle" else "pass", "run": "error"}


@pytest.mark.parametrize(("where", "number"), everywhere((signal.SIGTERM,), (signal.SIGINT,), (signal.SIGHUP,)))
def test_a_signal_is_an_error_there_and_leaves_the_rest_unverified(
    real_runs: Recipes, where: str, number: signal.Signals
) -> None:
    held_at(real_runs, where)
    with started(real_runs, where) as child:
        child.send_signal(number)
        out, _ = child.communicate(timeout=90)
    assert child.returncode == 2, out
    assert judged(real_runs) == expected_at(where)
    assert number.name in str(real_runs.results[0])
    assert 'name="ccci.verdict" value="error"' in (real_runs.root / "j.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize("where", [*TIERS, *PHASES])
def test_so_it_is_on_a_worker(real_runs: Recipes, where: str) -> None:
    held_at(real_runs, where)
    with started(real_runs, where, "-n", "2") as child:
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=90)
    assert child.returncode == 2, out
    assert judged(real_runs) == expected_at(where)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_second_signal_does_not_cut_settle_off(real_runs: Recipes, second: signal.Signals) -> None:
    script = "[upgrade]\nhold = true\n[settle]\nhold = true\n"
    real_runs.add("one", script, test_app=TESTS.format(where=""))
    real_runs.pytester.makeconftest(
        (real_runs.root / "conftest.py")
        .read_text(encoding="utf-8")
        .replace("over=lambda: bool(", "over=lambda: False and bool(")
    )
    with started(real_runs, "upgrade") as child:
        child.send_signal(signal.SIGHUP)
        waiting.until(lambda: "holding settle" in real_runs.journal, deadline=waiting.Deadline(60), what="settle")
        child.send_signal(second)
        child.send_signal(second)
        (real_runs.root / "go").touch()
        child.communicate(timeout=90)
    assert judged(real_runs) == expected_at("upgrade")


@pytest.mark.parametrize(("where", "workers"), everywhere(([],), (["-n", "2"],)))
def test_a_pipe_that_nobody_reads_any_more_does_not_keep_a_run_from_settling(
    real_runs: Recipes, where: str, workers: list[str]
) -> None:
    held_at(real_runs, where)
    with started(real_runs, where, *workers) as child:
        assert child.stdout is not None
        child.stdout.close()
        (real_runs.root / "go").touch()
        child.wait(timeout=90)
    assert child.returncode != 0
    told = judged_when_nobody_read(real_runs)
    if where == "settle" or workers:
        # All is shown by then; or a worker may get through before the controller prints and finds out.
        assert told["run"] in {"pass", "error"}
    else:
        assert told["run"] == "error", real_runs.results[0]


def judged_when_nobody_read(recipes: Recipes) -> dict[str, str]:
    result = recipes.results[0]
    assert "disk" not in str(result)
    assert "undeployed one" in recipes.journal
    promoted = "promoted" in recipes.journal
    assert promoted == (result["verdict"] == "pass")
    assert not any(row["verdict"] == "fail" for row in [*result["tiers"], *result["custom"]])
    return {"run": result["verdict"]}


@pytest.mark.parametrize("where", ["upgrade", "test-call", "settle"])
def test_a_terminal_that_is_closed_does_not_keep_a_run_from_settling(real_runs: Recipes, where: str) -> None:
    held_at(real_runs, where)
    ours, theirs = pty.openpty()
    own = functools.partial(fcntl.ioctl, theirs, termios.TIOCSCTTY, 0)
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with started(real_runs, where, preexec_fn=own, **streams) as child:
        os.close(theirs)
        os.close(ours)
        (real_runs.root / "go").touch()
        child.wait(timeout=90)
    assert child.returncode != 0
    assert judged_when_nobody_read(real_runs)["run"] in ({"error"} if where != "settle" else {"error", "pass"})


def test_a_request_to_stop_that_something_swallowed_is_still_met(real_runs: Recipes) -> None:
    real_runs.add("one", "[upgrade]\nswallow = true\n", test_app=TESTS.format(where=""))
    with started(real_runs, "upgrade") as child:
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=90)
    assert child.returncode != 0, out
    told = judged(real_runs)
    assert (told["upgrade"], told["backup"], told["run"]) == ("error", "unverified", "error")


@pytest.mark.parametrize("leave", ["", "leave = true"])
def test_what_an_interruption_leaves_behind_is_not_the_recipes_fault(real_runs: Recipes, leave: str) -> None:
    script = f"[settle]\n{leave}\n"
    real_runs.add("one", script, test_app="def test_a(app): raise KeyboardInterrupt\n")
    real_runs.pytester.runpytest_subprocess("recipes")
    assert judged(real_runs)["run"] == "error"


FIXTURE = """
import pytest
@pytest.fixture(scope="{scope}")
def f(app):
    yield
    {end}
def test_held(f): pass
"""
RAISED = {
    "KeyboardInterrupt in a test": ("def test_held(app): raise KeyboardInterrupt", 2, "error"),
    "KeyboardInterrupt in a fixture": (
        "import pytest\n@pytest.fixture\ndef f(): raise KeyboardInterrupt\ndef test_held(app, f): pass",
        2,
        "error",
    ),
    "KeyboardInterrupt in a finaliser": (
        "import pytest\n@pytest.fixture\ndef f():\n    yield\n    raise KeyboardInterrupt\ndef test_held(app, f): pass",
        2,
        "error",
    ),
    "KeyboardInterrupt in a session's finaliser": (
        FIXTURE.format(scope="session", end="raise KeyboardInterrupt"),
        2,
        "error",
    ),
    "pytest.exit in a test": ("import pytest\ndef test_held(app): pytest.exit('enough', returncode=0)", 0, "error"),
    "pytest.exit in a fixture": (
        "import pytest\n@pytest.fixture\ndef f(): pytest.exit('enough', returncode=0)\ndef test_held(app, f): pass",
        0,
        "error",
    ),
    "pytest.exit in a finaliser": (
        FIXTURE.format(scope="function", end="pytest.exit('enough', returncode=0)"),
        0,
        "error",
    ),
    "SystemExit in a test": ("def test_held(app): raise SystemExit(0)", 1, "fail"),
    "SystemExit in a fixture": (
        "import pytest\n@pytest.fixture\ndef f(): raise SystemExit(0)\ndef test_held(app, f): pass",
        1,
        "error",
    ),
    "a session that stops itself": (
        "def test_held(app, request): request.session.shouldstop = 'enough'",
        2,
        "error",
    ),
}


@pytest.mark.parametrize("workers", [[], pytest.param(["-n", "1"], marks=pytest.mark.full)], ids=["alone", "worker"])
@pytest.mark.parametrize(("test", "code", "verdict"), RAISED.values(), ids=RAISED.keys())
def test_what_a_test_raises_to_end_the_session_is_never_green(
    real_runs: Recipes, test: str, code: int, verdict: str, workers: list[str]
) -> None:
    real_runs.add("one", test_app=test + "\n")
    result = real_runs.pytester.runpytest_subprocess("recipes", "--junit-xml=j.xml", *workers)
    assert "promoted" not in real_runs.journal
    assert "undeployed one" in real_runs.journal
    assert real_runs.results[0]["verdict"] == verdict
    assert result.ret != 0
    assert workers or code in {0, result.ret}


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_after_the_first_failure_what_was_not_reached_is_unverified(real_runs: Recipes, workers: list[str]) -> None:
    bad = "def test_bad(app): assert 0\ndef test_next(app): pass\n"
    real_runs.add("one", '[backup]\nraise = "RecipeFault"\n', test_app=bad)
    real_runs.pytester.runpytest_subprocess("recipes", "--maxfail=1", *workers)
    first = {row["tier"]: row["verdict"] for row in real_runs.results[0]["tiers"]}
    assert (first["backup"], first["restore"], first["settle"]) == ("fail", "unverified", "pass")
    assert {row["verdict"] for row in real_runs.results[0]["custom"]} == {"unverified"}
    assert real_runs.results[0]["verdict"] == "fail"


def test_after_a_test_that_failed_the_others_are_unverified(real_runs: Recipes) -> None:
    real_runs.add("one", test_app="def test_bad(app): assert 0\ndef test_next(app): pass\n")
    real_runs.pytester.runpytest_subprocess("recipes", "-x")
    told = {row["nodeid"].rpartition("::")[2]: row["verdict"] for row in real_runs.results[0]["custom"]}
    assert told == {"test_bad": "fail", "test_next": "unverified"}
    assert real_runs.results[0]["verdict"] == "fail"


def test_a_failure_elsewhere_that_ends_the_session_leaves_the_run_unopened(real_runs: Recipes) -> None:
    real_runs.pytester.makepyfile(test_plain="def test_a(): assert 0\n")
    real_runs.add("one", test_app="def test_next(app): pass\n")
    real_runs.pytester.runpytest_subprocess("test_plain.py", "recipes", "-x")
    assert not real_runs.results


def test_a_hangup_that_nohup_ignores_stays_ignored(real_runs: Recipes) -> None:
    held_at(real_runs, "upgrade")
    ignore = functools.partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    with started(real_runs, "upgrade", preexec_fn=ignore) as child:
        child.send_signal(signal.SIGHUP)
        (real_runs.root / "go").touch()
        out, _ = child.communicate(timeout=90)
    assert child.returncode == 0, out


def test_beside_a_worker_that_died_the_other_run_settles_as_interrupted(real_runs: Recipes) -> None:
    text = (real_runs.root / "conftest.py").read_text(encoding="utf-8")
    real_runs.pytester.makeconftest(f'{text}\ndef pytest_testnodedown(node, error):\n    note("down")\n')
    held_at(real_runs, "upgrade")
    real_runs.add("two", test_app="import os\ndef test_dies(app): os._exit(3)\ndef test_after(app): pass\n")
    with started(real_runs, "upgrade", "-n", "2") as child:
        waiting.until(lambda: "down" in real_runs.journal, deadline=waiting.Deadline(60), what="two to die")
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=90)
    assert child.returncode == 2, out
    assert judged(real_runs) == expected_at("upgrade")
    assert "undeployed two" not in real_runs.journal
    assert "its process died before it settled" in out
