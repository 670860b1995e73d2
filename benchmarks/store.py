"""Snapshot and restore against ``cp -a``, ``rsync`` and ``tar | zstd``, on copies and on shared blocks, in one run.

python benchmarks/store.py [--sets 64x1000,64x5000 | --large] [--stores copy,xfs] [--changed 0.01] [--plot FILE.svg]
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from plot import draw

from pytest_ccci import process
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.fs import Fs
from pytest_ccci.waiting import Stopwatch

_HOUR = 3600.0
_DEFAULT = "64x1000,64x5000"
_LARGE = "512x1000,2048x1000,10240x1000,512x10000,512x100000"
_SPARE = 20 << 30
_COPIES = 3
"""How many times the data is there at once at most: the data, and two copies."""


@dataclass(frozen=True)
class Row:
    """One measurement: on which store, with how much data, what, and how long."""

    store: str
    mib: int
    files: int
    what: str
    seconds: float


def main() -> None:
    """Measure what was asked for, print tables, draw them."""
    options = _options()
    rows: list[Row] = []
    for mib, files in options.sets:
        for kind in options.stores:
            _require_room(options.place, mib, files)
            with _store(kind, options.place, mib, files) as (store, folder):
                _fill(store.live("data"), files, mib << 20)
                load = os.getloadavg()[0]
                print(f"\n{files} files, {mib} MiB, {store.backend.name}: {store.backend.why} (load {load:.1f})")
                found = [Row(kind, mib, files, *each) for each in _measured(store, folder / "other", options.changed)]
            _table(found)
            rows += found
    if options.plot:
        options.plot.write_text(
            draw([(f"{r.mib} MiB, {r.files} files", f"{r.store}: {r.what}", r.seconds) for r in rows])
        )
        print(f"\ndrawn: {options.plot}")


def _measured(store: CanonicalStore, other: Path, changed: float) -> Iterator[tuple[str, float]]:
    """Each way on the same file system, to the same durability; what is no longer needed makes room at once."""
    live, fs = store.live("data"), Fs()
    other.mkdir()
    sync = lambda: fs.sync_fs(other)  # noqa: E731  as short as what it names

    def program(*argv: str | Path) -> float:
        return _timed(lambda: (process.run(argv, timeout=_HOUR), sync()), sync)

    if process.which("zstd"):
        yield "tar | zstd", program("tar", "--zstd", "-cf", other / "tar", live)
        (other / "out").mkdir()
        yield "zstd | tar, back", program("tar", "--zstd", "-xf", other / "tar", "-C", other / "out")
        fs.rmtree(other / "out")
        (other / "tar").unlink()
    yield "cp -a", program("cp", "-a", "--reflink=never", live, other / "cp")
    if process.which("rsync"):
        for name, how in (("rsync -a --delete", ()), ("rsync -a --delete --checksum", ("--checksum",))):
            process.run(["cp", "-a", "--reflink=never", other / "cp", other / "rs"], timeout=_HOUR)
            _touch(other / "rs", changed)
            yield (
                f"{name}, {changed:.0%} changed",
                program("rsync", "-a", "--delete", *how, f"{other}/cp/", f"{other}/rs/"),
            )
            fs.rmtree(other / "rs")
    fs.rmtree(other / "cp")
    yield "snapshot", _timed(lambda: _good(store), sync)
    _touch(live, changed)
    yield f"restore, {changed:.0%} changed", _restored(store, sync)
    yield "restore, nothing changed", _restored(store, sync)
    store.reset_live()
    yield "restore into nothing", _restored(store, sync)
    yield "verify by proof", _timed(lambda: store.verify(read_data=False), sync)
    yield "verify, all read", _timed(lambda: store.verify(read_data=True), sync)


def _table(rows: Sequence[Row]) -> None:
    seconds = {row.what: row.seconds for row in rows}
    checksum = next((value for name, value in seconds.items() if "--checksum" in name), None)
    print(f"{'':36} {'seconds':>9} {'x cp -a':>9} {'x rsync --checksum':>19}")
    for what, value in seconds.items():
        against = f"{checksum / value:19.2f}" if checksum else ""
        print(f"{what:36} {value:9.3f} {seconds['cp -a'] / value:9.2f} {against}")


@contextmanager
def _store(kind: str, place: Path | None, mib: int, files: int) -> Iterator[tuple[CanonicalStore, Path]]:
    """An empty store of a kind: ``copy`` in a folder, ``xfs`` in a file of its own, as ``ccci doctor`` prints it."""
    with tempfile.TemporaryDirectory(prefix="ccci-bench-", dir=place) as name:
        folder = root = Path(name)
        try:
            if kind == "xfs":
                # Room for all copies, and for the file system's own tables.
                image, folder = root / "canonical.xfs", root / "canonical"
                with image.open("wb") as file:
                    file.truncate((_COPIES * ((mib << 20) + files * 4096) >> 20 << 20) + (1 << 30))
                folder.mkdir()
                process.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], timeout=_HOUR)
                process.run(["mount", "-o", "loop,discard", image, folder], timeout=_HOUR)
            yield CanonicalStore(folder / "bench", "bench"), folder
        finally:
            if kind == "xfs" and os.path.ismount(root / "canonical"):
                process.run(["umount", root / "canonical"], timeout=_HOUR)


def _require_room(place: Path | None, mib: int, files: int) -> None:
    facts = os.statvfs(place or tempfile.gettempdir())
    spare = facts.f_bavail * facts.f_frsize - _COPIES * ((mib << 20) + files * 4096)
    if spare < min(_SPARE, facts.f_blocks * facts.f_frsize // 10):
        raise SystemExit(f"{mib} MiB would leave {spare >> 20} MiB free: choose another --place or smaller --sets")


def _fill(folder: Path, files: int, size: int) -> None:
    for number in range(files):
        path = folder / f"{number // 500:05}" / f"{number:07}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(max(size // files, 1)))


def _touch(folder: Path, share: float) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in random.Random(1).sample(files, max(round(len(files) * share), 1)):  # noqa: S311  dice
        path.write_bytes(path.read_bytes() + b"changed")


def _good(store: CanonicalStore) -> None:
    taken = store.snapshot(volumes=store.live_volumes(), secrets={}, coverage={}, stopped=lambda: None)
    store.promote(taken, release="1.0.0+1", commit="0" * 40, domain="warm-bench.ci.test", run_id="bench")


def _restored(store: CanonicalStore, sync: Callable[[], None]) -> float:
    return _timed(lambda: store.restore(stopped=lambda: None), sync)


def _timed(work: Callable[[], object], sync: Callable[[], None]) -> float:
    sync()
    watch = Stopwatch()
    work()
    return max(watch.seconds, 1e-6)


def _sets(text: str) -> list[tuple[int, int]]:
    return [(int(mib), int(files)) for mib, _, files in (each.partition("x") for each in text.split(","))]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--place", type=Path, help="a folder on the disk to measure (default: the temporary one)")
    parser.add_argument("--sets", type=_sets, default=_DEFAULT, help="MIBxFILES, several with commas")
    parser.add_argument("--large", dest="sets", action="store_const", const=_sets(_LARGE), help=_LARGE)
    parser.add_argument("--stores", type=lambda text: text.split(","), default=["copy"], help="copy, xfs (needs root)")
    parser.add_argument("--changed", type=float, default=0.01, help="share of files that change before the restore")
    parser.add_argument("--plot", type=Path, help="where to draw all of it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
