"""Realm leases: taken before the deploy, recorded on disk, given back at the end, reaped when their run is dead."""

from __future__ import annotations

import json
import logging
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_ccci import locks
from pytest_ccci.errors import InfrastructureFault, KeycloakUnavailable, LockBusy, StateDamaged
from pytest_ccci.redact import SECRETS
from pytest_ccci.statedir import StateDir, is_kept, load_state, write_atomic
from pytest_ccci.warm.alerts import Alert, AlertKind, open_alerts, write_alert
from pytest_ccci.warm.keycloak import Keycloak
from pytest_ccci.warm.realm_model import RealmLease, make_lease, owner_of, realm_body, signing_key

__all__ = [
    "Owner",
    "damaged_leases",
    "forget",
    "give_back",
    "lease",
    "leased",
    "load_lease",
    "load_owners",
    "lock_of",
    "owners",
    "reap",
    "reserve",
]

_LOG = logging.getLogger(__name__)

_LOCK_WAIT = 60.0
_ID = ".id"
_ADVICE = "remove it: the realm, if Keycloak has it, says itself whose it is, and is reaped when that run is dead"


@dataclass(frozen=True)
class Owner:
    """Whose a realm is. ``lock`` is the file its run holds for its whole life.

    ``place`` is the id of the folder that the lock is in: whoever sees a folder of that id sees that very lock, and
    can judge whether the run lives. ``host`` is for people: containers and reboots change it.
    """

    realm: str
    run_id: str
    lock: str
    host: str
    domain: str
    nonce: str
    since: str
    place: str = ""

    @classmethod
    def parse(cls, facts: dict[str, str]) -> Owner | None:
        """An owner from what was written down; ``None`` if something of it is missing."""
        try:
            owner = cls(
                **{"place": "", **{name: str(facts[name]) for name in cls.__dataclass_fields__ if name in facts}}
            )
        except TypeError:
            return None
        return None if "\0" in owner.lock else owner

    @classmethod
    def now(cls, realm: str, *, run_id: str, lock: Path, domain: str, nonce: str) -> Owner:
        """The owner of a realm that is leased now, on this machine."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        place = _place(lock.parent, make=True)
        return cls(realm, run_id, str(lock), socket.gethostname(), domain, nonce, since, place)

    def facts(self) -> dict[str, str]:
        """As plain text fields."""
        return {name: str(value) for name, value in asdict(self).items()}


def lock_of(state: StateDir, owner: Owner) -> Path | None:
    """The owner's lock file, found again; ``None`` when it is another machine's, so that nobody here can judge it.

    Our own locks are found by name: the state directory may be mounted elsewhere than where the run saw it.
    """
    lock = Path(owner.lock)
    if not owner.place:  # written by an older version: ours when its record is
        kept = _read(_file(state, owner.realm))
        return lock if kept is not None and kept.nonce == owner.nonce and lock.is_relative_to(state.root) else None
    if owner.place == _place(state.locks):
        return state.locks / lock.name
    return lock if owner.place == _place(lock.parent) else None


def _place(folder: Path, *, make: bool = False) -> str:
    """The id of a folder of locks: drawn once, kept in it. Empty where there is none."""
    note = folder / _ID
    with suppress(OSError, UnicodeDecodeError):
        return note.read_text("ascii").strip()
    if not make:
        return ""
    fresh = folder / f"{_ID}.{uuid.uuid4().hex}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(fresh, uuid.uuid4().hex.encode())
    try:
        with suppress(FileExistsError):
            note.hardlink_to(fresh)  # two at once: one of them
    finally:
        fresh.unlink()
    return note.read_text("ascii").strip()


def reserve(state: StateDir, owner: Owner, *, bound: int) -> bool:
    """Record a lease before the realm exists; ``False`` when there are ``bound`` others already.

    One record per realm name: a new lease of a kept realm takes its predecessor's place.
    """
    with locks.hold(state.locks / "leases.lock", wait=_LOCK_WAIT, owner={"run": owner.run_id}, level=logging.DEBUG):
        others = [path for path in _files(state) if path.stem != owner.realm]
        if len(others) >= bound:
            return False
        write_atomic(_file(state, owner.realm), json.dumps(owner.facts(), indent=1).encode())
        return True


def forget(state: StateDir, realm: str, *, nonce: str) -> None:
    """Remove the record of that very lease; a successor's record stays."""
    with locks.hold(state.locks / "leases.lock", wait=_LOCK_WAIT, owner={"for": realm}, level=logging.DEBUG):
        kept = _read(_file(state, realm))
        if kept is None or kept.nonce == nonce:
            _file(state, realm).unlink(missing_ok=True)


def load_owners(state: StateDir) -> tuple[Owner, ...]:
    """All recorded leases, by realm name; one that is damaged is in :func:`damaged_leases`."""
    found = (_read(path) for path in _files(state))
    return tuple(owner for owner in found if owner is not None)


def damaged_leases(state: StateDir) -> tuple[str, ...]:
    """The realms whose records cannot be used."""
    return tuple(path.stem for path in _files(state) if _read(path) is None)


def load_lease(path: Path) -> Owner | None:
    """The lease that the record at ``path`` tells of; ``None`` where there is none.

    Raises:
        StateDamaged: it is none.
    """
    facts = load_state(path, dict[str, str], advice=_ADVICE)
    if facts is None:
        return None
    owner = Owner.parse(facts)
    if owner is None:
        raise StateDamaged("the record of a lease lacks something", where=str(path), advice=_ADVICE)
    return owner


def too_many(owners: tuple[Owner, ...], bound: int) -> KeycloakUnavailable:
    """The error for a lease beyond the bound."""
    return KeycloakUnavailable(
        f"{bound} realms are leased already",
        seen=", ".join(f"{owner.realm} (run {owner.run_id})" for owner in owners[:10]),
        advice="let runs end, or raise ccci_realms",
    )


def _files(state: StateDir) -> list[Path]:
    return sorted(state.leases.glob("*.json"))


def _file(state: StateDir, realm: str) -> Path:
    return state.leases / f"{realm}.json"


def _read(path: Path) -> Owner | None:
    try:
        return load_lease(path)
    except StateDamaged:
        return None


_TRIES = 3


def lease(
    keycloak: Keycloak,
    state: StateDir,
    *,
    recipe: str,
    run_id: str,
    domain: str,
    zone: str,
    kept: bool,
    redirect_uris: Sequence[str],
    post_logout_uris: Sequence[str] = (),
    public: bool = False,
    lock: Path,
    bound: int = 64,
) -> RealmLease:
    """Lease a realm for the app at ``domain``, whose ``lock`` the caller holds as long as the lease lives.

    ``kept`` is for an app on kept data: the same realm name and the same people's ids each time. Repeating it after a
    lost answer is safe, and what a dead run left under the same name or with the same people is removed first.

    Raises:
        KeycloakUnavailable: it does not answer, refuses, or holds ``bound`` realms already.
        LockBusy: a living run has the same realm.
    """
    fresh = make_lease(recipe=recipe, run_id=run_id, domain=domain, zone=zone, base_url=keycloak.url, kept=kept)
    key = signing_key()
    SECRETS.learn(*fresh.secrets, key)
    owner = Owner.now(fresh.realm, run_id=run_id, lock=lock, domain=domain, nonce=fresh.nonce)
    _reserve(keycloak, state, owner, bound)
    body = realm_body(
        fresh,
        owner=owner.facts(),
        redirect_uris=redirect_uris,
        post_logout_uris=post_logout_uris,
        public=public,
        key=key,
    )
    with _given_back_on_failure(keycloak, state, fresh):
        _import(keycloak, state, owner, body)
    _LOG.info(f"leased realm {fresh.realm}")
    return fresh


@contextmanager
def leased(
    keycloak: Keycloak,
    state: StateDir,
    *,
    recipe: str,
    run_id: str,
    domain: str,
    zone: str,
    doing: str,
    wait: float = 0,
    bound: int = 64,
) -> Iterator[RealmLease]:
    """A realm for as long as the block runs, under the lock of ``domain``; any redirect address is allowed.

    Raises:
        KeycloakUnavailable: as :func:`lease` does.
        LockBusy: ``domain`` is in use for longer than ``wait`` seconds.
    """
    lock = state.lock(domain)
    with locks.hold(lock, wait=wait, owner={"run": run_id, "doing": doing}, level=logging.DEBUG):
        held = lease(
            keycloak,
            state,
            recipe=recipe,
            run_id=run_id,
            domain=domain,
            zone=zone,
            kept=False,
            redirect_uris=["*"],
            lock=lock,
            bound=bound,
        )
        try:
            yield held
        finally:
            give_back(keycloak, state, held)


def give_back(keycloak: Keycloak, state: StateDir, lease: RealmLease) -> None:
    """Delete the leased realm and its record. A realm that is gone, or is somebody else's by now, is fine.

    Raises:
        KeycloakUnavailable: it does not answer; the record stays, so that the realm is reaped later.
    """
    _delete(keycloak, state, lease.realm, lease.nonce)
    _LOG.info(f"gave back realm {lease.realm}")


def owners(keycloak: Keycloak) -> tuple[Owner, ...]:
    """The owners of all leased realms that Keycloak has."""
    found = (Owner.parse(owner_of(realm)) for realm in keycloak.realms())
    return tuple(owner for owner in found if owner is not None)


def reap(keycloak: Keycloak, state: StateDir) -> tuple[str, ...]:
    """Remove the realms of dead runs, known to Keycloak or recorded here; return their names.

    One that cannot be removed stops nobody: it is told, an operator is alerted, and its record stays.

    Raises:
        KeycloakUnavailable: it does not answer.
    """
    known = owners(keycloak)
    for realm in {*damaged_leases(state)} - {owner.realm for owner in known}:
        _LOG.warning(f"dropped the damaged record of realm {realm}, which Keycloak does not have")
        forget(state, realm, nonce="")
    return _reap(keycloak, state, {*known, *load_owners(state)})


def _reap(keycloak: Keycloak, state: StateDir, known: Iterable[Owner]) -> tuple[str, ...]:
    return tuple(owner.realm for owner in sorted(known, key=lambda one: one.realm) if _reap_one(keycloak, state, owner))


def _reap_one(keycloak: Keycloak, state: StateDir, owner: Owner) -> bool:
    lock = lock_of(state, owner)
    if lock is None:
        return False  # another machine's, or another state directory's that we cannot see: not ours to judge
    if is_kept(lock):
        return False
    try:
        with locks.hold(lock, wait=0, owner={"reaping": owner.realm}):
            _delete(keycloak, state, owner.realm, owner.nonce)
    except LockBusy:
        return False
    except (InfrastructureFault, OSError, ValueError) as error:
        _stays(state, owner, error)
        return False
    _LOG.info(f"reaped realm {owner.realm} of run {owner.run_id}, which is dead")
    return True


def _stays(state: StateDir, owner: Owner, error: Exception) -> None:
    """Tell of a dead run's realm that cannot be removed; alert once for as long as nobody has seen it."""
    line = f"realm {owner.realm} of run {owner.run_id}, which is dead, cannot be removed: {error}"
    _LOG.warning(line)
    try:
        known = {(alert.kind, alert.run_id, alert.app) for _, alert in open_alerts(state)}
        if (AlertKind.LEFT_BEHIND, owner.run_id, owner.realm) not in known:
            write_alert(
                state, Alert(AlertKind.LEFT_BEHIND, owner.realm, recovered=False, notes=line, run_id=owner.run_id)
            )
    except OSError as unwritten:
        _LOG.warning(f"the alert of it could not be written: {unwritten}")


@contextmanager
def _given_back_on_failure(keycloak: Keycloak, state: StateDir, lease: RealmLease) -> Iterator[None]:
    """An import may have been done although its answer was lost. If Keycloak is gone, the record stays for reap."""
    try:
        yield
    except BaseException:
        with suppress(InfrastructureFault):
            give_back(keycloak, state, lease)
        raise


def _reserve(keycloak: Keycloak, state: StateDir, owner: Owner, bound: int) -> None:
    if reserve(state, owner, bound=bound):
        return
    _reap(keycloak, state, load_owners(state))
    if not reserve(state, owner, bound=bound):
        raise too_many(load_owners(state), bound)


def _import(keycloak: Keycloak, state: StateDir, owner: Owner, body: Mapping[str, Any]) -> None:
    for _ in range(_TRIES):
        if keycloak.create_realm(body) or _is_ours(keycloak, owner):
            return
        _clear_the_way(keycloak, state, owner)
    raise KeycloakUnavailable(f"realm {owner.realm} could not be made: something of it exists again and again")


def _clear_the_way(keycloak: Keycloak, state: StateDir, ours: Owner) -> None:
    """Remove a dead run's realm that has our name or our people's ids (ids are unique across all realms)."""
    for other in owners(keycloak):
        if other.nonce == ours.nonce or (other.realm != ours.realm and other.domain != ours.domain):
            continue
        if other.lock == ours.lock:
            # We hold this lock, so whoever held it when that realm was made is gone.
            _delete(keycloak, state, other.realm, other.nonce)
        elif not _reap_one(keycloak, state, other):
            raise LockBusy(
                f"realm {ours.realm} collides with {other.realm}, which is in use",
                seen=f"run {other.run_id} on {other.host}, lock {other.lock}, since {other.since}",
            )
    if keycloak.realm(ours.realm) is not None and not _is_lease(keycloak, ours.realm):
        raise KeycloakUnavailable(
            f"Keycloak has a realm {ours.realm} that is no lease of ours",
            where=keycloak.url,
            advice="rename it or remove it by hand; realms of that name belong to this plugin",
        )


def _delete(keycloak: Keycloak, state: StateDir, realm: str, nonce: str) -> None:
    present = keycloak.realm(realm)
    if present is not None and owner_of(present).get("nonce") == nonce:
        keycloak.delete_realm(realm)
    forget(state, realm, nonce=nonce)


def _is_ours(keycloak: Keycloak, ours: Owner) -> bool:
    """Whether "already exists" was said of our own import, whose answer got lost."""
    present = keycloak.realm(ours.realm)
    return present is not None and owner_of(present).get("nonce") == ours.nonce


def _is_lease(keycloak: Keycloak, realm: str) -> bool:
    present = keycloak.realm(realm)
    return present is None or bool(owner_of(present))
