"""What a run needs of each file system, and what is refused with which numbers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from maderuns import made_result, written

from pytest_ccci.errors import DiskFull, Verdict
from pytest_ccci.results.index import record, row_of
from pytest_ccci.results.model import ImageUse
from pytest_ccci.run import room
from pytest_ccci.run.room import Expected, Need, lacking, needs, require_room
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.disk import Demand, Room
from pytest_ccci.warm.alerts import AlertKind, open_alerts

MIB = 1 << 20
DATA = Demand(100 * MIB, 500)
IMAGES = {"app:1": 300 * MIB, "app:2": 310 * MIB, "new:1": None}


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        (Expected(), []),
        (Expected(IMAGES), ["engine image app:1 300", "engine image app:2 310"]),
        (Expected(IMAGES, present=frozenset({"app:1"})), ["engine image app:2 310"]),
        (Expected(data=DATA), ["engine volumes 100", "state archives of a backup 100"]),
        (Expected(data=DATA, fresh=False), []),
        (Expected(data=DATA, fresh=False, copies=2), ["canonical copies of the volumes 200"]),
        (Expected(data=DATA, fresh=False, copies=2, shares_blocks=True), ["canonical copies of the volumes 0"]),
    ],
)
def test_what_a_run_needs(known: Expected, wanted: list[str]) -> None:
    assert [f"{need.place} {need.what} {need.size // MIB}" for need in needs(known)] == wanted


def test_copies_that_share_blocks_need_inodes_all_the_same() -> None:
    (need,) = needs(Expected(data=DATA, fresh=False, copies=2, shares_blocks=True))
    assert need.inodes == 1000


def made_room(device: int, mib: int, inodes: int = 10_000, all_inodes: int = 100_000) -> Room:
    return Room(device, mib * MIB, 1000 * MIB, inodes, all_inodes)


SPARE = Demand(50 * MIB, 100)
IMAGE = Need("engine", "image app:1", 300 * MIB, 0)
COPY = Need("canonical", "copies", 100 * MIB, 400)


@pytest.mark.parametrize(
    ("wanted", "rooms", "words"),
    [
        ([IMAGE, COPY], {"engine": made_room(1, 350), "canonical": made_room(2, 150)}, []),
        ([IMAGE], {"engine": made_room(1, 349)}, ["engine: 350.0 MiB needed", "349.0 MiB free", "1.0 MiB missing"]),
        ([IMAGE], {"engine": made_room(1, 349)}, ["image app:1 300.0 MiB, 50.0 MiB spare"]),
        # On one file system they need their room together.
        ([IMAGE, COPY], {"engine": made_room(1, 449), "canonical": made_room(1, 449)}, ["engine and canonical: 450"]),
        ([IMAGE, COPY], {"engine": made_room(1, 450), "canonical": made_room(1, 450)}, []),
        # An engine elsewhere has room that is not seen from here.
        ([IMAGE], {"state": made_room(1, 60)}, []),
        ([], {"state": made_room(1, 49)}, ["state: 50.0 MiB needed (50.0 MiB spare), 49.0 MiB free, 1.0 MiB missing"]),
        ([COPY], {"canonical": made_room(1, 900, 499)}, ["canonical: 500 inodes needed, 499 free, 1 missing"]),
        ([COPY], {"canonical": made_room(1, 900, 500)}, []),
        # btrfs makes inodes as it goes.
        ([COPY], {"canonical": made_room(1, 900, 0, 0)}, []),
    ],
)
def test_what_is_missing_is_told_with_numbers(wanted: list[Need], rooms: dict[str, Room], words: list[str]) -> None:
    lines = lacking(wanted, rooms, spare=SPARE)
    assert bool(lines) is bool(words)
    assert all(word in "\n".join(lines) for word in words)


@pytest.fixture
def asked(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Ask for room on a file system with so many MiB, of which pruning frees some; what was done."""

    def ask(free: int, *, frees: int = 0, inodes: int = 10_000_000) -> list[str]:
        did: list[str] = []
        rooms = {"mib": free}

        def make_room(run_id: str) -> int:
            did.append(f"pruned for {run_id}")
            rooms["mib"] += frees
            return frees * MIB

        def missing_images(_engine: object, refs: list[str]) -> tuple[str, ...]:
            did.append("asked the engine")
            return tuple(refs)

        monkeypatch.setattr(room, "missing_images", missing_images)
        engine = SimpleNamespace(data_root=state.root)
        context: Any = SimpleNamespace(
            run_id="r9",
            state=state,
            spec=SimpleNamespace(name="notes"),
            open_machine=lambda: SimpleNamespace(engine=engine),
            make_room=make_room,
        )
        app: Any = SimpleNamespace(images_of=lambda _: ("notes:1",))
        whole = 20_000_000
        monkeypatch.setattr(room, "inspect_room", lambda _: Room(1, rooms["mib"] * MIB, 1 << 50, inodes, whole))
        versions: Any = ["head"]
        require_room(context, app, versions, fresh=True)
        return did

    result = made_result(recipe="notes").model_copy(
        update={"images": (ImageUse(ref="notes:1", image_id="sha256:1", size=500 * MIB),)}
    )
    written(state, result)
    record(state, row_of(result))
    return ask


def test_where_there_is_plenty_nothing_is_looked_at(asked: Callable[..., list[str]]) -> None:
    assert asked(20_000) == []


def test_what_fits_is_not_pruned_for(asked: Callable[..., list[str]]) -> None:
    assert asked(600) == ["asked the engine"]


def test_what_does_not_fit_is_pruned_for_first(asked: Callable[..., list[str]]) -> None:
    assert asked(100, frees=500) == ["asked the engine", "pruned for r9"]


def test_what_still_does_not_fit_is_refused_and_never_the_recipes_fault(asked: Callable[..., list[str]]) -> None:
    with pytest.raises(DiskFull, match=r"564\.0 MiB needed \(image notes:1 500\.0 MiB") as caught:
        asked(100, frees=200)
    assert caught.value.verdict is Verdict.ERROR
    assert "264.0 MiB missing" in str(caught.value)
    assert "pruned before: 200.0 MiB" in caught.value.seen


def test_a_run_that_is_refused_alerts_and_the_next_one_renews_that(
    asked: Callable[..., list[str]], state: StateDir
) -> None:
    for free in (100, 90):
        with pytest.raises(DiskFull):
            asked(free)
    ((_, alert),) = open_alerts(state)
    assert (alert.kind, alert.app, alert.run_id, alert.recovered) == (AlertKind.DISK, "notes", "r9", False)
    assert "90.0 MiB free, 474.0 MiB missing" in alert.notes
    asked(600)
    assert len(open_alerts(state)) == 1, "an operator puts it away"


def test_too_few_inodes_are_refused(asked: Callable[..., list[str]]) -> None:
    with pytest.raises(DiskFull, match="1000 inodes needed, 900 free, 100 missing"):
        asked(20_000, inodes=900)
