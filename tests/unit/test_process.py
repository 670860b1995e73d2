from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from pytest_ccci.errors import DeadlineExceeded, ProgramFailed
from pytest_ccci.process import alive, follow, run, run_apart, spawn, terminate, which
from pytest_ccci.waiting import Deadline, Stopwatch, until

PY = sys.executable


def dead(pid: int) -> bool:
    return until(lambda: not alive(pid), deadline=Deadline(10), what=f"process {pid} to end", every=0.02)


def test_what_a_program_printed_and_how_it_ended_come_back() -> None:
    done = run([PY, "-c", "import sys; print('out'); print('err', file=sys.stderr)"], timeout=30)
    assert (done.rc, done.stdout, done.stderr) == (0, "out\n", "err\n")
    assert done.argv[0] == PY
    assert done.seconds > 0


def test_arguments_are_never_read_by_a_shell(tmp_path: Path) -> None:
    nasty = f"$(touch {tmp_path}/owned); `id` && * ~"
    done = run([PY, "-c", "import sys; print(sys.argv[1], end='')", nasty], timeout=30)
    assert done.stdout == nasty
    assert list(tmp_path.iterdir()) == []


def test_an_exit_status_other_than_0_is_an_error_with_the_end_of_the_output() -> None:
    with pytest.raises(ProgramFailed, match="ended with exit status 3") as caught:
        run([PY, "-c", "import sys; print('the reason', file=sys.stderr); sys.exit(3)"], timeout=30)
    assert caught.value.rc == 3
    assert "the reason" in caught.value.tail


def test_an_exit_status_is_an_answer_where_it_was_asked_for() -> None:
    assert run([PY, "-c", "raise SystemExit(3)"], timeout=30, check=False).rc == 3


def test_a_program_that_does_not_exist_is_an_error_of_its_own() -> None:
    with pytest.raises(ProgramFailed, match="could not be started"):
        run(["/nowhere/at/all"], timeout=5)


def test_a_program_that_chatters_for_ever_is_ended_at_the_deadline() -> None:
    watch = Stopwatch()
    with pytest.raises(DeadlineExceeded, match="did not end within"):
        run([PY, "-c", "while True: print('still here', flush=True)"], timeout=0.5)
    assert watch.seconds < 10


def test_a_silent_hang_is_ended_at_the_deadline() -> None:
    with pytest.raises(DeadlineExceeded, match="did not end within"):
        run([PY, "-c", "import signal; signal.pause()"], timeout=0.3)


def test_the_deadline_ends_the_whole_process_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    child = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
    parent = (
        "import subprocess, sys, os, signal\n"
        f"kid = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{kid.pid}}')\n"
        "signal.pause()\n"
    )
    with pytest.raises(DeadlineExceeded):
        run([PY, "-c", parent], timeout=3)
    for pid in map(int, pids.read_text().split()):
        assert dead(pid)


def test_secrets_are_cut_out_of_what_an_error_shows() -> None:
    with pytest.raises(ProgramFailed) as caught:
        run(
            [PY, "-c", "import sys; sys.exit('password was ' + sys.argv[1])", "hunter2"],
            timeout=30,
            secrets=["hunter2", ""],
        )
    assert "hunter2" not in str(caught.value)
    assert "•••" in caught.value.what
    assert "password was •••" in caught.value.tail


def test_secrets_are_cut_out_of_what_a_deadline_shows() -> None:
    code = "import sys, signal; print(sys.argv[1], file=sys.stderr, flush=True); signal.pause()"
    with pytest.raises(DeadlineExceeded) as caught:
        run([PY, "-c", code, "hunter2"], timeout=1, secrets=["hunter2"])
    assert "hunter2" not in str(caught.value)


def test_a_given_environment_replaces_ours_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG_OF_THE_HOST", "leaks")
    code = "import os; print(os.environ.get('LANG_OF_THE_HOST', ''), os.environ.get('MINE', ''))"
    assert run([PY, "-c", code], timeout=30, env={"MINE": "yes"}).stdout == " yes\n"
    assert run([PY, "-c", code], timeout=30).stdout == "leaks \n"


def test_standard_input_is_what_was_given_or_nothing() -> None:
    code = "import sys; print(repr(sys.stdin.read()))"
    assert run([PY, "-c", code], timeout=30, stdin=b"data").stdout == "'data'\n"
    assert run([PY, "-c", code], timeout=30).stdout == "''\n"


def test_output_that_is_no_text_does_not_break_anything() -> None:
    done = run([PY, "-c", "import sys; sys.stdout.buffer.write(b'a\\xff\\xfeb')"], timeout=30)
    assert done.stdout == "a��b"


def test_following_hands_out_each_line_and_returns_the_status() -> None:
    lines: list[str] = []
    rc = follow([PY, "-c", "import sys; print('one'); print('two'); sys.exit(4)"], lines.append)
    assert (lines, rc) == (["one", "two"], 4)


def test_a_program_apart_writes_its_log_and_comes_back_with_its_status(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = "import sys; print('said', flush=True); print('also', file=sys.stderr); sys.exit(4)"
    assert run_apart([PY, "-c", program], log=log, deadline=Deadline(60), grace=10, stop=threading.Event()) == 4
    assert log.read_text().split() == ["said", "also"]
    with pytest.raises(ProgramFailed, match="could not be started"):
        run_apart(["no-such-program"], log=log, deadline=Deadline(60), grace=10, stop=threading.Event())


SETTLES = """
import signal, sys, time
def settle(*_):
    print("settled", flush=True); sys.exit(3)
signal.signal(signal.SIGTERM, settle)
print("ready", flush=True)
time.sleep(600)
"""
IGNORES = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_program_apart_may_settle_when_it_is_asked_to_end(tmp_path: Path) -> None:
    log, stop = tmp_path / "log", threading.Event()

    def ask() -> None:
        until(
            lambda: log.exists() and "ready" in log.read_text(), deadline=Deadline(30), what="it to begin", every=0.02
        )
        stop.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert run_apart([PY, "-c", SETTLES], log=log, deadline=Deadline(60), grace=30, stop=stop) == 3
    thread.join()
    assert log.read_text().split() == ["ready", "settled"]


def test_a_program_apart_that_does_not_end_goes_with_all_that_it_started(tmp_path: Path) -> None:
    log, stop = tmp_path / "log", threading.Event()

    def ask() -> None:
        until(lambda: log.exists() and log.read_text().strip(), deadline=Deadline(30), what="it to begin", every=0.02)
        stop.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert run_apart([PY, "-c", IGNORES], log=log, deadline=Deadline(60), grace=0.2, stop=stop) == -9
    thread.join()
    assert dead(int(log.read_text()))


def test_a_program_apart_is_asked_to_end_at_the_deadline(tmp_path: Path) -> None:
    program = "import time; time.sleep(600)"
    watch = Stopwatch()
    rc = run_apart([PY, "-c", program], log=tmp_path / "log", deadline=Deadline(0.3), grace=30, stop=threading.Event())
    assert rc == -15
    assert watch.seconds < 30


ORPHANS = """
import sys, threading
from pathlib import Path
from pytest_ccci import process
from pytest_ccci.waiting import Deadline
process._AFTER_US = 0.0
run = [sys.executable, "-c", sys.argv[1]]
process.run_apart(run, log=Path(sys.argv[2]), deadline=Deadline(4), grace=1, stop=threading.Event())
"""


@pytest.mark.skipif(which("timeout") is None, reason="timeout (coreutils) is not installed")
@pytest.mark.parametrize(("program", "ends"), [(SETTLES, "settled"), (IGNORES, "")])
def test_a_program_apart_ends_in_time_when_whoever_started_it_was_killed(
    tmp_path: Path, program: str, ends: str
) -> None:
    log = tmp_path / "log"
    told = f"import os; print(os.getpid(), flush=True)\n{program}"
    starter = spawn([PY, "-c", ORPHANS, told, str(log)], log=tmp_path / "starter.log")
    until(lambda: log.exists() and len(log.read_text().split()) > 1, deadline=Deadline(30), what="it", every=0.02)
    terminate(starter, force=True)
    assert dead(starter)
    number, *said = log.read_text().split()
    assert alive(int(number))
    assert dead(int(number))
    if ends:
        assert log.read_text().split()[-1] == ends
    else:
        terminate(int(said[0]), force=True)  # what a killed program started itself


def test_a_spawned_program_lives_in_a_session_of_its_own_and_writes_its_log(tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    pid = spawn([PY, "-c", "import signal; print('up', flush=True); signal.pause()"], log=log)
    try:
        assert until(lambda: "up" in log.read_text(), deadline=Deadline(20), what="the log", every=0.02)
        assert alive(pid)
        assert os.getsid(pid) == pid != os.getsid(0)
    finally:
        terminate(pid, force=True)
    assert dead(pid)


def test_ending_a_process_that_is_gone_is_fine(tmp_path: Path) -> None:
    pid = spawn([PY, "-c", ""], log=tmp_path / "log")
    assert dead(pid)
    until(lambda: not Path(f"/proc/{pid}").exists(), deadline=Deadline(10), what="the zombie to be reaped", every=0.02)
    terminate(pid)
    assert not alive(pid)


def test_which_finds_programs_and_says_when_there_is_none() -> None:
    assert which("sh") is not None
    assert which("no-such-program-anywhere") is None


def test_a_program_in_a_usual_place_is_found_and_run_though_path_does_not_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "usual"
    place.mkdir()
    (place / "our-tool").write_text("#!/bin/sh\necho found\n")
    (place / "our-tool").chmod(0o755)
    monkeypatch.setattr("pytest_ccci.process._USUAL", (str(place),))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert which("our-tool") == place / "our-tool"
    assert run(["our-tool"], timeout=10).stdout == "found\n"


def test_nothing_is_run_from_the_current_folder_because_of_an_empty_path_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "our-tool").write_text("#!/bin/sh\necho no\n")
    (tmp_path / "our-tool").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", ":/usr/bin::/bin:")
    assert which("our-tool") is None


def test_without_any_path_programs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    assert which("sh") is not None


def test_a_folder_on_the_path_that_cannot_be_looked_into_hides_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"/{'x' * 300}:/usr/bin:/bin")  # a name that is too long is an error for root, too
    assert which("sh") is not None
