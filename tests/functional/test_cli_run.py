"""`./run`, with a Python environment that only notes what it is asked for."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from pytest_ccci import process

_SCRIPT = Path(__file__).parents[2] / "run"
_PYTHON = """#!/bin/sh
case "$1 $2" in
    "-m pip") echo "pip $*" >>"{log}"; exit {pip} ;;
    *) exit 0 ;;
esac
"""
_TOOL = '#!/bin/sh\necho "{name} $* in $(pwd)" >>"{log}"\n'


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def checkout(tmp_path: Path, log: Path) -> Path:
    """A checkout in a folder with a blank, with an environment that is there already."""
    here = tmp_path / "a checkout"
    here.mkdir()
    shutil.copy(_SCRIPT, here / "run")
    (here / "pyproject.toml").write_text("[project]\n")
    for environment, suffix in ((".venv", ""), (".venv-plugins", " (plugins)"), (".venv-pages", " (pages)")):
        programs = here / environment / "bin"
        programs.mkdir(parents=True)
        program(programs / "python", _PYTHON.format(log=log, pip=0))
        for name in ("ccci", "pytest"):
            program(programs / name, _TOOL.format(name=f"{name}{suffix}", log=log))
    return here


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def run(checkout: Path, *words: str, cwd: Path | None = None, path: str | None = None) -> process.Finished:
    env = {"PATH": path or os.environ["PATH"], "HOME": str(checkout)}
    return process.run(["/bin/sh", checkout / "run", *words], timeout=60, cwd=cwd or checkout, env=env, check=False)


def test_every_posix_shell_at_hand_can_read_it() -> None:
    shells = [shell for shell in ("sh", "dash", "bash", "busybox") if process.which(shell)]
    for shell in shells:
        words = [shell, "sh", "-n"] if shell == "busybox" else [shell, "-n"]
        assert process.run([*words, _SCRIPT], timeout=20).stderr == "", shell
    assert os.access(_SCRIPT, os.X_OK)


def test_the_first_call_installs_and_the_second_reuses_and_says_so(checkout: Path, log: Path) -> None:
    first = run(checkout, "ccci", "status")
    assert "installing pytest-ccci" in first.stderr
    assert log.read_text().count("pip -m pip") == 1
    second = run(checkout, "ccci", "status")
    assert second.stderr.splitlines() == [f"run: reusing {checkout}/.venv"]
    assert log.read_text().count("pip -m pip") == 1


def test_a_changed_pyproject_is_installed_again(checkout: Path, log: Path) -> None:
    run(checkout, "true")
    (checkout / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    run(checkout, "true")
    assert log.read_text().count("pip -m pip") == 2


def test_an_install_that_fails_is_told_and_tried_again(checkout: Path, log: Path) -> None:
    program(checkout / ".venv" / "bin" / "python", _PYTHON.format(log=log, pip=1))
    for _ in range(2):
        done = run(checkout, "ccci", "status")
        assert done.rc == 1
        assert "is a Python package index within reach?" in done.stderr
    assert log.read_text().count("pip -m pip") == 2
    assert "ccci" not in log.read_text().replace("pytest-ccci", "").replace(str(checkout), "")


def test_anything_else_runs_where_it_was_called_with_its_own_exit_status(checkout: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run(checkout, "sh", "-c", 'pwd; command -v ccci; echo "$1"; exit 7', "x", "two words", cwd=elsewhere)
    assert done.rc == 7
    assert done.stdout.splitlines() == [str(elsewhere), f"{checkout}/.venv/bin/ccci", "two words"]


def test_demo_gets_the_checkouts_recipe_from_anywhere(checkout: Path, log: Path, tmp_path: Path) -> None:
    assert run(checkout, "demo", "--ccci-zone", "x.test", cwd=tmp_path).rc == 0
    called = log.read_text().splitlines()[-1]
    assert called == f"ccci demo --recipe {checkout}/recipes/lasuite-docs --ccci-zone x.test in {tmp_path}"


def test_test_makes_the_machine_ready_and_runs_the_suite_in_the_checkout(
    checkout: Path, log: Path, tmp_path: Path
) -> None:
    assert run(checkout, "test", "-x", cwd=tmp_path).rc == 0
    assert log.read_text().splitlines()[-2:] == [f"ccci setup in {checkout}", f"pytest -x in {checkout}"]


@pytest.mark.parametrize(
    ("words", "played", "first"),
    [((), "not full", []), (("--all",), "(full or not full)", ["pytest (pages) tests/browser"])],
    ids=["bare", "all"],
)
def test_the_company_of_other_plugins_is_tested_in_an_environment_of_its_own(
    checkout: Path, log: Path, words: tuple[str, ...], played: str, first: list[str]
) -> None:
    assert run(checkout, "test", *words).rc == 0
    called = [
        line.partition(f" in {checkout}")[0] for line in log.read_text().splitlines() if line.startswith("pytest")
    ]
    beside = f"-n 2 --dist loadfile --no-loadscope-reorder -m {played} --ignore tests/functional/test_plugins.py"
    stories = "tests/forge/test_whole_stories.py"
    real = f"tests/integration tests/apps {stories} tests/proofs/runs tests/proofs/infra tests/zoo"
    alone = f"pytest -m alone and not zoo and {played} {real}"
    forge = f"pytest -m {played} --ignore {stories} tests/forge"
    assert {alone, forge} <= set(called)
    assert [words for words in called if words not in {alone, forge}] == [
        *first,
        f"pytest {beside} tests/proofs/store tests/functional tests/repo tests/unit",
        "pytest (plugins) -n 2 tests/functional/test_plugins.py",
        f"pytest -n 3 --dist loadgroup --no-loadscope-reorder -m (not alone or zoo) and {played} {real}",
    ]


def test_red_pages_are_not_forgotten(checkout: Path, log: Path) -> None:
    tool = checkout / ".venv-pages" / "bin" / "pytest"
    program(tool, f'{tool.read_text()}case "$*" in tests/browser) exit 3 ;; esac\n')
    assert run(checkout, "test", "--all").rc == 3
    assert log.read_text().count("pytest") >= 6


@pytest.mark.parametrize(
    "red",
    [
        "tests/unit",
        "-n 2 tests/functional/test_plugins.py",
        "alone and not zoo and not full",
        "(not alone or zoo) and not full",
        "not full --ignore tests/forge/test_whole_stories.py",
    ],
)
def test_a_red_part_of_the_suite_ends_nothing_and_is_not_forgotten(checkout: Path, log: Path, red: str) -> None:
    for environment in (".venv", ".venv-plugins"):
        tool = checkout / environment / "bin" / "pytest"
        program(tool, f'{tool.read_text()}case " $* " in *"-m {red} "*|*" {red}"*) echo "it was red"; exit 3 ;; esac\n')
    done = run(checkout, "test")
    assert done.rc == 3
    assert "it was red" in done.stdout
    assert log.read_text().count("pytest") >= 4


def test_a_setup_that_fails_is_told_and_no_recipe_is_run(checkout: Path, log: Path) -> None:
    program(checkout / ".venv" / "bin" / "ccci", "#!/bin/sh\necho no room; exit 1\n")
    done = run(checkout, "test")
    assert done.rc == 1
    assert "no room" in done.stdout
    assert "could not be made ready" in done.stderr
    assert "tests/integration" not in log.read_text()


def test_what_runs_aside_hears_ctrl_c(checkout: Path) -> None:
    told = "import signal; print(signal.getsignal(signal.SIGINT) == signal.default_int_handler)"
    program(checkout / ".venv" / "bin" / "ccci", f"#!/bin/sh\nexec {sys.executable} -c '{told}'\n")
    assert "True" in run(checkout, "test").stdout


def test_without_any_python_it_says_what_to_do(checkout: Path, tmp_path: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("dirname", "cksum", "cat", "rm"):
        (bare / name).symlink_to(process.which(name) or name)
    program(bare / "id", "#!/bin/sh\necho 1000\n")
    done = run(checkout, "demo", path=str(bare))
    assert done.rc == 1
    assert "no Python 3.11 to 3.13 with venv was found: install one" in done.stderr


def test_nothing_to_do_is_a_question_and_ends_2(checkout: Path) -> None:
    assert run(checkout).rc == 2
    assert run(checkout, "--help").rc == 0
