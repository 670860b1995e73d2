"""One of everything that a volume may hold, and a look at a tree by means other than the store's own."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from pathlib import Path

__all__ = ["Picture", "picture_of", "plant_one_of_each"]

Picture = dict[str, tuple[object, ...]]


def picture_of(tree: Path) -> Picture:
    """Looks at a tree by means other than the store's own."""
    found: Picture = {}
    for folder, folders, files in os.walk(os.fsencode(tree)):
        for name in (*folders, *files):
            path = folder + b"/" + name
            facts = os.lstat(path)
            content = ""
            if stat.S_ISREG(facts.st_mode):
                content = hashlib.blake2b(Path(os.fsdecode(path)).read_bytes()).hexdigest()
            elif stat.S_ISLNK(facts.st_mode):
                content = repr(os.readlink(path))  # noqa: PTH115  the text itself is looked at
            attributes = {
                one: os.getxattr(path, one, follow_symlinks=False) for one in os.listxattr(path, follow_symlinks=False)
            }
            size = facts.st_size if stat.S_ISREG(facts.st_mode) else 0
            row = (facts.st_mode, facts.st_uid, facts.st_gid, size, facts.st_mtime_ns, content, repr(attributes))
            found[repr(os.path.relpath(path, os.fsencode(tree)))] = row
    return found


def plant_one_of_each(root: Path) -> None:
    """One of everything that a volume may hold and that needs no special right to make."""
    root.mkdir(exist_ok=True)
    (root / "plain").write_bytes(os.urandom(100_000))
    (root / "empty").write_bytes(b"")
    (root / "hollow").mkdir()
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "file").write_text("deep")
    (root / "dangling").symlink_to("nowhere/at/all")
    (root / "absolute").symlink_to("/etc/passwd")
    os.symlink("deep//er/.", root / "untidy")  # noqa: PTH211  a Path would tidy it up
    os.link(root / "plain", root / "deep" / "hard")
    os.mkfifo(root / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as unix:
        # A socket's address is short; its folder need not be.
        here = os.open(root, os.O_RDONLY)
        unix.bind(f"/proc/self/fd/{here}/sock")
        os.close(here)
    Path(os.fsdecode(os.fsencode(root) + b"/latin-\xe9\xff")).write_bytes(b"not UTF-8")
    (root / "new\nline").write_text("odd")
    with (root / "sparse").open("wb") as file:
        file.seek(4 << 20)
        file.write(b"end")
        file.truncate(8 << 20)
    (root / "secret").write_text("x")
    (root / "secret").chmod(0o400)
    (root / "setgid").mkdir()
    (root / "setgid").chmod(0o2775)
    os.setxattr(root / "plain", "user.note", b"\x00binary")
    os.setxattr(root / "hollow", "user.note", b"folder")
    os.utime(root / "plain", ns=(1, 1_234_567_890_123_456_789))
    os.utime(root / "dangling", ns=(1, 999_999_999), follow_symlinks=False)
    os.utime(root / "deep", ns=(1, 77_000_000_007))
    os.utime(root, ns=(1, 88_000_000_008))
