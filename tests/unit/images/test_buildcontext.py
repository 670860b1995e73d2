from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from pytest_ccci.engine.buildcontext import Plan, plan, write_context
from pytest_ccci.engine.definitions import Definition, load_definition
from pytest_ccci.errors import UsageError

TOML = """
name = "localhost/x"
base = "debian:bookworm-slim"
[versions]
"1.0.0" = []
"2.0.0" = ["two"]
[fetch.pip]
requirements = ["a=={version}", "b"]
"""


@pytest.fixture
def definition(tmp_path: Path) -> Definition:
    folder = tmp_path / "x"
    (folder / "src").mkdir(parents=True)
    (folder / "overlays" / "two" / "src").mkdir(parents=True)
    (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    (folder / "src" / "a.py").write_text("a = 1\n")
    (folder / "overlays" / "two" / "src" / "a.py").write_text("a = 2\n")
    (folder / "overlays" / "two" / "src" / "b.py").write_text("b = 2\n")
    (folder / "image.toml").write_text(TOML)
    return load_definition(folder / "image.toml")


def made(definition: Definition, version: str = "1.0.0", *, arch: str = "amd64", base: str = "b") -> Plan:
    return plan(definition, version, arch=arch, base=base)


def test_an_overlay_replaces_and_adds_and_leaves_other_versions_alone(definition: Definition) -> None:
    one, two = made(definition), made(definition, "2.0.0")

    assert sorted(one.files) == ["Dockerfile", "src/a.py"]
    assert sorted(two.files) == ["Dockerfile", "src/a.py", "src/b.py"]
    assert one.files["src/a.py"].read_text() == "a = 1\n"
    assert two.files["src/a.py"].read_text() == "a = 2\n"


def test_the_hash_stays_while_nothing_changes(definition: Definition) -> None:
    assert made(definition).content == made(definition).content


def test_the_hash_changes_with_version_base_architecture_and_files(definition: Definition) -> None:
    before = made(definition)
    others = [made(definition, "2.0.0"), made(definition, base="c"), made(definition, arch="arm64")]
    (definition.folder / "src" / "a.py").write_text("a = 3\n")
    others.append(made(definition))
    (definition.folder / "src" / "a.py").chmod(0o755)
    others.append(made(definition))

    assert len({before.content, *(one.content for one in others)}) == 6


def test_another_versions_overlay_does_not_change_the_hash(definition: Definition) -> None:
    before = made(definition).content
    (definition.folder / "overlays" / "two" / "src" / "b.py").write_text("b = 3\n")

    assert made(definition).content == before


def test_the_version_is_filled_into_what_is_fetched(definition: Definition) -> None:
    assert made(definition).fetch == {"pip": {"requirements": ["a==1.0.0", "b"], "python": "3.11"}}


def test_a_link_out_of_the_folder_is_refused(definition: Definition) -> None:
    (definition.folder / "src" / "passwd").symlink_to("/etc/passwd")

    with pytest.raises(UsageError, match="points outside"):
        made(definition)


def test_the_context_is_roots_and_carries_no_time_or_owner_of_the_host(definition: Definition, tmp_path: Path) -> None:
    fetched = tmp_path / "pip"
    fetched.mkdir()
    (fetched / "tool").write_text("#!/bin/sh\n")
    (fetched / "tool").chmod(0o700)
    write_context(made(definition), {"pip": fetched}, tmp_path / "context.tar")

    with tarfile.open(tmp_path / "context.tar") as tar:
        rows = {info.name: info for info in tar}
    assert sorted(rows) == ["Dockerfile", "fetched/pip/tool", "src/a.py"]
    assert {(row.uid, row.gid, row.uname) for row in rows.values()} == {(0, 0, "root")}
    assert rows["fetched/pip/tool"].mode == 0o755
    assert rows["src/a.py"].mode == 0o644


def test_files_of_other_content_have_another_time(definition: Definition, tmp_path: Path) -> None:
    def moment() -> int:
        write_context(made(definition), {}, tmp_path / "context.tar")
        with tarfile.open(tmp_path / "context.tar") as tar:
            return int(tar.getmember("src/a.py").mtime)

    before = moment()
    (definition.folder / "src" / "a.py").write_text("a = 7\n")

    assert moment() != before
