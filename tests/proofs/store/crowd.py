"""Many processes that want the same canonical at once, each for a promotion, some killed in the middle of it.

A program of its own, so that it can fork before any thread exists. Prints what each one saw as JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from pytest_ccci.locks import Place, hold
from pytest_ccci.process import alive
from pytest_ccci.progress import received
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import CopyBackend
from pytest_ccci.waiting import Deadline, pause, until
from tests.proofs.store.trial_fs import KillFs

WAIT = 600.0
GAP = 0.04
"""Between two that come, in seconds."""


class Visitor:
    """One process: waits for the canonical, looks whether it is whole, makes the next release, leaves."""

    def __init__(self, root: Path, number: int, count: int, *, doomed: bool) -> None:
        self.root = root
        self.number = number
        self.count = count
        self.doomed = doomed
        self.told: list[str] = []
        self.row: dict[str, Any] = {"number": number, "doomed": doomed, "problem": ""}

    def visit(self) -> None:
        self.row["came"] = time.monotonic()
        (self.root / f"came-{self.number}").touch()
        lock = self.root / "locks" / "warm-demo.ci.test.lock"
        with received(self.told.append), hold(lock, wait=WAIT, owner={"run": f"run-{self.number}"}):
            self.row |= {"entered": time.monotonic(), "told": self.told}
            self._write()
            self._alone()
            self._promote()
            self.row["left"] = time.monotonic()
            self._write()

    def _alone(self) -> None:
        """The last one to come in wrote its pid; it must be gone, or be done."""
        inside = self.root / "inside"
        if not inside.exists():
            # The first one stays until all have come, so that all the others wait, however fast the machine is.
            until(self._all_came, deadline=Deadline(WAIT), what="everybody to come", every=GAP)
        before = inside.read_text() if inside.exists() else ""
        if before and alive(int(before)):
            raise AssertionError(f"{before} is inside as well")
        inside.write_text(str(os.getpid()))

    def _all_came(self) -> bool:
        return sum(1 for _ in self.root.glob("came-*")) == self.count

    def _promote(self) -> None:
        dice = random.Random(self.number)  # noqa: S311  dice
        fs = KillFs(dice.randrange(3, 70), torn=False) if self.doomed else None
        store = CanonicalStore(self.root / "canonical", "demo", backend=CopyBackend(), fs=fs)
        store.recover()
        record = store.record()
        if record is not None and store.verify() != ():
            raise AssertionError("the known-good is damaged")
        release = 1 + (int(record.release) if record else 0)
        store.mark_drifted(f"run-{self.number}", "seeding")
        (store.live("db") / "table").write_text(f"release {release}")
        taken = store.snapshot(volumes=["db"], secrets={"pw": str(release)}, coverage={}, stopped=lambda: None)
        store.promote(taken, release=str(release), commit="0" * 40, domain="warm-demo.ci.test", run_id="r")
        self.row["release"] = release
        pause(GAP)
        (self.root / "inside").write_text("")

    def _write(self) -> None:
        (self.root / f"row-{self.number:03}").write_text(json.dumps(self.row))


def main() -> None:
    options = json.loads(sys.argv[1])
    root, count = Path(options["root"]), options["count"]
    root.mkdir(parents=True, exist_ok=True)
    if not options["turns"]:
        setattr(Place, "is_first", lambda _self: True)  # noqa: B010  a guard is taken away
    children = []
    for number in range(count):
        children.append(_forked(Visitor(root, number, count, doomed=number % 5 == 4)))
        pause(GAP)
    for child in children:
        os.waitpid(child, 0)
    rows = [json.loads(path.read_text()) for path in sorted(root.glob("row-*"))]
    sys.stdout.write(json.dumps(rows))


def _forked(visitor: Visitor) -> int:
    child = os.fork()
    if child == 0:
        try:
            visitor.visit()
        except BaseException:  # noqa: BLE001  a child must never come back into its parent's code
            visitor.row["problem"] = traceback.format_exc()[-1500:]
            visitor._write()
        finally:
            os._exit(0)
    return child


if __name__ == "__main__":
    main()
