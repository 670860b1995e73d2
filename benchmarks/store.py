"""Snapshot and restore against ``cp -a`` (and rsync, tar where there are), side by side in one run.

python benchmarks/store.py [--place DIR] [--mib 256] [--files 1000] [--changed 0.01]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pytest_ccci import process
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.waiting import Stopwatch

_HOUR = 3600.0


def main() -> None:
    """Measure, print the table."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="ccci-bench-", dir=options.place) as folder:
        store = CanonicalStore(Path(folder) / "canonical", "bench")
        live = store.live("data")
        _fill(live, options.files, options.mib << 20)
        print(f"{options.files} files, {options.mib} MiB, back end {store.backend.name}: {store.backend.why}")
        rows = _measured(store, live, Path(folder) / "other", options.changed)
        base = dict(rows)["cp -a"]
        for name, seconds in rows:
            print(f"{name:42} {seconds:9.3f} s   {base / seconds:8.2f} x cp -a")


def _measured(store: CanonicalStore, live: Path, other: Path, changed: float) -> list[tuple[str, float]]:
    rows = [("cp -a", _program(["cp", "-a", "--reflink=never", live, other / "cp"], other))]
    rows.append(("snapshot, verified, durable", _timed(lambda: _good(store))))
    _touch(live, changed)
    if process.which("rsync"):
        argv = ["rsync", "-a", "--delete", "--checksum", f"{other}/cp/", f"{other}/rs/"]
        shutil.copytree(live, other / "rs", symlinks=True)
        rows.append((f"rsync -a --delete --checksum, {changed:.0%} changed", _program(argv, other)))
    if process.which("zstd"):
        rows.append(("tar | zstd", _program(["tar", "--zstd", "-cf", other / "tar", live], other)))
    rows.append((f"restore, {changed:.0%} changed, verified", _restored(store)))
    rows.append(("restore, nothing changed, verified", _restored(store)))
    store.reset_live()
    rows.append(("restore into nothing, verified", _restored(store)))
    rows.append(("verify, by proof", _timed(lambda: store.verify(read_data=False))))
    rows.append(("verify, reading all", _timed(lambda: store.verify(read_data=True))))
    return rows


def _fill(folder: Path, files: int, size: int) -> None:
    block = os.urandom(max(size // files, 1))
    for number in range(files):
        path = folder / f"{number // 500:05}" / f"{number:07}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(number.to_bytes(8, "big") + block)


def _touch(folder: Path, share: float) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in random.Random(1).sample(files, max(round(len(files) * share), 1)):  # noqa: S311  dice
        path.write_bytes(path.read_bytes() + b"changed")


def _good(store: CanonicalStore) -> None:
    taken = store.snapshot(volumes=store.live_volumes(), secrets={}, coverage={}, stopped=lambda: None)
    store.promote(taken, release="1.0.0+1", commit="0" * 40, domain="warm-bench.ci.test", run_id="bench")


def _restored(store: CanonicalStore) -> float:
    return _timed(lambda: store.restore(stopped=lambda: None))


def _program(argv: Sequence[str | Path], other: Path) -> float:
    """A program's time until its work is durable, as the store's own times are."""
    other.mkdir(exist_ok=True)

    def work() -> None:
        process.run(argv, timeout=_HOUR)
        os.sync()

    return _timed(work)


def _timed(work: Callable[[], object]) -> float:
    os.sync()
    watch = Stopwatch()
    work()
    return max(watch.seconds, 1e-6)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, help="a folder on the file system to measure")
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--changed", type=float, default=0.01, help="share of files that change before the restore")
    return parser.parse_args()


if __name__ == "__main__":
    main()
