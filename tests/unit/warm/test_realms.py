from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_ccci import locks
from pytest_ccci.errors import KeycloakUnavailable, LockBusy
from pytest_ccci.progress import received
from pytest_ccci.redact import SECRETS
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.warm import realms
from pytest_ccci.warm.alerts import open_alerts
from pytest_ccci.warm.keycloak import Keycloak
from pytest_ccci.warm.realm_model import RealmLease
from pytest_ccci.warm.realms import load_owners


class FakeKeycloak:
    """Keycloak's rules as measured: realm names are unique, user ids are unique across realms, both answer 409."""

    url = "https://keycloak.ci.test"

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.lose_answer = False
        self.down = False

    def create_realm(self, body: Mapping[str, Any]) -> bool:
        self._reach()
        taken = {user["id"] for realm in self.kept.values() for user in realm["users"]}
        if body["realm"] in self.kept or taken & {user["id"] for user in body["users"]}:
            return False
        self.kept[body["realm"]] = dict(body)
        # A lost answer is repeated by the connection, and the repetition is told that the realm exists.
        return not self.lose_answer

    def realm(self, name: str) -> dict[str, Any] | None:
        self._reach()
        return self.kept.get(name)

    def realms(self) -> tuple[dict[str, Any], ...]:
        self._reach()
        return ({"realm": "master"}, *self.kept.values())

    def delete_realm(self, name: str) -> bool:
        self._reach()
        return self.kept.pop(name, None) is not None

    def _reach(self) -> None:
        if self.down:
            raise KeycloakUnavailable("gone")


@pytest.fixture
def keycloak() -> FakeKeycloak:
    return FakeKeycloak()


@pytest.fixture
def held() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def take(
    keycloak: FakeKeycloak,
    state: StateDir,
    *,
    run_id: str = "r1",
    domain: str = "warm-x.ci.test",
    kept: bool = True,
    bound: int = 64,
) -> RealmLease:
    return realms.lease(
        cast(Keycloak, keycloak),
        state,
        recipe="x",
        run_id=run_id,
        domain=domain,
        zone="ci.test",
        kept=kept,
        redirect_uris=["https://x/*"],
        lock=state.lock(domain),
        bound=bound,
    )


def hold(state: StateDir, held: ExitStack, domain: str = "warm-x.ci.test") -> None:
    held.enter_context(locks.hold(state.lock(domain), wait=0, owner={}))


def test_a_lease_is_recorded_while_it_lives_and_gone_afterwards(keycloak: FakeKeycloak, state: StateDir) -> None:
    lease = take(keycloak, state)
    assert [owner.realm for owner in load_owners(state)] == list(keycloak.kept) == ["warm-x"]

    realms.give_back(cast(Keycloak, keycloak), state, lease)

    assert (load_owners(state), keycloak.kept) == ((), {})


def test_all_that_a_lease_hands_out_is_hidden_and_so_is_its_key(keycloak: FakeKeycloak, state: StateDir) -> None:
    lease = take(keycloak, state)
    assert lease.secrets
    assert {SECRETS.scrub(value) for value in lease.secrets} == {"[secret]"}
    (provider, *_) = keycloak.kept["warm-x"]["components"]["org.keycloak.keys.KeyProvider"]
    (pem,) = provider["config"]["privateKey"]
    assert "PRIVATE KEY" in pem
    assert SECRETS.scrub(pem.strip()) == "[secret]"


def test_giving_back_twice_is_fine(keycloak: FakeKeycloak, state: StateDir) -> None:
    lease = take(keycloak, state)

    realms.give_back(cast(Keycloak, keycloak), state, lease)
    realms.give_back(cast(Keycloak, keycloak), state, lease)


def test_already_exists_with_our_own_import_is_ours(keycloak: FakeKeycloak, state: StateDir) -> None:
    keycloak.lose_answer = True

    lease = take(keycloak, state)

    assert lease.realm in keycloak.kept


def test_the_realm_of_a_dead_run_of_the_same_app_gives_way(
    keycloak: FakeKeycloak, state: StateDir, held: ExitStack
) -> None:
    take(keycloak, state, run_id="dead")
    hold(state, held)

    lease = take(keycloak, state, run_id="alive")

    assert keycloak.kept["warm-x"]["attributes"]["ccci.run_id"] == "alive"
    assert [owner.nonce for owner in load_owners(state)] == [lease.nonce]


def test_a_dead_runs_realm_of_another_name_but_with_the_same_people_gives_way(
    keycloak: FakeKeycloak, state: StateDir
) -> None:
    take(keycloak, state, run_id="dead", kept=False)

    lease = take(keycloak, state, run_id="alive", kept=True)

    assert list(keycloak.kept) == [lease.realm]


def test_a_living_runs_realm_is_never_taken(keycloak: FakeKeycloak, state: StateDir, held: ExitStack) -> None:
    take(keycloak, state, run_id="alive", domain="one.ci.test")
    hold(state, held, "one.ci.test")

    with pytest.raises(LockBusy, match="warm-x"):
        take(keycloak, state, run_id="other", domain="two.ci.test")

    assert keycloak.kept["warm-x"]["attributes"]["ccci.run_id"] == "alive"


def test_a_realm_that_is_no_lease_is_left_alone(keycloak: FakeKeycloak, state: StateDir) -> None:
    keycloak.kept["warm-x"] = {"realm": "warm-x", "users": []}

    with pytest.raises(KeycloakUnavailable, match="no lease of ours"):
        take(keycloak, state)

    assert keycloak.kept["warm-x"] == {"realm": "warm-x", "users": []}
    assert load_owners(state) == ()


def test_reap_takes_the_dead_and_leaves_the_living(keycloak: FakeKeycloak, state: StateDir, held: ExitStack) -> None:
    take(keycloak, state, run_id="dead", domain="dead.ci.test", kept=False)
    take(keycloak, state, run_id="alive", domain="alive.ci.test", kept=False)
    hold(state, held, "alive.ci.test")

    assert realms.reap(cast(Keycloak, keycloak), state) == ("x-dead",)
    assert list(keycloak.kept) == ["x-alive"]
    assert [owner.realm for owner in load_owners(state)] == ["x-alive"]


def test_reap_leaves_the_realm_of_an_app_that_is_kept_for_a_look(keycloak: FakeKeycloak, state: StateDir) -> None:
    take(keycloak, state, run_id="red", domain="red.ci.test", kept=False)
    state.kept("red.ci.test").touch()
    assert realms.reap(cast(Keycloak, keycloak), state) == ()
    state.kept("red.ci.test").unlink()
    assert realms.reap(cast(Keycloak, keycloak), state) == ("x-red",)


def test_reap_knows_a_realm_that_only_keycloak_remembers(keycloak: FakeKeycloak, state: StateDir) -> None:
    take(keycloak, state, run_id="dead", kept=False)
    for record in state.leases.iterdir():
        record.unlink()

    assert realms.reap(cast(Keycloak, keycloak), state) == ("x-dead",)


def test_reap_clears_a_record_that_keycloak_forgot(keycloak: FakeKeycloak, state: StateDir) -> None:
    take(keycloak, state, run_id="dead", kept=False)
    keycloak.kept.clear()

    realms.reap(cast(Keycloak, keycloak), state)

    assert load_owners(state) == ()


def test_another_machines_realm_is_not_ours_to_judge(keycloak: FakeKeycloak, state: StateDir) -> None:
    take(keycloak, state, run_id="theirs", kept=False)
    keycloak.kept["x-theirs"]["attributes"]["ccci.place"] = "elsewhere"
    for record in state.leases.iterdir():
        record.unlink()

    assert realms.reap(cast(Keycloak, keycloak), state) == ()
    assert list(keycloak.kept) == ["x-theirs"]


def test_a_dead_runs_realm_is_reaped_although_the_machine_has_another_name_now(
    keycloak: FakeKeycloak, state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "5f2c81ab90de")
    take(keycloak, state, run_id="dead", kept=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "0a1b2c3d4e5f")

    assert realms.reap(cast(Keycloak, keycloak), state) == ("x-dead",)
    assert load_owners(state) == ()


def test_a_living_runs_realm_stays_although_the_state_directory_is_mounted_elsewhere(
    keycloak: FakeKeycloak, state: StateDir, held: ExitStack, tmp_path: Path
) -> None:
    take(keycloak, state, run_id="alive", kept=False)
    hold(state, held, "warm-x.ci.test")
    (tmp_path / "elsewhere").mkdir()
    state.root.rename(tmp_path / "elsewhere" / "state")
    moved = StateDir(tmp_path / "elsewhere" / "state")

    assert realms.reap(cast(Keycloak, keycloak), moved) == ()
    held.close()
    assert realms.reap(cast(Keycloak, keycloak), moved) == ("x-alive",)


def test_another_machine_with_the_same_name_and_path_judges_no_realm_of_ours(
    keycloak: FakeKeycloak, state: StateDir, tmp_path: Path
) -> None:
    take(keycloak, state, run_id="theirs", kept=False)
    state.root.rename(tmp_path / "the other machine")
    ours = open_state(state.root)
    take(keycloak, ours, run_id="own", domain="own.ci.test", kept=False)

    assert realms.reap(cast(Keycloak, keycloak), ours) == ("x-own",)
    assert list(keycloak.kept) == ["x-theirs"]


def test_a_lease_of_an_older_version_is_judged_by_its_record(keycloak: FakeKeycloak, state: StateDir) -> None:
    take(keycloak, state, run_id="dead", kept=False)
    del keycloak.kept["x-dead"]["attributes"]["ccci.place"]
    for record in state.leases.iterdir():
        facts = json.loads(record.read_bytes())
        del facts["place"]
        record.write_text(json.dumps({**facts, "host": "elsewhere"}))

    assert realms.reap(cast(Keycloak, keycloak), state) == ("x-dead",)


def test_a_damaged_record_of_a_realm_that_is_gone_takes_no_room(keycloak: FakeKeycloak, state: StateDir) -> None:
    (state.leases / "gone.json").write_bytes(b'{"realm": ')

    realms.reap(cast(Keycloak, keycloak), state)

    assert list(state.leases.iterdir()) == []


def test_never_more_realms_than_the_bound(keycloak: FakeKeycloak, state: StateDir, held: ExitStack) -> None:
    for number in range(2):
        take(keycloak, state, run_id=f"r{number}", domain=f"{number}.ci.test", kept=False)
        hold(state, held, f"{number}.ci.test")

    with pytest.raises(KeycloakUnavailable, match="2 realms are leased"):
        take(keycloak, state, run_id="r3", domain="3.ci.test", kept=False, bound=2)

    assert len(keycloak.kept) == 2


def test_the_dead_make_room_below_the_bound(keycloak: FakeKeycloak, state: StateDir) -> None:
    take(keycloak, state, run_id="dead", domain="1.ci.test", kept=False)

    lease = take(keycloak, state, run_id="alive", domain="2.ci.test", kept=False, bound=1)

    assert list(keycloak.kept) == [lease.realm]


def test_a_failed_give_back_keeps_the_record_for_the_next_reap(keycloak: FakeKeycloak, state: StateDir) -> None:
    lease = take(keycloak, state)
    keycloak.down = True

    with pytest.raises(KeycloakUnavailable):
        realms.give_back(cast(Keycloak, keycloak), state, lease)

    keycloak.down = False
    assert realms.reap(cast(Keycloak, keycloak), state) == ("warm-x",)


def test_an_old_lease_given_back_late_does_not_take_its_successors_realm(
    keycloak: FakeKeycloak, state: StateDir
) -> None:
    old = take(keycloak, state, run_id="old")
    new = take(keycloak, state, run_id="new")

    realms.give_back(cast(Keycloak, keycloak), state, old)

    assert keycloak.kept["warm-x"]["attributes"]["ccci.nonce"] == new.nonce
    assert [owner.nonce for owner in load_owners(state)] == [new.nonce]


def test_a_dead_runs_realm_that_will_not_go_stops_nobody_and_is_alerted_once(
    keycloak: FakeKeycloak, state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(keycloak, state, run_id="r1", domain="one.ci.test", kept=False)
    stuck = load_owners(state)[0].realm
    take(keycloak, state, run_id="r2", domain="two.ci.test", kept=False)
    delete = keycloak.delete_realm

    def refuse(name: str) -> bool:
        if name == stuck:
            raise KeycloakUnavailable(f"{name} answers 500")
        return delete(name)

    monkeypatch.setattr(keycloak, "delete_realm", refuse)
    told: list[str] = []
    with received(told.append):
        assert len(realms.reap(cast(Keycloak, keycloak), state)) == 1
        realms.reap(cast(Keycloak, keycloak), state)
    assert [owner.realm for owner in load_owners(state)] == [stuck]
    assert sum("cannot be removed" in line for line in told) == 2
    assert [(alert.kind, alert.app) for _, alert in open_alerts(state)] == [("left-behind", stuck)]


def test_a_realm_whose_lock_cannot_be_opened_stops_nobody(keycloak: FakeKeycloak, state: StateDir) -> None:
    take(keycloak, state, run_id="r1", domain="one.ci.test", kept=False)
    stuck = load_owners(state)[0].realm
    take(keycloak, state, run_id="r2", domain="two.ci.test", kept=False)
    state.lock("one.ci.test").unlink(missing_ok=True)
    state.lock("one.ci.test").mkdir()
    realms.reap(cast(Keycloak, keycloak), state)
    assert list(keycloak.kept) == [stuck]
