"""What may not stand in any tracked file: promises for later, this machine's paths and addresses, private keys."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pytest_ccci.process import run, which
from pytest_ccci.settings import current_environment

LATER = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X\\b", "HA" + "CK\\b")))
HOME = re.compile(r"(?<![\w.])/(?:home|Users)/[a-z][\w.-]+/")
KEY = re.compile("-----BEGIN [A-Z ]*PRIVATE " + "KEY-----")
PUBLIC = {"pypi.org", "files.pythonhosted.org", "registry.npmjs.org", "repo.maven.apache.org", "repo1.maven.org"}
SYSTEM = {"/", "/tmp", "/var/tmp", "/opt", "/srv", "/usr", "/root", "/home", "/var", "/mnt", "/usr/src", "/builds"}


def texts(tracked: tuple[Path, ...], root: Path) -> dict[str, str]:
    """The tracked text files by their name in the tree, without licences of others."""
    found = {}
    for path in tracked:
        raw = path.read_bytes()
        if b"\0" not in raw[:4096]:
            found[str(path.relative_to(root))] = raw.decode("utf-8", "replace")
    return found


def naming(files: dict[str, str], pattern: re.Pattern[str]) -> list[str]:
    """Places where ``pattern`` stands."""
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def hosts_of_this_machine() -> set[str]:
    """Hosts of the package registries and proxies that this machine is set up with, as far as they are its own."""
    words = list(current_environment().values())
    if which("pip3"):
        words.append(run(["pip3", "config", "list"], timeout=60, check=False).stdout)
    words += [
        path.read_text(encoding="utf-8", errors="replace")
        for path in (
            Path.home() / ".npmrc",
            Path.home() / ".m2/settings.xml",
            Path("/etc/pip.conf"),
            Path("/etc/npmrc"),
            Path("/etc/apt/sources.list"),
        )
        if path.is_file()
    ]
    urls = re.findall(r"https?://[^\s'\"<>,;]+", "\n".join(words))
    hosts = {urlsplit(url).hostname or "" for url in urls}
    return {host for host in hosts if "." in host and host not in PUBLIC and not host.startswith("127.")}


def paths_of_this_machine(root: Path) -> set[str]:
    """Folders that only this machine has: where the checkout lies, unless that is a place every system has."""
    return {f"{folder}/" for folder in (root, root.parent) if str(folder) not in SYSTEM}


def test_nothing_is_left_for_later(tracked: tuple[Path, ...], root: Path) -> None:
    assert naming(texts(tracked, root), LATER) == []


def test_no_private_key_is_tracked(tracked: tuple[Path, ...], root: Path) -> None:
    assert naming(texts(tracked, root), KEY) == []


def test_no_file_names_somebodys_home(tracked: tuple[Path, ...], root: Path) -> None:
    assert naming(texts(tracked, root), HOME) == []


def test_no_file_names_where_this_checkout_lies(tracked: tuple[Path, ...], root: Path) -> None:
    for path in paths_of_this_machine(root):
        assert naming(texts(tracked, root), re.compile(re.escape(path))) == []


def test_no_file_names_a_registry_of_this_machine(tracked: tuple[Path, ...], root: Path) -> None:
    files = texts(tracked, root)
    known = re.compile(r"^(.*\.)?(debian\.org|ubuntu\.com|github\.com|python\.org)$")
    for host in hosts_of_this_machine():
        if not known.match(host):
            assert naming(files, re.compile(rf"\b{re.escape(host)}\b")) == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (LATER, "# TO" + "DO later"),
        (HOME, "path = '/ho" + "me/somebody/recipes'"),
        (KEY, "-----BEGIN RSA PRIVATE " + "KEY-----"),
    ],
)
def test_a_planted_text_is_found(pattern: re.Pattern[str], line: str) -> None:
    assert len(naming({"planted.md": f"fine\n{line}\n"}, pattern)) == 1
