"""The env file by which abra knows an app: only where abra is set up, never over somebody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ccci.recipe.abrafile import write_abra_env
from pytest_ccci.recipe.appenv import AppEnv
from pytest_ccci.recipe.dotenv import parse_env
from pytest_ccci.settings import abra_dir

ENV = AppEnv({"DOMAIN": "warm-notes.ci.test", "STACK_NAME": "warm-notes_ci_test", "LANG": "de_DE"}, ())
NAME = "warm-notes.ci.test.env"


def write(abra: Path | None, env: AppEnv = ENV, version: str = "1.0.0+4.8.1") -> str:
    return write_abra_env(abra, env, recipe="notes", version=version, domain="warm-notes.ci.test")


@pytest.fixture
def servers(tmp_path: Path) -> Path:
    folder = tmp_path / "servers" / "default"
    folder.mkdir(parents=True)
    return folder


def test_abra_finds_type_and_variables_under_the_domain_and_nobody_else_reads_them(
    servers: Path, tmp_path: Path
) -> None:
    assert write(tmp_path) == ""
    assert parse_env((servers / NAME).read_text()).values == {
        "TYPE": "notes:1.0.0+4.8.1",
        "DOMAIN": "warm-notes.ci.test",
        "LANG": "de_DE",
    }
    assert (servers / NAME).stat().st_mode & 0o777 == 0o600


def test_a_file_of_ours_is_written_anew(servers: Path, tmp_path: Path) -> None:
    write(tmp_path)
    assert write(tmp_path, version="1.1.0+4.9") == ""
    assert parse_env((servers / NAME).read_text()).values["TYPE"] == "notes:1.1.0+4.9"


def test_a_file_that_an_operator_wrote_stays_and_is_told(servers: Path, tmp_path: Path) -> None:
    (servers / NAME).write_text("TYPE=notes\n")
    assert "is not one of ours" in write(tmp_path)
    assert (servers / NAME).read_text() == "TYPE=notes\n"


def test_a_value_that_the_dialect_cannot_carry_is_told(servers: Path, tmp_path: Path) -> None:
    assert "no line breaks" in write(tmp_path, AppEnv({"KEY": "a\nb"}, ()))
    assert list(servers.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_and_stops_no_run(servers: Path, tmp_path: Path) -> None:
    (servers / NAME).mkdir()
    assert "could not be written" in write(tmp_path)


def test_without_abra_or_its_server_of_this_machine_nothing_is_written(tmp_path: Path) -> None:
    assert write(None) == ""
    assert write(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_abras_directory_is_the_named_one_else_the_one_at_home_if_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "named").mkdir()
    given = {"HOME": str(tmp_path), "ABRA_DIR": str(tmp_path / "named")}
    assert abra_dir({"HOME": str(tmp_path)}) is None
    (tmp_path / ".abra").mkdir()
    assert abra_dir({"HOME": str(tmp_path)}) == tmp_path / ".abra"
    assert abra_dir(given) == tmp_path / "named"
    assert abra_dir({}) is None
