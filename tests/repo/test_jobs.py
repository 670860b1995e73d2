"""tox: one environment per job, each with a line that says why; the oldest versions tested are those declared."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path

import pytest
from ownengine import ENGINES

JOBS = ("lint", "type", "lowest", "integration", "proofs", "docs", "pkg")
PYTHONS = ("py311", "py312", "py313")


@pytest.fixture(scope="module")
def tox(root: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None)
    found.read_string((root / "tox.ini").read_text(encoding="utf-8"))
    return found


def test_every_job_has_an_environment_and_a_description(tox: configparser.ConfigParser) -> None:
    for job in JOBS:
        assert tox[f"testenv:{job}"]["description"].strip()
    assert tox["testenv"]["description"].strip()
    assert set(re.split(r",\s*", tox["tox"]["env_list"])) >= {*PYTHONS, "lint", "type"}


def test_the_oldest_versions_that_are_tested_are_those_that_are_promised(
    tox: configparser.ConfigParser, root: Path
) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = dict(
        each.split(">=")
        for each in (
            *project["dependencies"],
            *project["optional-dependencies"]["recipes"],
            *project["optional-dependencies"]["alerts"],
        )
    )
    tested = dict(line.split("==") for line in tox["testenv:lowest"]["deps"].splitlines() if "==" in line)
    assert set(tested) == set(promised)
    for name, version in promised.items():
        assert tested[name] == version or tested[name].startswith(f"{version}."), name


def test_each_other_engine_has_a_job(tox: configparser.ConfigParser) -> None:
    commands = tox[f"testenv:engine-{{{','.join(sorted(ENGINES))}}}"]["commands"]
    for number in ENGINES:
        assert f"engine-{number}: python tests/support/ownengine.py {number} " in commands
