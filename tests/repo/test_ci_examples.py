"""The workflow files for other people's CI: they load, their shell is one, and what they call has these options."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_ccci.process import run
from pytest_ccci.settings import OPTIONS, resolve

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "ci"
FILES = sorted(set(FOLDER.glob("*.yml")) - {FOLDER / "dispatch.yml"})
OURS = {option.flag: option for option in OPTIONS}
PYTESTS = {"--cold": "", "--junit-xml": ""}
"""Those that are not in the table: our short form, and pytest's own."""

each = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def loaded(file: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


def steps(file: Path) -> list[dict[str, Any]]:
    """The steps of its only job, of either dialect."""
    document = loaded(file)
    found: list[dict[str, Any]] = document["steps"] if "steps" in document else document["jobs"]["cold"]["steps"]
    return found


def scripts(file: Path) -> Iterator[str]:
    for step in steps(file):
        if "run" in step or "commands" in step:
            yield str(step.get("run") or "\n".join(step["commands"]))


def calls(script: str) -> Iterator[list[str]]:
    """The words of each call of pytest in it."""
    for line in script.splitlines():
        words = shlex.split(line)
        if words and words[0].endswith("/pytest"):
            yield words[1:]


def problems(words: list[str]) -> list[str]:
    """What of a call no option of ours or of pytest's would take."""
    found = []
    for word in words:
        name, _, value = word.partition("=")
        if name in OURS:
            resolve({OURS[name].name: value}, {}, {})
        elif name.startswith("-") and name not in PYTESTS:
            found.append(name)
    return found


def test_there_is_one_for_each_forge() -> None:
    assert [file.stem for file in FILES] == ["forgejo", "github", "woodpecker"]


@each
def test_its_shell_can_be_read(file: Path, tmp_path: Path) -> None:
    for script in scripts(file):
        path = tmp_path / "step.sh"
        path.write_text(script, encoding="utf-8")
        run(["sh", "-n", path], timeout=20)


@each
def test_it_makes_one_cold_run_with_options_that_there_are_and_uploads_its_junit(file: Path) -> None:
    (words,) = [words for script in scripts(file) for words in calls(script)]
    assert problems(words) == []
    assert words[0] == "--cold"
    assert words[-1] == "recipes/$RECIPE"
    assert "--junit-xml=junit.xml" in words
    upload = steps(file)[-1]
    assert "junit.xml" in str(upload)
    assert upload.get("if") == "always()" or upload["when"] == [{"status": ["success", "failure"]}]


def test_an_option_that_there_is_not_would_be_found() -> None:
    assert problems(["--cold", "--ccci-slotz=3", "--ccci-slots=3", "recipes/x"]) == ["--ccci-slotz"]


@each
def test_what_somebody_typed_is_never_part_of_a_script(file: Path) -> None:
    assert not any("${{" in script for script in scripts(file))


@each
def test_no_pull_request_of_a_stranger_starts_it(file: Path) -> None:
    document = loaded(file)
    # YAML 1.1 reads the key `on` as true.
    started = document.get("on", document.get(True, document.get("when")))
    assert "pull_request" not in str(started)
    assert "push" in str(started)


def test_the_buildbot_example_is_python_and_calls_what_there_is() -> None:
    tree = ast.parse((FOLDER / "master.cfg").read_text(encoding="utf-8"))
    calls_of = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.List)]
    (placed,) = [text for text in calls_of if text.startswith("['ccci'")]
    assert placed == "['ccci', 'place', '--json', recipe, MACHINES]"
    (tested,) = [ast.literal_eval(text.rpartition(",")[0] + "]") for text in calls_of if text.startswith("['pytest'")]
    assert problems(tested[1:]) == []
