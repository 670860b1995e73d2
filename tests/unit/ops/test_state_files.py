"""Every state file that we read, damaged in every way: its reader returns, or raises an error that says the way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from maderuns import made_result, written

from pytest_ccci.engine.images import ImageFact
from pytest_ccci.errors import CcciError
from pytest_ccci.ops.doctor import inspect_machine
from pytest_ccci.ops.state_files import READERS, Reader, damaged_files
from pytest_ccci.ops.status import inspect_situation
from pytest_ccci.ops.trigger.decision import CommentFacts
from pytest_ccci.ops.trigger.store import Commands
from pytest_ccci.results.index import keep_rows
from pytest_ccci.run.image_notes import note_used
from pytest_ccci.run.kept_apps import KeptApp, keep_app
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.journal import Journal
from pytest_ccci.warm.alerts import Alert, AlertKind, Hold, deliver, keep_hold, write_alert
from pytest_ccci.warm.infra_recipe import Good, keep_secrets, known_secrets, record_good
from pytest_ccci.warm.realm_model import make_lease
from pytest_ccci.warm.realms import Owner, reserve
from pytest_ccci.warm.reconcile import Outcome, Reconciled, record_outcome
from pytest_ccci.warm.update import Update, journal_of, mark_stuck, mark_tried

SECRET = "hunter2hunter2"
KEPT_APP = KeptApp(
    "n.ci.test",
    "https://n.ci.test",
    "notes",
    "/recipes/notes",
    "r1",
    "2026-01-01T00:00:00+00:00",
    "custom: it fails",
    make_lease(recipe="notes", run_id="r1", domain="n.ci.test", zone="ci.test", base_url="https://k", kept=False),
)
UPDATE = Update("app", "u1", Good("1.0.0+1", "a" * 40), Good("1.0.1+1", "b" * 40), data=True)


def journal(state: StateDir, path: str) -> None:
    (state.root / path).parent.mkdir(parents=True, exist_ok=True)
    Journal(state.root / path, fs=Fs()).begin("promote", id="s1", run_id="r1")


def write(path: str, content: object) -> Callable[[StateDir], object]:
    def act(state: StateDir) -> None:
        (state.root / path).parent.mkdir(parents=True, exist_ok=True)
        (state.root / path).write_text(json.dumps(content))

    return act


SWEPT = {
    "recipe": "notes",
    "release": "1.0.0+1.0",
    "commit": "c" * 40,
    "infra": {"engine": "27.1"},
    "verdict": "pass",
    "at": "2026-07-01T03:00:00+00:00",
}


def commanded(state: StateDir) -> None:
    facts = CommentFacts("coop/notes", 3, 1001, "!testme", "ada", "ada", head="a" * 40)
    Commands(state).receive("app", facts, now=1.5, recipe="notes")


def pruned(state: StateDir) -> None:
    result = made_result()
    written(state, result)
    keep_rows(state, [result.run_id])


MADE: dict[str, Callable[[StateDir], object]] = {
    "canonical-mount.json": write("canonical-mount.json", {"kind": "xfs", "source": "/dev/loop0", "id": "f1"}),
    "infra/*/last_good.json": lambda state: record_good(state, "app", UPDATE.prior),
    "infra/*/tried.json": lambda state: mark_tried(state, "app", UPDATE.target, "it dies"),
    "infra/*/stuck.json": lambda state: mark_stuck(state, UPDATE, "it dies"),
    "infra/*/outcome.json": lambda state: record_outcome(state, Reconciled("app", Outcome.HELD, reasons=("a", "b"))),
    "infra/*/secrets.json": lambda state: keep_secrets(state, "app", {"db_password_v1": SECRET}),
    "infra/*/update.jsonl": lambda state: journal_of(state, "app").begin("update", **UPDATE.facts()),
    "infra/*/store/journal.jsonl": lambda state: journal(state, "infra/app/store/journal.jsonl"),
    "infra/*/store/verified.json": write("infra/app/store/verified.json", {"s1": {"after": "a", "began": "b"}}),
    "canonical/*/journal.jsonl": lambda state: journal(state, "canonical/docs/journal.jsonl"),
    "canonical/*/verified.json": write("canonical/docs/verified.json", {"s1": {"after": "a", "began": "b"}}),
    "sweeps/*/sweep.json": write(
        "sweeps/20260701-030000-aaaaaa/sweep.json",
        {"sweep_id": "20260701-030000-aaaaaa", "started": "2026-07-01T03:00:00+00:00", "attempts": [SWEPT]},
    ),
    "sweeps/recipes/*.json": write("sweeps/recipes/notes.json", {"last": SWEPT, "green": SWEPT}),
    "holds/*.json": lambda state: keep_hold(
        state, Hold("app", "1", "2", AlertKind.HELD_MAJOR, ("a",), since="2026-01-01T00:00:00+00:00")
    ),
    "alerts/*.json": lambda state: write_alert(state, Alert(AlertKind.DISK, "app", recovered=True)),
    "leases/*.json": lambda state: reserve(
        state, Owner.now("x", run_id="r", lock=state.lock("x.ci.test"), domain="x.ci.test", nonce="n"), bound=9
    ),
    "engines/vip-*.json": write("engines/vip-abc-6.1.json", {"vip": True}),
    "disk.json": write("disk.json", {"/var": "2026-07-01T03:00:00+00:00"}),
    "image-notes/*.json": lambda state: note_used(state, "AB:CD", [ImageFact("app:1", "sha256:1", None, "pulled")]),
    "trigger/commands/*.json": commanded,
    "trigger/polled.json": write(
        "trigger/polled.json", {"since": "2026-07-01T03:00:00Z", "begun": "2026-07-01T03:00:00Z"}
    ),
    "locks/*.kept": lambda state: keep_app(state, KEPT_APP),
    "runs/history.jsonl": pruned,
    "runs/*/owned.json": write(
        "runs/r1/owned.json",
        [
            {
                "run_id": "r1",
                "recipe": "a",
                "stack": "a",
                "domain": "a",
                "lock": "l",
                "keep_data": True,
                "volumes": ["v"],
            }
        ],
    ),
}
"""How a whole file of a kind is made, where that is short; of the others only damaged ones are read here."""

NAMES = {"alerts/*.json": "x.json", "engines/vip-*.json": "vip-abc-6.1.json"}


def path_of(state: StateDir, reader: Reader) -> Path:
    """Where one file of the kind is; its folder is there."""
    found = sorted(state.root.glob(reader.pattern))
    name = "/".join(part.replace("*", "app") for part in reader.pattern.split("/"))
    path = found[0] if found else state.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def read_or_told(reader: Reader, state: StateDir, path: Path) -> CcciError | None:
    """The error, which names the file and the way out; no other error, and no secret in it."""
    try:
        reader.read(state, path)
    except CcciError as error:
        told = error
    else:
        return None
    assert str(path) in str(told)
    assert told.advice
    assert SECRET not in str(told)
    return told


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
BYTES = st.one_of(
    st.binary(max_size=64),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.just(b""),
    st.just(b"\n" * 3),
    st.just(b"[" * 100_000),
    st.just(b'{"a":' * 100_000),
    st.just('{"app": "ä"}'.encode("latin-1")),
    st.just(b"\0" * 512),
)
READER = pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.pattern)
FUZZED = profile(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


@READER
@FUZZED
@given(raw=BYTES)
def test_whatever_stands_in_a_file_its_reader_returns_or_says_the_way_out(
    reader: Reader, raw: bytes, state: StateDir
) -> None:
    path = path_of(state, reader)
    path.write_bytes(raw)

    read_or_told(reader, state, path)


@pytest.mark.parametrize("reader", [one for one in READERS if one.pattern in MADE], ids=lambda reader: reader.pattern)
@FUZZED
@given(data=st.data())
def test_a_file_that_is_whole_but_for_one_thing_is_read_or_told(
    reader: Reader, data: st.DataObject, state: StateDir
) -> None:
    for old in state.root.glob(reader.pattern):
        old.unlink()
    MADE[reader.pattern](state)
    path = path_of(state, reader)
    assert read_or_told(reader, state, path) is None
    raw = path.read_bytes()
    how = data.draw(st.sampled_from(["cut", "missing", "extra", "other", "byte"]))
    if how == "cut":
        path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    elif how == "byte" or path.suffix == ".jsonl":
        at = data.draw(st.integers(0, len(raw) - 1))
        path.write_bytes(raw[:at] + bytes([data.draw(st.integers(0, 255))]) + raw[at + 1 :])
    else:
        value = json.loads(raw)
        inner = value[0] if isinstance(value, list) else value
        key = data.draw(st.sampled_from(sorted(inner)))
        if how == "missing":
            del inner[key]
        elif how == "extra":
            inner["of a newer version"] = data.draw(JSON)
        else:
            inner[key] = data.draw(JSON)
        path.write_text(json.dumps(value))

    read_or_told(reader, state, path)


@READER
@pytest.mark.parametrize("thing", ["folder", "loop of links"])
def test_what_is_no_file_at_all_is_told(reader: Reader, thing: str, state: StateDir) -> None:
    path = path_of(state, reader)
    if thing == "folder":
        path.mkdir()
    else:
        Path(path).symlink_to(path.name)

    read_or_told(reader, state, path)

    if thing == "folder":
        assert [str(path) in str(error) for error in damaged_files(state)] == [True]


@READER
def test_no_file_is_no_damage_but_for_a_result_whose_absence_is_told(reader: Reader, state: StateDir) -> None:
    path = path_of(state, reader)
    if "results" in reader.pattern:
        with pytest.raises(CcciError):
            reader.read(state, path)
    else:
        assert read_or_told(reader, state, path) is None


def test_a_secret_in_a_damaged_file_is_not_told(state: StateDir) -> None:
    path = state.infra("app") / "secrets.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"db_password_v1": [SECRET]}))

    with pytest.raises(CcciError) as caught:
        known_secrets(state, "app")

    assert SECRET not in str(caught.value)


def test_a_damaged_alert_keeps_no_other_from_being_delivered(state: StateDir) -> None:
    (state.alerts / "broken.json").write_bytes(b'{"kind": "disk", "app": ')
    write_alert(state, Alert(AlertKind.DISK, "app"))

    done = deliver(state, lambda _title, _text: "")

    assert (done.delivered, done.undelivered) == (1, 0)


@pytest.mark.parametrize("thing", ["garbage", "folder"])
@pytest.mark.parametrize("app", ["app", "keycloak"])
def test_status_and_doctor_go_on_and_show_what_is_damaged(
    state: StateDir, settings: Settings, keep: Callable[[str], CanonicalStore], thing: str, app: str
) -> None:
    keep("docs")
    for reader in READERS:
        name = reader.pattern.replace("infra/*", f"infra/{app}").replace("canonical/*", "canonical/docs")
        path = state.root / name.replace("*", "keycloak")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.unlink()
        path.mkdir() if thing == "folder" else path.write_bytes(b'{"app": \xff}\n\n')

    found = inspect_situation(settings)

    assert len(found.damaged) >= len(READERS) - (3 if thing == "garbage" else 0)  # a journal's torn end is none
    assert all("try:" in problem for problem in found.damaged)
    assert [row.quarantine != "" for row in found.canonicals] == [True]
    assert {check.name for check in inspect_machine(settings) if check.level == "bad"} >= {"state file"}
