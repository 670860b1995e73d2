"""What an operator is told of an update that did not stay, and that nothing that cannot be written changes it."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from smallengine import APP, NEW, OLD, World, worlds

from pytest_ccci.errors import CrashLoop, DiskFull, ImageUnavailable, InfrastructureFault, StoreDamaged
from pytest_ccci.ops.reconcile import exit_status
from pytest_ccci.recipe.tree import Head
from pytest_ccci.statedir import open_state
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.journal import Journal
from pytest_ccci.warm import alerts, reconcile, update
from pytest_ccci.warm.alerts import load_hold, open_alerts
from pytest_ccci.warm.infra_recipe import Good, last_good
from pytest_ccci.warm.reconcile import Outcome, Reconciled, Wish, last_outcome, record_outcome, worst
from pytest_ccci.warm.update import in_progress, stuck, tried

C, U, H, B, E, F = Outcome


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [((), C), ((C, U), U), ((U, H), H), ((H, B), B), ((E, B), E), ((F, E, H), F), ((C, C), C)],
)
def test_the_worst_of_several_is_told(outcomes: tuple[Outcome, ...], expected: Outcome) -> None:
    assert worst(outcomes) is expected
    assert worst(reversed(outcomes)) is expected


def test_only_what_needs_nobody_ends_well() -> None:
    assert {outcome for outcome in Outcome if exit_status(outcome) == 0} == {C, U}
    assert len({exit_status(outcome) for outcome in (H, B, E, F)}) == 4
    assert 2 not in {exit_status(outcome) for outcome in Outcome}


def test_an_outcome_is_kept_for_whoever_looks_later(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    assert last_outcome(state, "keycloak") == {}

    record_outcome(state, Reconciled("keycloak", H, before="1.0.0+1", target="2.0.0+1", reasons=("major",)))

    kept = last_outcome(state, "keycloak")
    assert (kept["outcome"], kept["target"], kept["reasons"]) == ("held", "2.0.0+1", ("major",))
    assert kept["time"]


@pytest.fixture
def make_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., World]:
    return worlds(monkeypatch, tmp_path)


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture
def broken(make_world: Callable[..., World]) -> World:
    return make_world(broken=True)


def kinds(world: World) -> list[str]:
    return [alert.kind for _, alert in open_alerts(world.state)]


def raising(error: Exception) -> Callable[..., None]:
    def act(*_args: object, **_options: object) -> None:
        raise error

    return act


def outcome(world: World, wish: Wish = Wish()) -> Outcome:  # noqa: B008  frozen
    done = world.reconcile(wish)
    assert done is not None
    return done.outcome


def test_a_healthy_release_is_the_last_good_and_recorded_as_that(world: World) -> None:
    assert outcome(world) is Outcome.UPGRADED
    assert last_good(world.state, APP).release == world.version == NEW.version
    assert last_outcome(world.state, APP)["outcome"] == "upgraded"
    assert outcome(world) is Outcome.CURRENT


def test_what_could_not_be_fetched_is_alerted_once_and_not_at_every_reconcile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "fetch_images", raising(ImageUnavailable("no registry")))

    assert {outcome(world) for _ in range(3)} == {Outcome.ROLLED_BACK}

    assert kinds(world) == ["rolled-back"]
    hold = load_hold(world.state, APP)
    assert hold is not None
    assert "no registry" in hold.reasons[0]
    assert tried(world.state, APP) is None  # it is not the release's fault


def test_what_was_rolled_out_is_alerted_each_time_somebody_lets_it(broken: World) -> None:
    assert outcome(broken) is Outcome.ROLLED_BACK
    assert outcome(broken) is Outcome.HELD
    assert outcome(broken, Wish(accept=NEW.version)) is Outcome.ROLLED_BACK

    assert kinds(broken) == ["rolled-back", "rolled-back"]
    assert broken.belongs_together()


def test_a_full_disk_is_alerted_as_that_and_no_release_is_blamed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "adopt", raising(DiskFull("no room for the data")))

    assert outcome(world) is Outcome.ROLLED_BACK
    assert kinds(world) == ["disk"]
    assert tried(world.state, APP) is None


def test_a_rollback_that_failed_is_alerted_as_not_recovered_and_waits_for_a_person(
    broken: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(update, "expect_marker", raising(CrashLoop("nobody can log in")))
        assert outcome(broken) is Outcome.ROLLBACK_FAILED

        ((_, alert),) = open_alerts(broken.state)
        assert (alert.kind, alert.recovered) == ("rollback-failed", False)
        mark = stuck(broken.state, APP)
        assert mark is not None
        assert "nobody can log in" in mark.problem
        assert "answers nonsense" in mark.problem
        assert outcome(broken) is Outcome.ROLLBACK_FAILED  # and nothing is tried

    assert outcome(broken, Wish(again=True)) is Outcome.HELD
    assert (broken.version, stuck(broken.state, APP)) == (OLD.version, None)


class Unending(Journal):
    """A journal whose last line of a change cannot be written."""

    def done(self) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_way_back_whose_end_cannot_be_journalled_is_a_way_back(
    broken: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(update, "journal_of", lambda state, app: Unending(state.infra(app) / "update.jsonl", fs=Fs()))
        done = broken.reconcile()
    assert done is not None
    assert done.outcome is Outcome.ROLLED_BACK
    assert os.strerror(errno.EROFS) in done.problem
    assert kinds(broken) == ["rolled-back"]

    assert outcome(broken) is Outcome.HELD
    assert in_progress(broken.state, APP) is None
    assert (broken.version, broken.data) == (OLD.version, OLD.version)


def test_a_rollback_that_failed_and_could_not_be_noted_as_that_is_tried_again_by_the_next(
    broken: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(update, "expect_marker", raising(CrashLoop("nobody can log in")))
        patch.setattr(update, "mark_stuck", raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
        done = broken.reconcile()
    assert done is not None
    assert done.outcome is Outcome.ROLLBACK_FAILED
    assert "nobody can log in" in done.problem
    assert in_progress(broken.state, APP) is not None

    assert outcome(broken) is Outcome.HELD
    assert (broken.version, broken.data, stuck(broken.state, APP)) == (OLD.version, OLD.version, None)


def test_the_volumes_are_marked_before_the_new_release_starts_on_them(
    broken: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked: list[tuple[str, bool]] = []

    def look(site: object, recipe: object, head: Head) -> None:
        marked.append((head.version, broken.store.state().drift))
        broken.roll_out(site, recipe, head)

    monkeypatch.setattr(update, "roll_out", look)
    assert outcome(broken) is Outcome.ROLLED_BACK
    assert marked == [(NEW.version, True), (OLD.version, False)]


def test_data_are_never_put_back_from_another_updates_snapshot(world: World) -> None:
    assert outcome(world) is Outcome.UPGRADED
    other = update.Update(APP, "another", Good(OLD.version, OLD.commit), Good(NEW.version, NEW.commit), data=True)
    world.version = None
    with pytest.raises(StoreDamaged, match="no snapshot from before the update"):
        update.put_data_back(world.site, other, "app_ci")
    assert world.data == NEW.version


_BODY = b'{"begin":"update","facts":{"app":"app"}}'
SHORT = b"%08x %s\n" % (zlib.crc32(_BODY), _BODY)
"""A journal whose lines are whole, of an update that does not say what it is from and to."""
STRANGE = b"damaged\n" + SHORT
"""A journal that is damaged before its last line."""
NOTES: dict[str, tuple[object, str]] = {
    "alert": (alerts, "write_alert"),
    "outcome": (reconcile, "record_outcome"),
    "hold": (reconcile, "keep_hold"),
    "tried": (update, "mark_tried"),
    "lifted": (reconcile, "lift_hold"),
}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("note", [*NOTES, "all"])
@pytest.mark.parametrize(("is_broken", "expected"), [(True, Outcome.ROLLED_BACK), (False, Outcome.UPGRADED)])
def test_a_note_that_cannot_be_written_changes_no_outcome_and_is_told(
    make_world: Callable[..., World],
    monkeypatch: pytest.MonkeyPatch,
    note: str,
    number: int,
    is_broken: bool,
    expected: Outcome,
) -> None:
    world = make_world(broken=is_broken)
    for module, name in NOTES.values() if note == "all" else [NOTES[note]]:
        monkeypatch.setattr(module, name, raising(OSError(number, os.strerror(number))))

    done = world.reconcile()

    assert done is not None
    assert done.outcome is expected
    assert world.belongs_together()
    concerned = {"alert", "hold", "tried"} if is_broken else {"lifted"}
    if note in {"outcome", "all", *concerned}:
        assert os.strerror(number) in done.problem
        assert any(os.strerror(number) in line for line in world.told)
    if note in {"alert", "all"} and is_broken:
        assert any(line.startswith("ALERT rolled-back: app") for line in world.told)


def test_a_hold_whose_alert_could_not_be_written_is_alerted_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "head_of", lambda *_args: None)  # no way back: held
    with monkeypatch.context() as full:
        full.setattr(alerts, "write_alert", raising(OSError(errno.ENOSPC, "full")))
        assert outcome(world) is Outcome.HELD
    assert kinds(world) == []

    assert outcome(world) is Outcome.HELD

    assert len(kinds(world)) == 1


def test_an_engine_that_is_gone_while_the_outcome_is_looked_up_hides_no_problem(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "bring_up", raising(DiskFull("no room")))
    monkeypatch.setattr(reconcile, "inspect_infra", raising(InfrastructureFault("the engine does not answer")))

    done = world.reconcile()

    assert done is not None
    assert (done.outcome, done.problem, done.now) == (Outcome.ERROR, "no room", "")


@pytest.mark.parametrize("name", ["last_good.json", "tried.json", "stuck.json", "update.jsonl"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"release": 5}', SHORT, STRANGE, None], ids=repr)
def test_a_damaged_note_is_told_and_set_aside_at_an_operators_word(
    world: World, name: str, content: bytes | None
) -> None:
    path = world.state.infra(APP) / name
    path.unlink(missing_ok=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    # A journal's last lines that are none were cut off: what they announce was never begun.
    whole = name == "update.jsonl" and content not in {None, SHORT, STRANGE}

    first = world.reconcile()

    assert first is not None
    assert world.belongs_together()
    if whole:
        assert first.outcome is Outcome.UPGRADED
        return
    assert first.outcome in {Outcome.ERROR, Outcome.ROLLBACK_FAILED}
    assert str(path) in first.problem
    assert "--trust" in first.problem
    assert outcome(world, Wish(trust=True)) is Outcome.UPGRADED
    assert len(list(world.state.infra(APP).glob(f"{name}.damaged-*"))) == 1
    assert outcome(world) is Outcome.CURRENT


def test_a_damaged_hold_counts_as_none_and_is_written_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "head_of", lambda *_args: None)  # no way back: held
    (world.state.holds / f"{APP}.json").write_bytes(b'{"app": 1}')

    assert outcome(world) is Outcome.HELD

    hold = load_hold(world.state, APP)
    assert hold is not None
    assert hold.release == NEW.version
    assert any("damaged" in line for line in world.told)
