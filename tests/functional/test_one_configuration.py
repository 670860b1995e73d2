"""``ccci`` reads what pytest reads: the same file, section and value, wherever they are started."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from pytest_ccci.cli import parser
from pytest_ccci.cli.arguments import passed_on, settings_of
from pytest_ccci.errors import OptionError
from pytest_ccci.plugin.options import effective
from pytest_ccci.settings import Settings

INI = "[pytest]\nccci_slots = 5\nccci_zone = ini.test\n"
OPTIONS = '[tool.pytest.ini_options]\nccci_slots = 6\nccci_zone = "options.test"\nccci_external_proxy = true\n'
NATIVE = '[tool.pytest]\nccci_slots = "7"\nccci_zone = "native.test"\n'

LAYOUTS: dict[str, tuple[dict[str, str], str]] = {
    "nothing": ({}, ""),
    "pytest.ini": ({"pytest.ini": INI}, ""),
    "hidden": ({".pytest.ini": INI}, ""),
    "pytest.toml": ({"pytest.toml": '[pytest]\nccci_slots = "8"\n', "pytest.ini": INI}, ""),
    "an empty pytest.toml hides": ({"pytest.toml": "", "pytest.ini": INI}, ""),
    "an empty pytest.ini hides": ({"pytest.ini": "", "pyproject.toml": OPTIONS}, ""),
    "pyproject": ({"pyproject.toml": OPTIONS}, ""),
    "pyproject native": ({"pyproject.toml": NATIVE}, ""),
    "pyproject of others hides nothing": ({"pyproject.toml": "[tool.x]\na = 1\n", "tox.ini": INI}, ""),
    "tox.ini": ({"tox.ini": INI, "setup.cfg": "[tool:pytest]\nccci_slots = 9\n"}, ""),
    "tox.ini of others": ({"tox.ini": "[tox]\n", "setup.cfg": "[tool:pytest]\nccci_slots = 9\n"}, ""),
    "from below": ({"pytest.ini": INI, "a/b/x.txt": ""}, "a/b"),
    "the nearest": ({"pytest.ini": INI, "a/pyproject.toml": OPTIONS}, "a"),
    "the nearest that speaks to pytest": ({"tox.ini": INI, "a/pyproject.toml": "[tool.x]\na = 1\n"}, "a"),
    "setup.py says nothing": ({"pytest.ini": INI, "a/setup.py": "", "a/b/x.txt": ""}, "a/b"),
    "addopts": ({"pytest.ini": INI + "addopts = -x --ccci-slots=3 --ccci-zone opt.test\n"}, ""),
    "addopts as a list": ({"pytest.toml": '[pytest]\naddopts = ["--ccci-slots=4"]\n'}, ""),
    "addopts override": ({"pytest.ini": INI + "addopts = -o ccci_zone=over.test\n"}, ""),
}
COMPARED = ("slots", "zone", "external_proxy", "state_dir")


def ours(*words: str) -> Settings:
    return settings_of(parser().parse_args(["prune", *words]))


def pytests(pytester: pytest.Pytester, *words: str) -> dict[str, str]:
    """What a pytest that is started here resolves."""
    found = effective(pytester.parseconfig(*words))
    return {name: str(getattr(found, name)) for name in COMPARED}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CCCI_STATE_DIR", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_settings_as_pytest_in_every_layout(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    files, start = LAYOUTS[layout]
    write(files)
    (pytester.path / start).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(pytester.path / start)
    theirs = pytests(pytester)
    found = ours()
    assert theirs == {name: str(getattr(found, name)) for name in COMPARED}


@pytest.mark.parametrize("name", ["other.ini", "other.toml", "other.cfg"])
def test_a_named_file_counts_as_with_pytest(pytester: pytest.Pytester, name: str) -> None:
    texts = {"other.ini": INI, "other.toml": OPTIONS, "other.cfg": INI.replace("[pytest]", "[tool:pytest]")}
    write({name: texts[name], "pytest.ini": "[pytest]\nccci_slots = 2\n"})
    found = ours("-c", name)
    assert pytests(pytester, "-c", name) == {key: str(getattr(found, key)) for key in COMPARED}
    assert found.slots in {5, 6}


def test_command_line_beats_environment_beats_ini(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    write({"pytest.ini": INI + "ccci_keep_runs = 7\n"})
    monkeypatch.setenv("CCCI_SLOTS", "11")
    monkeypatch.setenv("CCCI_ZONE", "env.test")
    found = ours("--ccci-zone=line.test")
    assert (found.zone, found.slots, found.keep_runs) == ("line.test", 11, 7)
    assert [found.sources[name] for name in ("zone", "slots", "keep_runs")] == ["command line", "CCCI_SLOTS", "ini"]
    monkeypatch.setenv("PYTEST_ADDOPTS", "--ccci-slots=12")
    assert ours().slots == 12
    assert pytests(pytester)["slots"] == "12"


def test_what_a_configuration_says_of_runs_is_not_for_commands(pytester: pytest.Pytester) -> None:
    write({"pytest.ini": "[pytest]\nccci_mode = quick\nccci_ref = latest\naddopts = --quick\n"})
    assert pytester.path == Path.cwd()
    assert (ours().mode, ours().ref) == ("cold", "tip")


def test_a_pytest_that_a_command_starts_is_told_the_same(pytester: pytest.Pytester) -> None:
    write({"pytest.ini": INI + "ccci_alert_urls = json://secret\n"})
    assert pytester.path == Path.cwd()
    args = argparse.Namespace(ccci_slots="4")
    assert sorted(passed_on(args)) == ["--ccci-slots=4", "--ccci-zone=ini.test"]


@pytest.mark.parametrize("text", ["[pytest\n", "no section\n"])
def test_a_file_that_cannot_be_read_is_named(pytester: pytest.Pytester, text: str) -> None:
    write({"pytest.ini": text})
    with pytest.raises(OptionError, match="configuration file cannot be read") as caught:
        ours()
    assert caught.value.where == str(pytester.path / "pytest.ini")
