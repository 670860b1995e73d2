from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from maderuns import made_result, written

from pytest_ccci import cli
from pytest_ccci.engine.images import ImageFact, Origin
from pytest_ccci.locks import hold, take_place
from pytest_ccci.ops import prune as pruning
from pytest_ccci.ops.prune import OurImage, Pruned, RunDir, images_in_turn, prune, runs_to_drop
from pytest_ccci.progress import received
from pytest_ccci.results.index import ask, record, row_of
from pytest_ccci.results.publish import publish
from pytest_ccci.run import image_notes
from pytest_ccci.run.run_dir import Diary, Owned
from pytest_ccci.settings import Settings, resolve
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.disk import Room


@pytest.mark.parametrize(
    ("runs", "keep", "dropped"),
    [
        ("", 2, ""),
        ("1 2", 2, ""),
        ("1 2 3", 2, "1"),
        ("3 1 2", 1, "1 2"),
        ("1! 2 3 4", 2, "2"),
        ("1! 2! 3!", 1, ""),
    ],
)
def test_the_oldest_runs_go_and_busy_ones_stay(runs: str, keep: int, dropped: str) -> None:
    given = [RunDir(name.rstrip("!"), busy=name.endswith("!")) for name in runs.split()]
    assert runs_to_drop(given, keep=keep) == tuple(dropped.split())


@pytest.fixture
def few(settings: Settings) -> Settings:
    return resolve({"state_dir": str(settings.state_dir), "keep_runs": "1"}, {}, dict(settings.environment))


def finished(state: StateDir, name: str) -> Path:
    folder = state.run(name)
    (folder / "trees").mkdir(parents=True)
    (folder / "trees" / "compose.yml").write_text("x" * 5000)
    (folder / "results.json").write_text("{}")
    return folder


def gone(things: tuple[Pruned, ...]) -> set[str]:
    return {Path(thing.what).name for thing in things}


def test_a_dry_run_tells_the_same_and_removes_nothing(state: StateDir, few: Settings) -> None:
    for name in ("run1", "run2"):
        finished(state, name)
    told = prune(few, state, dry=True)
    assert (state.run("run1") / "trees").is_dir()
    assert prune(few, state, dry=False) == told
    assert gone(told) == {"run1", "trees"}
    assert all(thing.size >= 4096 for thing in told)
    assert not state.run("run1").exists()
    assert (state.run("run2") / "results.json").exists()
    assert not (state.run("run2") / "trees").exists()


def test_nothing_of_a_run_in_flight_goes(state: StateDir, few: Settings) -> None:
    for name in ("run1", "run2"):
        finished(state, name)
    with hold(state.slots / "0.lock", wait=0, owner={"run": "run1"}):
        assert gone(prune(few, state, dry=False)) == {"trees"}
    assert (state.run("run1") / "trees").is_dir()


def test_what_a_dead_run_still_owns_is_for_the_reaper_first(state: StateDir, few: Settings) -> None:
    for name in ("run1", "run2"):
        finished(state, name)
    Diary(state.run("run1")).own((Owned("run1", "docs", "docs_ci_test", "docs.ci.test", "x.lock"),))
    prune(few, state, dry=False)
    assert state.run("run1").is_dir()


def test_a_run_that_still_waits_for_its_first_lock_stays(state: StateDir, few: Settings) -> None:
    waiting, dead = state.run("run0"), state.run("run1")
    waiting.mkdir()
    dead.mkdir()
    os.utime(dead, (1, 1))
    finished(state, "run2")
    assert "run1" in gone(prune(few, state, dry=False))
    assert waiting.is_dir()


def test_the_trees_of_a_deploy_that_was_cut_off_go_unless_it_is_going_on(state: StateDir, settings: Settings) -> None:
    tree = state.infra("traefik") / "tree-abc"
    tree.mkdir(parents=True)
    with hold(state.lock("traefik.ci.test"), wait=0, owner={"doing": "bring traefik up"}):
        prune(settings, state, dry=False)
        assert tree.is_dir()
    prune(settings, state, dry=False)
    assert not tree.exists()


def test_no_image_goes_while_a_run_is_in_flight(
    state: StateDir, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "engine_at_hand", lambda *_: object())
    monkeypatch.setattr(pruning, "_dangling", lambda _: pytest.fail("images were looked at"))
    lines: list[str] = []
    with hold(state.slots / "0.lock", wait=0, owner={"run": "r1"}), received(lines.append):
        assert prune(settings, state, dry=False) == ()
    assert any("left alone" in line for line in lines)


def test_lock_files_that_nobody_uses_go_and_those_in_use_stay(state: StateDir, settings: Settings) -> None:
    idle, held, awaited = (state.lock(f"{name}.ci.test") for name in ("idle", "held", "awaited"))
    old_queue = state.locks / "gone.ci.test.lock.queue"
    for lock in (idle, state.slots / "0.lock", state.slots / "9.lock", state.locks / "leases.lock"):
        with hold(lock, wait=0, owner={}):
            pass
    old_queue.mkdir()
    with hold(held, wait=0, owner={}), take_place(awaited):
        told = prune(settings, state, dry=True)
        assert idle.exists()
        assert prune(settings, state, dry=False) == told
        assert gone(told) == {"idle.ci.test.lock", "9.lock", "gone.ci.test.lock.queue"}
        assert held.exists()
    assert not list(state.locks.glob("idle*"))
    assert not old_queue.exists()
    assert (state.slots / "0.lock").exists()
    assert (state.locks / "leases.lock").exists()


def test_seen_alerts_and_proofs_are_bounded_and_open_alerts_stay(
    state: StateDir, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_SEEN", 2)
    monkeypatch.setattr(pruning, "_PROOFS", 1)
    (state.alerts / "seen").mkdir()
    for number in range(4):
        (state.alerts / "seen" / f"2026-0{number}.json").write_text("{}")
        (state.alerts / f"2026-0{number}.json").write_text("{}")
    for number in range(2):
        (state.proofs / f"p{number}").mkdir(parents=True)
        os.utime(state.proofs / f"p{number}", (number, number))
    with hold(state.locks / "proofs.lock", wait=0, owner={}):
        assert gone(prune(settings, state, dry=True)) == {"2026-00.json", "2026-01.json"}
    assert gone(prune(settings, state, dry=False)) == {"2026-00.json", "2026-01.json", "p0"}
    assert len(list(state.alerts.glob("*.json"))) == 4
    assert prune(settings, state, dry=False) == ()


def test_records_of_sweeps_are_bounded_and_what_is_known_of_recipes_stays(
    state: StateDir, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_SWEEPS", 1)
    for name in ("20260701-030000-aaaaaa", "20260702-030000-aaaaaa", "recipes"):
        (state.sweeps / name).mkdir(parents=True)
    for name in ("20260701-030000-aaaaaa", "20260702-030000-aaaaaa"):
        (state.sweeps / name / "sweep.json").write_text("{}")
    (state.sweeps / "recipes" / "notes.json").write_text("{}")
    assert gone(prune(settings, state, dry=False)) == {"20260701-030000-aaaaaa"}
    assert (state.sweeps / "recipes" / "notes.json").exists()


def test_a_dry_run_groups_by_kind_the_largest_first(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(30):
        finished(state, f"run{number:02}")
    with hold(state.lock("x.ci.test"), wait=0, owner={}):
        pass
    monkeypatch.setenv("CCCI_STATE_DIR", str(state.root))
    assert cli.main(["prune", "--dry-run"]) == 0
    lines = [line.split(maxsplit=3) for line in capsys.readouterr().out.splitlines() if "no engine" not in line]
    assert [(line[2], line[3]) for line in lines[:2]] == [("30", "work of runs that are over"), ("1", "lock files")]
    assert len(lines) == 3
    assert cli.main(["prune", "--dry-run", "--verbose"]) == 0
    assert str(state.run("run07") / "trees") in capsys.readouterr().out


def test_what_the_index_knows_of_a_run_stays_when_it_goes(state: StateDir, few: Settings) -> None:
    results = [made_result(number) for number in (1, 2)]
    for result in results:
        written(state, result)
        record(state, row_of(result))
    prune(few, state, dry=True)
    assert not state.history.exists()

    prune(few, state, dry=False)

    assert [path.name for path in state.runs.iterdir() if path.is_dir()] == [results[1].run_id]
    state.index.unlink()
    kept = ask(state, lambda index: index.history("lasuite-docs", "cold", most=9))
    assert kept == (row_of(results[1]), row_of(results[0]))


def test_on_a_full_disk_old_runs_go_without_their_line_of_history(
    state: StateDir, few: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        written(state, made_result(number))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    lines: list[str] = []
    with received(lines.append):
        prune(few, state, dry=False)
    assert "No space left on device" in "".join(lines)
    assert [path.name for path in state.runs.iterdir() if path.is_dir()] == [made_result(2).run_id]


def test_the_page_of_a_recipe_leads_to_no_run_that_has_gone(state: StateDir, few: Settings) -> None:
    old, new = (made_result(number).run_id for number in (1, 2))
    for number in (1, 2):
        publish(state, written(state, made_result(number)))
    page = state.pages / "lasuite-docs" / "index.html"
    assert f"runs/{old}/index.html" in page.read_text("utf-8")

    prune(few, state, dry=False)

    text = page.read_text("utf-8")
    assert f"runs/{old}/index.html" not in text
    assert f"runs/{new}/index.html" in text
    assert "(pruned)" in text


@pytest.mark.parametrize(
    ("needed", "turn"),
    [
        (set(), "2 1 3"),
        ({"sha256:2"}, "1 3"),
        ({"app:1"}, "2 3"),
        ({"sha256:1", "app:2", "app:3b"}, ""),
    ],
)
def test_images_go_in_the_order_of_their_last_use_and_what_is_needed_stays(needed: set[str], turn: str) -> None:
    images = [
        OurImage("sha256:1", ("app:1",), "2026-02-01T00:00:00+00:00"),
        OurImage("sha256:2", ("app:2",), "2026-01-01T00:00:00+00:00"),
        OurImage("sha256:3", ("app:3", "app:3b"), "2026-03-01T00:00:00+00:00"),
    ]
    assert [one.image_id[-1] for one in images_in_turn(images, needed)] == turn.split()


class Images:
    """An engine with images of 100 bytes each; ``gone`` is what was removed, in order."""

    def __init__(self, state: StateDir, *names: str) -> None:
        self.there = {f"sha256:{name}": [name] for name in names}
        self.gone: list[str] = []
        self.running: list[str] = []
        self.parents: list[str] = []
        self.data_root = state.root
        self.facts = SimpleNamespace(engine_id="AB:CD")
        self.client = SimpleNamespace(api=self)

    def images(self, **asked: object) -> list[dict[str, object]]:
        if asked.get("filters"):
            return []
        return [
            {"Id": image, "RepoTags": names, "Size": 100, "ParentId": self.parents[0] if self.parents else ""}
            for image, names in self.there.items()
        ]

    def containers(self, **_: object) -> list[dict[str, str]]:
        return [{"ImageID": f"sha256:{name}", "Image": name} for name in self.running]

    def services(self) -> list[object]:
        return []

    def remove_image(self, name: str) -> None:
        self.gone.append(name)
        self.there = {image: names for image, names in self.there.items() if names != [name]}

    def room(self, whole: int) -> Room:
        return Room(1, whole - 100 * len(self.there), whole, 0, 0)


@pytest.fixture
def full(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Images, Settings]]:
    """A disk with six images, used in the order of their names, of which what is named did not come by us."""

    def make(whole: int, *, foreign: str = "") -> tuple[Images, Settings]:
        engine = Images(state, *"abcdef")
        for number, name in enumerate("abcdef", 1):
            origin: Origin = "present" if name in foreign else "pulled"
            monkeypatch.setattr(image_notes, "now_text", lambda day=number: f"2026-01-{day:02}T00:00:00+00:00")
            image_notes.note_used(state, "AB:CD", [ImageFact(name, f"sha256:{name}", None, origin)])
        monkeypatch.setattr(pruning, "engine_at_hand", lambda *_: engine)
        monkeypatch.setattr(pruning, "inspect_room", lambda _: engine.room(whole))
        return engine, resolve({"state_dir": str(state.root), "keep_free": "200"}, {}, {})

    return make


@pytest.mark.parametrize(
    ("whole", "gone"),
    [
        (800, []),  # 200 are free: not below the mark
        (799, ["a", "b", "c"]),  # gone on with until 400 are free
        (600, ["a", "b", "c", "d"]),
    ],
)
def test_images_go_from_the_low_mark_to_the_high_one(
    state: StateDir, full: Callable[..., tuple[Images, Settings]], whole: int, gone: list[str]
) -> None:
    engine, settings = full(whole)
    told = prune(settings, state, dry=True)
    assert engine.gone == []
    assert prune(settings, state, dry=False) == told
    assert engine.gone == gone


def test_what_a_known_good_needs_what_runs_and_what_is_not_ours_stays(
    state: StateDir, full: Callable[..., tuple[Images, Settings]], keep: Callable[[str], CanonicalStore]
) -> None:
    engine, settings = full(600, foreign="b")
    store = keep("docs")
    taken = store.snapshot(volumes=["data"], secrets={}, coverage={}, stopped=lambda: None)
    facts = {"release": "1.1.0+1", "commit": "d" * 40, "domain": "warm-docs.ci.test", "run_id": "r2"}
    store.promote(taken, **facts, images={"c": "sha256:c"})  # type: ignore[arg-type]  # as promote takes them
    engine.running = ["a"]
    engine.there["sha256:e"] = ["e", "somebodys:e"]
    prune(settings, state, dry=False)
    assert engine.gone == ["d", "f"]


def test_with_a_record_that_cannot_be_read_no_image_goes(
    state: StateDir, full: Callable[..., tuple[Images, Settings]]
) -> None:
    engine, settings = full(600)
    (state.canonical("docs") / "canonical.json").parent.mkdir(parents=True)
    (state.canonical("docs") / "canonical.json").write_text("{")
    prune(settings, state, dry=False)
    assert engine.gone == []


def test_an_image_that_somebody_else_brought_again_is_still_told_as_ours_until_it_went(state: StateDir) -> None:
    for origin in ("pulled", "present"):
        image_notes.note_used(state, "AB:CD", [ImageFact("a", "sha256:a", None, origin)])
    ((_, note),) = image_notes.image_notes(state, "AB:CD")
    assert note.ours
    assert image_notes.image_notes(state, "another") == ()


def test_the_digest_of_a_known_goods_image_stays_noted_when_somebody_else_removed_it(
    state: StateDir, full: Callable[..., tuple[Images, Settings]]
) -> None:
    _, settings = full(600)
    kept, other = ("sha256:kept", "sha256:other")
    for number in (kept, other):
        fact = ImageFact(number, number, f"sha256:of-{number[7:]}", "pulled")
        image_notes.note_used(state, "AB:CD", [fact])
        image_notes.note_used(state, "AB:CD", [replace(fact, digest=None, origin="present")])
    record = SimpleNamespace(all_goods=(SimpleNamespace(images={kept: kept}),))
    state.canonical("docs").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruning, "recipes_with_canonical", lambda _: ("docs",))
        patch.setattr(pruning, "load_record", lambda _: record)
        prune(settings, state, dry=False)
    assert image_notes.noted_digests(state, {"a:1": kept, "b:1": other}) == {"a:1": "sha256:of-kept"}


def test_a_run_that_finds_no_room_has_images_removed_beside_its_own_slot(
    state: StateDir, full: Callable[..., tuple[Images, Settings]]
) -> None:
    engine, settings = full(900)
    with hold(state.slots / "0.lock", wait=0, owner={"run": "r9"}):
        prune(settings, state, dry=False, ours="r8")
        assert engine.gone == []
        prune(settings, state, dry=False, ours="r9")
        assert engine.gone == ["a"]


def test_old_runs_go_where_there_is_no_room_and_the_newest_stay(
    state: StateDir, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(14):
        finished(state, f"run{number:02}")
    monkeypatch.setattr(pruning, "inspect_room", lambda _: Room(1, 10, 1000, 0, 0))
    prune(settings, state, dry=False)
    assert sorted(path.name for path in state.runs.glob("run*")) == [f"run{number:02}" for number in range(4, 14)]
