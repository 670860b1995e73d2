"""File systems that die, fail, lie or lose power at one chosen step of the store's real sequence of steps."""

from __future__ import annotations

import inspect
import itertools
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pytest_ccci.store.fs import Fs, Place

STEPS = tuple(
    name
    for name, member in inspect.getmembers(Fs, inspect.isfunction)
    # rmtree is made of unlink and rmdir, which are steps themselves.
    if not name.startswith("_") and name != "rmtree"
)
TORN = {"write_file", "append", "copy_data", "receive"}
CONTENT = {"copy_data", "clone_data", "receive"}


class SteppingFs(Fs):
    """Counts each step and hands it to :meth:`at` before it happens; the steps are those of ``Fs``, no list of ours."""

    def __init__(self) -> None:
        self.count = 0
        self.trace: list[str] = []

    def at(self, name: str, arguments: tuple[Any, ...]) -> None:
        """What happens before step ``count``."""


def _wrapped(name: str) -> Callable[..., Any]:
    def step(self: SteppingFs, *arguments: Any, **named: Any) -> Any:
        self.count += 1
        self.trace.append(name)
        self.at(name, arguments)
        return (
            self.act(name, arguments, named)
            if isinstance(self, PowerFs)
            else getattr(Fs, name)(self, *arguments, **named)
        )

    return step


for _name in STEPS:
    setattr(SteppingFs, _name, _wrapped(_name))


class KillFs(SteppingFs):
    """Kills its own process with SIGKILL before step ``point``, or in the middle of it when that writes."""

    def __init__(self, point: int, *, torn: bool) -> None:
        super().__init__()
        self._point = point
        self._torn = torn

    def at(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self.count != self._point:
            return
        if self._torn and name in TORN:
            half(name, arguments)
        os.kill(os.getpid(), signal.SIGKILL)


def half(name: str, arguments: tuple[Any, ...]) -> None:
    """Do half of a writing step."""
    if name == "copy_data":
        data = Path(arguments[0]).read_bytes()
        Path(arguments[1]).write_bytes(data[: len(data) // 2])
    elif name == "receive":
        data = b"".join(arguments[1])
        Path(arguments[0]).write_bytes(data[: len(data) // 2])
    else:
        with Path(arguments[0]).open("ab") as file:
            file.write(arguments[1][: len(arguments[1]) // 2])


class FailFs(SteppingFs):
    """Lets step ``point`` fail with ``number``, and all later ones too when ``lasting``."""

    def __init__(self, point: int, number: int, *, lasting: bool) -> None:
        super().__init__()
        self._point = point
        self._number = number
        self._lasting = lasting
        self.failed = False

    def at(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self.count == self._point or (self._lasting and self.count > self._point):
            if not self.failed and name in TORN:
                half(name, arguments)
            self.failed = True
            raise OSError(self._number, os.strerror(self._number), str(arguments[0]))


class CorruptFs(SteppingFs):
    """Turns one bit around in what the ``point``-th copied file holds, and says nothing: a disk that lies."""

    def __init__(self, point: int) -> None:
        super().__init__()
        self._point = point
        self._copies = 0

    def copy_data(self, source: Place, target: Place) -> None:
        super().copy_data(source, target)
        self._lie(Path(target))

    def clone_data(self, source: Place, target: Place) -> bool:
        self.copy_data(source, target)
        return True

    def receive(self, path: Place, pieces: Iterable[bytes], *, size: int) -> None:
        super().receive(path, pieces, size=size)
        self._lie(Path(path))

    def _lie(self, target: Path) -> None:
        self._copies += target.stat().st_size > 0
        if self._copies == self._point and target.stat().st_size:
            self._point = -1
            raw = bytearray(target.read_bytes())
            raw[len(raw) // 2] ^= 4
            target.write_bytes(raw)


class PowerFs(SteppingFs):
    """Loses power before step ``point``: what was not made durable is gone, as far as dice say.

    Content that was not synced is cut off. Names that were not synced are undone, newest first: the log of names is
    ordered, as in ext4 and XFS, and syncing a directory makes durable what was logged up to its own last change.
    """

    def __init__(self, point: int, *, dice: random.Random, graves: Path, root: Path, syncs: bool) -> None:
        super().__init__()
        self._point = point
        self._dice = dice
        self._graves = graves
        self._root = root
        self._syncs = syncs
        self._content: dict[int, int] = {}
        self._names: list[tuple[set[Path], Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, name: str, arguments: tuple[Any, ...]) -> None:
        del name, arguments
        if self.count == self._point:
            self._lose()
            os.kill(os.getpid(), signal.SIGKILL)

    def act(self, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if name in {"fsync_file", "fsync_dir", "sync_fs"}:
            self._sync(name, arguments[0])
            return None
        path = (
            Path(arguments[1])
            if name in {"rename", "link", "symlink", "copy_data", "clone_data"}
            else Path(arguments[0])
        )
        undo = self._prepared(name, arguments, path)
        done = getattr(Fs, name)(self, *arguments, **named)
        if undo is not None and done is not False:
            folders = {path.parent, Path(arguments[0]).parent} if name == "rename" else {path.parent}
            self._names.append((folders, undo))
        if name in {"write_file", *CONTENT} and done is not False:
            self._content[path.stat().st_ino] = 0
        return done

    def _prepared(self, name: str, arguments: tuple[Any, ...], path: Path) -> Callable[[], None] | None:
        if name == "append" and path.exists():
            facts = path.stat()
            self._content.setdefault(facts.st_ino, facts.st_size)
            return None
        if name in {"unlink", "rmdir"}:
            return self._bury(path)
        if name == "rename":
            return self._moved(Path(arguments[0]), path)
        if name == "mkdir":
            return lambda: shutil.rmtree(path)
        if name in {"write_file", "append", "link", "symlink", "mknod", *CONTENT}:
            return path.unlink
        return None

    def _bury(self, path: Path) -> Callable[[], None]:
        if path.is_dir() and not path.is_symlink():
            return lambda: path.mkdir(0o700)
        grave = self._graves / str(next(self._numbers))
        os.link(path, grave, follow_symlinks=False)

        def dig() -> None:
            grave.replace(path)

        return dig

    def _moved(self, old: Path, new: Path) -> Callable[[], None]:
        dig = self._bury(new) if os.path.lexists(new) else None

        def undo() -> None:
            new.rename(old)
            if dig:
                dig()

        return undo

    def _sync(self, name: str, path: Path) -> None:
        if not self._syncs:
            return
        if name == "sync_fs":
            self._content.clear()
            self._names.clear()
        elif name == "fsync_file":
            self._content.pop(path.stat().st_ino, None)
        else:
            last = max((at for at, (folders, _) in enumerate(self._names, 1) if path in folders), default=0)
            del self._names[:last]

    def _lose(self) -> None:
        """All, nothing, or some of it."""
        share = self._dice.choice((0.0, 0.5, 1.0))
        # Content first: a name that is undone may be the only way to a file.
        for folder, _, files in os.walk(self._root):
            for file in files:
                path = Path(folder) / file
                size = self._content.get(path.lstat().st_ino)
                if size is not None and not path.is_symlink() and self._dice.random() < share:
                    os.truncate(path, min(size, path.stat().st_size))
        kept = round(len(self._names) * (1 - self._dice.choice((0.0, share, 1.0))))
        for _, undo in reversed(self._names[kept:]):
            undo()
