"""The wheel: builds the same twice, carries what the package needs at run time, and no state."""

from __future__ import annotations

import hashlib
import shutil
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from pytest_ccci.process import run
from pytest_ccci.settings import current_environment
from pytest_ccci.statedir import open_state, write_atomic

DATA = (
    "pytest_ccci/results/schema.json",
    "pytest_ccci/images/debian/Dockerfile",
    "pytest_ccci/images/debian/customize.sh",
    "pytest_ccci/infra/traefik/recipe.toml",
    "pytest_ccci/infra/keycloak/recipe.toml",
)
STATE = {"canonical.json", "journal.jsonl", "owned.json", "last_good.json", "results.json", "manifest.json"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, tracked: tuple[Path, ...], root: Path) -> Path:
    """What git tracks, alone in a folder."""
    folder = tmp_path_factory.mktemp("source") / "project"
    for path in tracked:
        target = folder / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    for needed in ("README.md", "LICENSE"):
        assert (folder / needed).is_file(), f"{needed} is not tracked, and the wheel cannot be built without it"
    return folder


def build(tree: Path, into: Path) -> Path:
    argv: list[str | Path] = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", into, tree]
    run(argv, timeout=180, env={**current_environment(), "SOURCE_DATE_EPOCH": "1700000000"})
    (wheel,) = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tree, tmp_path_factory.mktemp("wheel"))


def names_in(wheel: Path) -> tuple[str, ...]:
    with zipfile.ZipFile(wheel) as archive:
        return tuple(archive.namelist())


def test_the_wheel_holds_every_tracked_file_of_the_package_and_nothing_else(wheel: Path, tree: Path) -> None:
    wanted = {
        path.relative_to(tree).as_posix()
        for path in (tree / "pytest_ccci").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in names_in(wheel) if ".dist-info/" not in name}
    assert held == wanted


@pytest.mark.parametrize("name", DATA)
def test_the_wheel_carries_what_is_read_at_run_time(wheel: Path, name: str) -> None:
    assert name in names_in(wheel)


def test_the_wheel_holds_no_state(wheel: Path) -> None:
    names = {PurePosixPath(name).name for name in names_in(wheel)}
    assert names & STATE == set()
    assert not [name for name in names if name.endswith((".lock", ".owner", ".sock", ".pid", ".key", ".pem"))]


def test_the_wheel_is_the_same_before_and_after_warm_data_came_about(wheel: Path, tree: Path, tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    write_atomic(state.canonical("custom-html") / "canonical.json", b"{}")
    for cache in (".pytest_cache", ".hypothesis", ".tox"):
        (tree / cache).mkdir(exist_ok=True)
        (tree / cache / "made-by-a-run").write_text("x", encoding="utf-8")
    (tree / "pytest_ccci" / "__pycache__").mkdir(exist_ok=True)
    (tree / "pytest_ccci" / "__pycache__" / "web.cpython-311.pyc").write_bytes(b"x")
    again = build(tree, tmp_path / "again")
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel, again)}
    assert again.name == wheel.name
    assert len(digests) == 1


def test_the_wheel_announces_the_plugin_and_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        text = archive.read(name).decode()
    assert "[pytest11]\nccci = pytest_ccci.plugin" in text
    assert "[console_scripts]\nccci = pytest_ccci.cli:main" in text
