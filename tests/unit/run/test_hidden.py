"""Who makes or reads a secret says so, and who writes for people writes none."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ccci.engine import objects
from pytest_ccci.errors import UsageError, Verdict
from pytest_ccci.ops.canonicals import load_secrets
from pytest_ccci.recipe.git import credentials
from pytest_ccci.redact import SECRETS
from pytest_ccci.results.model import CustomTest, Evidence, RunResult, TierResult
from pytest_ccci.results.write import load_result, write_result
from pytest_ccci.run.run_dir import Diary
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.store.archive import require_passphrase
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import CopyBackend
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.record import Mark
from pytest_ccci.warm.alerts import (
    Alert,
    AlertKind,
    Hold,
    keep_hold,
    load_hold,
    open_alerts,
    through_apprise,
    write_alert,
)
from pytest_ccci.warm.infra_recipe import Good, known_secrets
from pytest_ccci.warm.keycloak import Keycloak
from pytest_ccci.warm.reconcile import Outcome, Reconciled, last_outcome, record_outcome
from pytest_ccci.warm.update import mark_tried, tried
from pytest_ccci.web import Route

SECRET = f'q&{uuid.uuid4().hex} "7/x'


def _alert(state: StateDir) -> None:
    write_alert(state, Alert(AlertKind.UNAVAILABLE, "keycloak", notes=f"the end of its log:\n{SECRET}"))
    assert open_alerts(state)[0][1].kind is AlertKind.UNAVAILABLE


def _hold(state: StateDir) -> None:
    kind = AlertKind.HELD_MAJOR
    keep_hold(state, Hold("keycloak", "1", "2", kind, (f"notes: {SECRET}",), since="2026-01-01T00:00:00+00:00"))
    assert load_hold(state, "keycloak") is not None


def _outcome(state: StateDir) -> None:
    record_outcome(state, Reconciled("keycloak", Outcome.ERROR, problem=f"no login as {SECRET}"))
    assert last_outcome(state, "keycloak")["outcome"] == "error"


def _tried(state: StateDir) -> None:
    mark_tried(state, "keycloak", Good("2", "c" * 40), f"no login as {SECRET}")
    assert tried(state, "keycloak") is not None


def _quarantine(state: StateDir) -> None:
    mark = Mark(state.root / "quarantined.json", fs=Fs())
    mark.set(why=f"damaged: {SECRET}")
    assert mark.read() is not None


def _journal(state: StateDir) -> None:
    Diary(state.run("r")).note("tier upgrade", reason=SECRET, facts={"a": [SECRET]}, path=Path(SECRET))
    rows = (state.run("r") / "journal.jsonl").read_text("utf-8").splitlines()
    assert json.loads(rows[0])["what"] == "tier upgrade"


def _result(state: StateDir) -> None:
    tier = TierResult(
        tier="upgrade",
        verdict=Verdict.FAIL,
        reason=f"upgrade: {SECRET}",
        facts={"seen": SECRET},
        evidence=(Evidence(title="last lines", text=json.dumps({"key": SECRET})),),
    )
    result = RunResult(
        run_id="r",
        recipe="docs",
        requested_mode="cold",
        mode="cold",
        verdict=Verdict.FAIL,
        started="2026-01-01T00:00:00Z",
        tiers=(tier,),
        custom=(CustomTest(nodeid="test_app.py::test_x", verdict=Verdict.FAIL, reason=SECRET),),
        warnings=(f"of {SECRET}",),
    )
    path = write_result(result, state.run("r") / "results.json")
    assert load_result(path).tiers[0].reason == "upgrade: [secret]"


@pytest.mark.parametrize("write", [_alert, _hold, _outcome, _tried, _quarantine, _journal, _result])
def test_what_is_written_for_people_has_no_secret(state: StateDir, write: Callable[[StateDir], None]) -> None:
    SECRETS.learn(SECRET)
    write(state)
    files = [path for path in state.root.rglob("*") if path.is_file()]
    text = "\n".join(path.read_text("utf-8") for path in files)
    assert "[secret]" in text
    assert SECRET.split(maxsplit=1)[0][2:] not in text


def _kept(tmp_path: Path, value: str) -> None:
    state = open_state(tmp_path / "state")
    state.infra("keycloak").mkdir(parents=True)
    (state.infra("keycloak") / "secrets.json").write_text(json.dumps({"a": value}), "utf-8")
    known_secrets(state, "keycloak")


def _from_file(tmp_path: Path, value: str) -> None:
    (tmp_path / "secrets").write_text(json.dumps({"a": value}), "utf-8")
    load_secrets(tmp_path / "secrets")


def _of_a_canonical(tmp_path: Path, value: str) -> None:
    store = CanonicalStore(tmp_path / "canonical", "notes", backend=CopyBackend())
    store.live("data")
    taken = store.snapshot(volumes=("data",), secrets={"a": value}, coverage={}, stopped=lambda: None)
    store.promote(taken, release="1.0.0+1", commit="c" * 40, domain="warm-notes.ci.test", run_id="r")
    store.secrets()


LEARNERS: dict[str, Callable[[Path, str], object]] = {
    "inserted into the Swarm": lambda _, value: objects.insert_secrets(_NoEngine(), "stack", {"a": value}),  # type: ignore[arg-type]  # it is asked for nothing
    "kept of an infra app": _kept,
    "kept of a canonical": _of_a_canonical,
    "a passphrase": lambda _, value: require_passphrase(value),
    "given to an import": _from_file,
    "in a repository's address": lambda _, value: credentials(f"https://me:{value}@git.test/x.git"),
    "the administrator's of Keycloak": lambda _, value: Keycloak(
        "https://k.test", route=Route(zone="test", address="127.0.0.1"), password=value
    ),
    "in an address for alerts": lambda _, value: through_apprise(f"ntfys://{value}/topic"),
}


class _NoEngine:
    """An engine that takes secrets and does nothing with them."""

    @property
    def client(self) -> _NoEngine:
        return self

    api = client

    def create_secret(self, name: str, data: bytes, *, labels: dict[str, str]) -> None:
        """Take it."""


@pytest.mark.parametrize("name", LEARNERS)
def test_a_secret_is_hidden_from_when_it_is_made_or_read(tmp_path: Path, name: str) -> None:
    value = f"Zr{uuid.uuid4().hex}"
    assert SECRETS.scrub(f"no login as {value}") == f"no login as {value}"
    LEARNERS[name](tmp_path, value)
    assert SECRETS.scrub(f"no login as {value}") == "no login as [secret]"


def test_a_passphrase_that_is_refused_is_none() -> None:
    with pytest.raises(UsageError):
        require_passphrase("short")
