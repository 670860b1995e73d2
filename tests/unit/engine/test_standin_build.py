from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pytest_ccci import process
from pytest_ccci.engine import standin_build
from pytest_ccci.engine.standin_build import Plan, plan, write_context
from pytest_ccci.engine.standin_definitions import Definition, load_definition
from pytest_ccci.errors import ImageUnavailable, ProgramFailed, UsageError

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


HEAD = 'name = "localhost/x"\nbase = "scratch"\n[versions]\n"1.0.0" = []\n'


def planned(folder: Path, fetch: str, **files: str) -> Plan:
    folder.mkdir(exist_ok=True)
    for name, text in {"Dockerfile": "FROM scratch\n", "image.toml": HEAD + fetch, **files}.items():
        (folder / name).write_text(text)
    return plan(load_definition(folder / "image.toml"), "1.0.0", arch="amd64", base="")


class Programs:
    """Stands for the door: records what is started, and does what the client would leave behind."""

    def __init__(self, leaves: Any = None) -> None:
        self.started: list[list[str]] = []
        self.leaves = leaves

    def run(self, argv: Any, *, cwd: Path | None = None, **_: Any) -> process.Finished:
        words = [str(word) for word in argv]
        self.started.append(words)
        if self.leaves:
            self.leaves(words, cwd)
        return process.Finished(tuple(words), 0, "", "", 0.0)

    @property
    def names(self) -> list[str]:
        return [Path(words[0]).name for words in self.started if "--version" not in words]


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    made = Programs()
    monkeypatch.setattr(process, "run", made.run)
    monkeypatch.setattr(process, "which", lambda name: Path("/usr/bin") / name)
    return made


def test_a_program_that_is_not_installed_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "which", lambda _: None)
    wanted = planned(tmp_path / "x", '[fetch.maven]\nartifact = "a:b:1:zip"\n')

    with pytest.raises(ImageUnavailable, match=r"mvn.*not installed") as caught:
        standin_build.fetch(wanted, cache=tmp_path / "cache")

    assert "maven" in caught.value.advice


def test_what_was_fetched_is_fetched_once(tmp_path: Path, programs: Programs) -> None:
    wanted = planned(tmp_path / "x", '[fetch.npm]\npackages = ["a@1"]\n')

    assert not standin_build.is_fetched(wanted, cache=tmp_path)
    first = standin_build.fetch(wanted, cache=tmp_path)
    second = standin_build.fetch(wanted, cache=tmp_path)

    assert first == second
    assert programs.names == ["npm"]
    assert standin_build.is_fetched(wanted, cache=tmp_path)


def test_a_requirements_file_that_changed_is_fetched_again(tmp_path: Path, programs: Programs) -> None:
    fetch = '[fetch.pip]\nrequirements = "r.txt"\n'
    one = standin_build.fetch(planned(tmp_path / "x", fetch, **{"r.txt": "a==1\n"}), cache=tmp_path)
    two = standin_build.fetch(planned(tmp_path / "x", fetch, **{"r.txt": "a==2\n"}), cache=tmp_path)

    assert one != two
    assert len(programs.names) == 2


def test_a_fetch_that_failed_leaves_nothing_that_counts(tmp_path: Path, programs: Programs) -> None:
    def fails(_words: list[str], cwd: Path | None) -> None:
        assert cwd is not None
        (cwd / "half").write_text("x")
        raise ProgramFailed("npm ended with exit status 1")

    programs.leaves = fails
    wanted = planned(tmp_path / "x", '[fetch.npm]\npackages = ["a@1"]\n')
    with pytest.raises(ProgramFailed):
        standin_build.fetch(wanted, cache=tmp_path)
    programs.leaves = None

    assert not standin_build.is_fetched(wanted, cache=tmp_path)
    assert not (standin_build.fetch(wanted, cache=tmp_path)["npm"] / "half").exists()


def test_scripts_lose_the_hosts_interpreter(tmp_path: Path, programs: Programs) -> None:
    def installs(words: list[str], _cwd: Path | None) -> None:
        if "--target" in words:
            scripts = Path(words[words.index("--target") + 1]) / "bin"
            scripts.mkdir()
            (scripts / "gunicorn").write_text(f"#!{sys.executable}\nimport x\n")
            (scripts / "binary").write_bytes(b"\x7fELF\n")

    programs.leaves = installs
    folder = standin_build.fetch(planned(tmp_path / "x", '[fetch.pip]\nrequirements = ["gunicorn"]\n'), cache=tmp_path)[
        "pip"
    ]

    assert (folder / "bin" / "gunicorn").read_text() == "#!/usr/bin/env python3\nimport x\n"
    assert (folder / "bin" / "binary").read_bytes() == b"\x7fELF\n"


def test_wheels_are_for_the_images_python_not_for_ours(tmp_path: Path, programs: Programs) -> None:
    standin_build.fetch(planned(tmp_path / "x", '[fetch.pip]\nrequirements = ["a"]\npython = "3.11"\n'), cache=tmp_path)

    words = programs.started[-1]
    assert {"--python-version=3.11", "--only-binary=:all:", "--platform=manylinux2014_x86_64"} <= set(words)


def test_a_maven_zip_is_unpacked_without_its_top_folder_and_keeps_its_modes(tmp_path: Path, programs: Programs) -> None:
    def downloads(words: list[str], _cwd: Path | None) -> None:
        store = next(word for word in words if word.startswith("-Dmaven.repo.local=")).partition("=")[2]
        artefact = Path(store, "org", "kc", "dist", "1.0.0", "dist-1.0.0.zip")
        artefact.parent.mkdir(parents=True)
        with zipfile.ZipFile(artefact, "w") as archive:
            for name, mode in (("top/bin/run.sh", 0o755), ("top/conf/x", 0o644), ("top/../../../evil", 0o644)):
                info = zipfile.ZipInfo(name)
                info.external_attr = mode << 16
                archive.writestr(info, "text")

    programs.leaves = downloads
    wanted = planned(tmp_path / "x", '[fetch.maven]\nartifact = "org.kc:dist:{version}:zip"\n')
    folder = standin_build.fetch(wanted, cache=tmp_path)["maven"]

    assert (folder / "bin" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (folder / "conf" / "x").stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in folder.iterdir()) == ["bin", "conf"]
    assert not list(tmp_path.rglob("evil"))
