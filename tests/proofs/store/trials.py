"""Runs trials: a child process changes a canonical and meets a fault; a fresh one recovers it and looks what is left.

A program of its own, so that it can fork before any thread exists. Reads its options as JSON from its argument, prints
a report as JSON. The look at what is left uses nothing of the store's own verification.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import stat
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ccci.errors import CcciError, DiskFull
from pytest_ccci.store import verify
from pytest_ccci.store.archive import open_archive
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import Backend, CopyBackend, ReflinkBackend
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.journal import Journal
from tests.proofs.store.trial_fs import CONTENT, TORN, CorruptFs, FailFs, KillFs, PowerFs, SteppingFs

Picture = dict[str, tuple[object, ...]]
FAULTS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)
VOLUMES = ("data", "db")


def plant(live: Path, version: str) -> None:
    """Deterministic volumes of one version, so that what is found can be named."""
    for volume in VOLUMES:
        shutil.rmtree(live / volume, ignore_errors=True)
        folder = live / volume / "sub"
        folder.mkdir(parents=True)
        for number in range(3):
            (folder / f"file{number}").write_bytes(hashlib.sha256(f"{version}{volume}{number}".encode()).digest() * 400)
        (live / volume / "same").write_text("the same in every version")
        os.link(folder / "file0", live / volume / "hard")
        (live / volume / "link").symlink_to(f"gone-{version}")
        os.mkfifo(folder / "fifo")
    if version == "v2":
        (live / "db" / "migrated").mkdir()
    for path in sorted(live.rglob("*"), reverse=True):
        os.utime(path, ns=(0, 1_000_000_007), follow_symlinks=False)


def look(tree: Path) -> Picture:
    """What a tree holds, by plain means."""
    found: Picture = {}
    for path in sorted(tree.rglob("*")):
        facts = path.lstat()
        content = ""
        if stat.S_ISREG(facts.st_mode):
            content = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        elif path.is_symlink():
            content = str(path.readlink())
        found[str(path.relative_to(tree))] = (facts.st_mode, facts.st_uid, facts.st_mtime_ns, content)
    return found


@dataclass(frozen=True)
class Scene:
    """A change under trial: what precedes it, itself, the releases that may be known-good then, what may be live."""

    name: str
    before: Callable[[CanonicalStore], Any]
    change: Callable[[CanonicalStore, Any], object]
    goods: tuple[str | None, ...]
    live: tuple[str, ...]
    keep: int = 1


def good(store: CanonicalStore, version: str) -> None:
    promote(store, snap(store, version), version)


def snap(store: CanonicalStore, version: str) -> Any:
    return store.snapshot(volumes=VOLUMES, secrets={"pw": f"secret-{version}"}, coverage={}, stopped=lambda: None)


def promote(store: CanonicalStore, taken: Any, version: str) -> None:
    store.promote(taken, release=version, commit="0" * 40, domain="warm-demo.ci.test", run_id="r")


def dirty(store: CanonicalStore, version: str) -> None:
    store.mark_drifted("r", "trial")
    plant(store.layout.live, version)


def _seeded(store: CanonicalStore) -> None:
    plant(store.layout.live, "v1")
    good(store, "v1")


def _drifted(store: CanonicalStore) -> None:
    _seeded(store)
    dirty(store, "v2")


def _taken(store: CanonicalStore) -> Any:
    _drifted(store)
    return snap(store, "v2")


def _first(store: CanonicalStore) -> None:
    store.mark_drifted("r", "seeding")
    plant(store.layout.live, "v1")


def _half_restored(store: CanonicalStore) -> None:
    """A restore that died: what recovery itself may die on."""
    _drifted(store)
    layout = store.layout
    store._begin("restore", id=store.record().snapshot_id, volumes=json.dumps(VOLUMES))  # type: ignore[union-attr]  # just promoted
    store._live.prepare(store._loaded(store.record()), backend=store.backend)  # type: ignore[arg-type]  # just promoted
    store._journal.step("verified")
    layout.live_old.mkdir()
    (layout.live / "data").rename(layout.live_old / "data")


def _reseed(store: CanonicalStore, _: Any) -> None:
    store.reset_live()
    plant(store.layout.live, "v2")
    good(store, "v2")


def _both(store: CanonicalStore) -> None:
    _seeded(store)
    dirty(store, "v2")
    good(store, "v2")
    dirty(store, "v1")


def _take_in(store: CanonicalStore, _: Any) -> None:
    with open_archive(store.layout.root.parent / "archive") as incoming:
        store.receive(incoming, secrets={"pw": "secret-v2"})


SCENES = (
    Scene("snapshot", _drifted, lambda s, _: snap(s, "v2"), ("v1",), ("v2",)),
    Scene("promote", _taken, lambda s, t: promote(s, t, "v2"), ("v1", "v2"), ("v2",)),
    Scene("first", _first, lambda s, _: good(s, "v1"), (None, "v1"), ("v1",)),
    Scene("restore", _drifted, lambda s, _: s.restore(stopped=lambda: None), ("v1",), ("v1", "v2")),
    Scene("reset", _seeded, lambda s, _: s.reset_live(), ("v1",), ("v1", "")),
    Scene("reseed", _seeded, _reseed, ("v1", "v2"), ("v1", "v2", "")),
    Scene("import", _seeded, _take_in, ("v1", "v2"), ("v1",)),
    Scene("keep", _taken, lambda s, t: promote(s, t, "v2"), ("v1", "v2"), ("v2",), keep=2),
    Scene("earlier", _both, lambda s, _: s.restore(stopped=lambda: None, release="v1"), ("v2",), ("v1",), keep=2),
    Scene("recover", _half_restored, lambda s, _: s.recover(), ("v1",), ("v1",)),
)


Point = tuple[Scene, int, int]
AGAIN = (1, 2, 3, 5, 8, 13, 21)
"""At which step of the recovery it is killed once more, in trials of the kind ``twice``."""


@dataclass
class Report:
    """What came of the trials."""

    trials: int = 0
    points: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)


class Trials:
    """All trials of one back end under one kind of fault."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.root = Path(options["root"])
        self.kind: str = options["kind"]
        self.switch: str = options.get("switch", "")
        self.size: int = options["size"]
        self.dice = random.Random(options.get("seed", 1))  # noqa: S311  dice
        self.backend: Backend = ReflinkBackend() if options["backend"] == "reflink" else CopyBackend()
        self.report = Report()
        self.pictures: dict[str, Picture] = {"": {}} | {version: self._planted(version) for version in ("v1", "v2")}
        self._child(self._archived)

    def run(self) -> Report:
        scenes = [self._points(scene) for scene in SCENES]
        self.report.points = sum(len(points) for points in scenes)
        for scene, number, variant in self._chosen([points for points in scenes if points]):
            self._trial(scene, number, variant)
        return self.report

    def _chosen(self, scenes: list[list[Point]]) -> list[Point]:
        """All points when there is no ``size``; else that many, in turn from each scene, in random order."""
        if not self.size:
            return [point for points in scenes for point in points]
        rounds = -(-self.size // min(len(points) for points in scenes))
        mixed = [[one for _ in range(rounds) for one in self.dice.sample(points, len(points))] for points in scenes]
        return [point for turn in zip(*mixed, strict=False) for point in turn][: self.size]

    def _archived(self) -> str:
        """What the scene of an import takes in. In a child, as this program forks and may have no threads."""
        store = CanonicalStore(self.root / "archived", "demo", backend=CopyBackend())
        plant(store.layout.live, "v2")
        good(store, "v2")
        store.export(self.root / "archive")
        return ""

    def _planted(self, version: str) -> Picture:
        place = self.root / f"expected-{version}"
        place.mkdir()
        plant(place, version)
        return look(place)

    def _points(self, scene: Scene) -> list[Point]:
        """Every step of the real sequence, found by running it once."""
        trace = json.loads(self._child(lambda: self._traced(scene)))
        self.report.steps.update(trace)
        if self.kind == "kill":
            return [(scene, at, torn) for at, name in enumerate(trace, 1) for torn in range(1 + (name in TORN))]
        if self.kind == "twice":
            return [(scene, at, again) for at in range(1, len(trace) + 1) for again in AGAIN]
        if self.kind == "error":
            return [(scene, at, pick) for at in range(1, len(trace) + 1) for pick in range(2 * len(FAULTS))]
        if self.kind == "corrupt":
            return [(scene, at, 0) for at in range(1, 1 + sum(name in CONTENT for name in trace))]
        return [(scene, at, pick) for at in range(1, len(trace) + 1) for pick in range(2)]

    def _traced(self, scene: Scene) -> str:
        fs = SteppingFs()
        self._play(scene, fs)
        return json.dumps(fs.trace)

    def _play(self, scene: Scene, fs: Fs) -> None:
        self._fresh()
        held = scene.before(self._store(scene))
        self._turn_off()
        scene.change(self._store(scene, fs), held)

    def _store(self, scene: Scene, fs: Fs | None = None) -> CanonicalStore:
        return CanonicalStore(self.root / "canonical", "demo", backend=self.backend, fs=fs, keep=scene.keep)

    def _turn_off(self) -> None:
        """Take a guard away, to see that its absence is found."""
        if self.switch == "journal":
            for name in ("begin", "step", "done"):
                setattr(Journal, name, lambda *_a, **_k: None)
        elif self.switch == "verify":
            vars(verify)["verify"] = lambda *_a, **_k: ()

    def _fresh(self) -> None:
        shutil.rmtree(self.root / "canonical", ignore_errors=True)
        shutil.rmtree(self.root / "graves", ignore_errors=True)
        (self.root / "graves").mkdir()

    def _fs(self, number: int, variant: int) -> SteppingFs:
        if self.kind in {"kill", "twice"}:
            return KillFs(number, torn=self.kind == "kill" and bool(variant))
        if self.kind == "error":
            return FailFs(number, FAULTS[variant // 2], lasting=bool(variant % 2))
        if self.kind == "corrupt":
            return CorruptFs(number)
        dice = random.Random(f"{number} {variant} {self.report.trials}")  # noqa: S311  dice
        syncs = self.switch != "fsync"
        return PowerFs(number, dice=dice, graves=self.root / "graves", root=self.root / "canonical", syncs=syncs)

    def _trial(self, scene: Scene, number: int, variant: int) -> None:
        self.report.trials += 1
        fs = self._fs(number, variant)
        first = self._child(lambda: self._suffered(scene, fs))
        told = json.loads(first) if first else {"end": "killed", "bad": ""}
        if self.kind == "twice" and not first:
            dying = KillFs(variant, torn=False)
            again = self._child(lambda: " ".join(self._store(scene, dying).recover()) or "nothing to do")
            told["end"] = "recovered" if again else "killed twice"
        left = json.loads(
            self._child(lambda: json.dumps(self._left(scene))) or '{"state": "?", "loss": "checker died"}'
        )
        self.report.told[told["end"]] += 1
        self.report.states[f"{scene.name}: {left['state']}"] += 1
        loss = told["bad"] or left["loss"]
        if (
            told["end"] == "finished"
            and scene.name in {"promote", "reseed", "first", "import", "keep"}
            and left["state"] != "new"
        ):
            loss = loss or "said to be promoted, but is not"
        if loss:
            self.report.losses.append(f"{scene.name} step {number} variant {variant} ({told['end']}): {loss}")

    def _suffered(self, scene: Scene, fs: Fs) -> str:
        try:
            self._play(scene, fs)
        except CcciError as error:
            return json.dumps({"end": type(error).__name__, "bad": self._badly_told(error)})
        except BaseException:  # noqa: BLE001  whatever else comes out is a defect, and shown
            return json.dumps({"end": "defect", "bad": traceback.format_exc()[-1500:]})
        return json.dumps({"end": "finished", "bad": ""})

    def _badly_told(self, error: CcciError) -> str:
        """An error of a full disk must say how much is missing; any must say what failed and where."""
        text = str(error)
        if isinstance(error, DiskFull) and not ("needed" in text and "free" in text):
            return f"does not say what is missing: {text}"
        return "" if error.where and " " in error.what else f"does not say what failed: {text}"

    def _left(self, scene: Scene) -> dict[str, str]:
        """What a fresh process finds, and then does."""
        store = self._store(scene)
        store.recover()
        state = store.state()
        found = state.record.release if state.record else None
        label = "none" if found is None else "old" if found != scene.goods[-1] or len(scene.goods) == 1 else "new"
        if state.quarantined:
            return {"state": "quarantined", "loss": f"quarantined: {state.quarantined}"}
        if found not in scene.goods:
            return {"state": label, "loss": f"known-good is {found}, not one of {scene.goods}"}
        return {"state": label, "loss": self._loss(store, scene, found)}

    def _loss(self, store: CanonicalStore, scene: Scene, found: str | None) -> str:
        live = look(store.layout.live)
        whole = [version for version in scene.live if live == self.pictures[version]]
        if not whole:
            return f"live volumes are none of {scene.live}"
        if store.recover() != ():
            return "a second recovery found something to do"
        if extra := self._rubbish(store, scene):
            return f"left behind: {extra}"
        if found is None:
            return "" if store.state().drift else "no known-good, yet no drift"
        if not store.state().drift and live != self.pictures[found]:
            return "live differs from the known-good and no drift is marked"
        return self._lost_good(store, scene, found)

    def _lost_good(self, store: CanonicalStore, scene: Scene, found: str) -> str:
        record = store.record()
        if record is None or look(store.layout.snapshot(record.snapshot_id).volumes) != self.pictures[found]:
            return "the snapshot is not what was planted"
        for kept in record.earlier:
            if look(store.layout.snapshot(kept.snapshot_id).volumes) != self.pictures[kept.release]:
                return "an earlier snapshot is not what was planted"
        if scene.keep > 1 and found == "v2" and not record.earlier:
            return "the earlier known-good is gone"
        if store.secrets() != {"pw": f"secret-{found}"}:
            return "the secrets are not the known-good's"
        store.restore(stopped=lambda: None)
        if look(store.layout.live) != self.pictures[found] or store.state().drift:
            return "it could not be returned to"
        return self._rubbish(store, scene)

    def _rubbish(self, store: CanonicalStore, scene: Scene) -> str:
        known = {"canonical.json", "journal.jsonl", "drift.json", "snapshots", "work", "live", "live.jsonl", "aside"}
        rest = {path.name for path in store.layout.root.iterdir()} - known
        rest |= {path.name for path in store.layout.work.iterdir()}
        many = len(list(store.layout.snapshots.iterdir()))
        return ", ".join(sorted(rest)) + (f"{many} snapshots" if many > scene.keep else "")

    def _child(self, work: Callable[[], str]) -> str:
        """Run ``work`` in a forked process; what it returns, or nothing if it was killed."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reader)
                text = work()
                with os.fdopen(writer, "w") as sink:
                    sink.write(text)
            except BaseException:  # noqa: BLE001  a child must never come back into its parent's code
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as source:
            text = source.read()
        os.waitpid(child, 0)
        return text


def main() -> None:
    options = json.loads(sys.argv[1])
    place = Path(options["root"])
    place.mkdir(parents=True, exist_ok=True)
    report = Trials(options).run()
    sys.stdout.write(json.dumps(report.__dict__, indent=1))


if __name__ == "__main__":
    main()
