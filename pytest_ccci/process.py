"""The only place that starts programs: no shell, bounded, with what they printed."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import DeadlineExceeded, ProgramFailed
from pytest_ccci.settings import current_environment
from pytest_ccci.waiting import Deadline

__all__ = [
    "Finished",
    "alive",
    "every_program",
    "follow",
    "run",
    "run_apart",
    "search_path",
    "spawn",
    "terminate",
    "which",
]

_LOG = logging.getLogger(__name__)

_TAIL = 2000
_LOOK = 0.5
_USUAL = (
    *("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"),
    *("/snap/bin", "/opt/homebrew/bin", "/opt/bin"),
)
_DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
_AFTER_US = 5.0
"""Seconds by which what ends a program when we were killed comes later than we would."""


@dataclass(frozen=True)
class Finished:
    """A program that ended: its arguments, exit status, output as text, and wall seconds."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str
    seconds: float


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    check: bool = True,
    secrets: Sequence[str] = (),
    dies_with_us: bool = False,
) -> Finished:
    """Run a program to its end, in a process group of its own so that nothing of it outlives ``timeout``.

    ``dies_with_us``: the kernel kills it when we are killed, where setpriv (util-linux) can ask for that.

    ``env`` of ``None`` inherits ours; a mapping replaces it whole. ``secrets`` are cut out of what an error shows.

    Raises:
        ProgramFailed: it could not start, or ended with an exit status other than 0 and ``check`` is on.
        DeadlineExceeded: it was still running after ``timeout`` seconds, whatever it printed meanwhile.
    """
    words = (*(_DIE_WITH_US if dies_with_us and which("setpriv") else ()), *(os.fspath(word) for word in argv))
    started = time.monotonic()
    child = _started(words, env, cwd, piped=stdin is not None)
    try:
        out, err = child.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        _kill_group(child)
        tail = _hide(_text(error.stderr or b"")[-_TAIL:], secrets)
        raise DeadlineExceeded(f"{_short(words, secrets)} did not end within {timeout:.0f} s", seen=tail) from None
    except BaseException:
        _kill_group(child)
        raise
    done = Finished(words, child.returncode, _text(out), _text(err), time.monotonic() - started)
    if check and done.rc != 0:
        tail = _hide((done.stderr or done.stdout).strip()[-_TAIL:], secrets)
        raise ProgramFailed(f"{_short(words, secrets)} ended with exit status {done.rc}", rc=done.rc, tail=tail)
    return done


def _located(words: Sequence[str]) -> tuple[str, ...]:
    """``words`` with the program's place, where it has none and is on no PATH but in a usual place."""
    found = None if "/" in words[0] else which(words[0])
    return (str(found), *words[1:]) if found else tuple(words)


def _started(
    words: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None, *, piped: bool
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            _located(words),
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramFailed(f"{words[0]} could not be started", tail=str(error)) from error


def follow(
    argv: Sequence[str],
    line: Callable[[str], None],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> int:
    """Run a program in the foreground, hand each line of its output to ``line``, return its exit status.

    Ctrl-C reaches it as it reaches us: we follow on until it has settled and ended, and only then are interrupted.
    """
    interrupted, ended = False, False
    with subprocess.Popen(
        _located(tuple(argv)),
        env=None if env is None else dict(env),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        while not ended:
            try:
                for row in child.stdout or ():
                    line(row.rstrip("\n"))
                child.wait()
                ended = True
            except KeyboardInterrupt:
                interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return child.returncode


def run_apart(
    argv: Sequence[str],
    *,
    log: Path,
    deadline: Deadline,
    grace: float,
    stop: threading.Event,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run a program in a session of its own, its output in ``log``; return its exit status.

    At the deadline, or when ``stop`` is set, it is asked to end (SIGTERM); where it has not ended ``grace`` seconds
    later, it is killed with all that it started. Where we are killed meanwhile, ``timeout`` (coreutils), if that is
    installed, asks and kills it soon after these times.

    Raises:
        ProgramFailed: it could not be started.
        OSError: the log cannot be written.
    """
    words = _located(tuple(argv))
    if which("timeout") and which(words[0]):  # which would tell of a program that is not there in its log alone
        later = (f"--kill-after={grace + _AFTER_US:.3f}", f"{deadline.left + _AFTER_US:.3f}")
        words = (*_located(("timeout", "--foreground", *later)), *words)
    with log.open("ab") as sink:
        try:
            child = subprocess.Popen(
                words,
                env=None if env is None else dict(env),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramFailed(f"{argv[0]} could not be started", tail=str(error)) from error
    try:
        while child.poll() is None and not deadline.passed and not stop.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(min(_LOOK, max(deadline.left, 0.001)))
        if child.poll() is None:
            terminate(child.pid)
            child.wait(grace)
    except subprocess.TimeoutExpired:
        _LOG.warning(f"{argv[0]} (pid {child.pid}) did not end when it was asked to, and was killed")
    finally:
        if child.poll() is None:
            _kill_group(child)
    return child.returncode


def spawn(argv: Sequence[str | os.PathLike[str]], *, log: Path, env: Mapping[str, str] | None = None) -> int:
    """Start a program that lives on without us, in a session of its own, its output in ``log``; return its pid."""
    with log.open("ab") as sink:
        child = subprocess.Popen(
            _located(tuple(os.fspath(word) for word in argv)),
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    # Reaped in the background while we live; init does it afterwards.
    threading.Thread(target=child.wait, daemon=True).start()
    return child.pid


def search_path(path: str | None = None) -> str:
    """``path`` (default: ours) and, after it, the places where programs usually are: cron's has two of them only.

    An empty entry would mean the current folder; nothing is ever run from there.
    """
    given = current_environment().get("PATH", "") if path is None else path
    return ":".join(dict.fromkeys(folder for folder in (*given.split(":"), *_USUAL) if folder))


def every_program(name: str) -> tuple[Path, ...]:
    """All programs ``name`` that we may run, on our PATH first, then in the usual places."""
    candidates = (Path(folder, name) for folder in search_path().split(":"))
    return tuple(path for path in candidates if os.path.isfile(path) and os.access(path, os.X_OK))  # noqa: PTH113  Path.is_file raises in a folder that we may not read


def which(name: str) -> Path | None:
    """The first program ``name`` on our PATH or in the usual places, if there is one."""
    return next(iter(every_program(name)), None)


def alive(pid: int) -> bool:
    """Whether a process with this pid exists (a zombie does not count)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] not in {"Z", "X"}


def terminate(pid: int, *, force: bool = False) -> None:
    """Ask a process to end (SIGTERM), or end it (``force``: SIGKILL). A process that is gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL if force else signal.SIGTERM)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.communicate()


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _short(words: Sequence[str], secrets: Sequence[str]) -> str:
    return _hide(" ".join(words)[:300], secrets)


def _hide(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "•••")
    return text
