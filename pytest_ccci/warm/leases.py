"""The record of each realm lease in the state directory: what is owned stays known when Keycloak forgets or is gone.

The number of records bounds the number of realms: Keycloak slows from some hundreds on.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pytest_ccci import locks
from pytest_ccci.errors import KeycloakUnavailable
from pytest_ccci.statedir import StateDir, write_atomic

__all__ = ["Owner", "forget", "here", "read_owners", "reserve"]

_LOCK_WAIT = 60.0


@dataclass(frozen=True)
class Owner:
    """Whose a realm is. ``lock`` is the file its run holds for its whole life, on machine ``host``."""

    realm: str
    run_id: str
    lock: str
    host: str
    domain: str
    nonce: str
    since: str

    @classmethod
    def parse(cls, facts: dict[str, str]) -> Owner | None:
        """An owner from what was written down; ``None`` if something of it is missing."""
        try:
            return cls(**{name: str(facts[name]) for name in cls.__dataclass_fields__})
        except KeyError:
            return None

    @classmethod
    def now(cls, realm: str, *, run_id: str, lock: Path, domain: str, nonce: str) -> Owner:
        """The owner of a realm that is leased now, on this machine."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(realm, run_id, str(lock), here(), domain, nonce, since)

    def facts(self) -> dict[str, str]:
        """As plain text fields."""
        return {name: str(value) for name, value in asdict(self).items()}


def here() -> str:
    """This machine's name, to tell our locks from those of other machines on the same Keycloak."""
    return socket.gethostname()


def reserve(state: StateDir, owner: Owner, *, bound: int) -> bool:
    """Record a lease before the realm exists; ``False`` when there are ``bound`` others already.

    One record per realm name: a new lease of a kept realm takes its predecessor's place.
    """
    with locks.hold(state.locks / "leases.lock", wait=_LOCK_WAIT, owner={"run": owner.run_id}):
        others = [path for path in _files(state) if path.stem != owner.realm]
        if len(others) >= bound:
            return False
        write_atomic(_file(state, owner.realm), json.dumps(owner.facts(), indent=1).encode())
        return True


def forget(state: StateDir, realm: str, *, nonce: str) -> None:
    """Remove the record of that very lease; a successor's record stays."""
    with locks.hold(state.locks / "leases.lock", wait=_LOCK_WAIT, owner={"for": realm}):
        kept = _read(_file(state, realm))
        if kept is None or kept.nonce == nonce:
            _file(state, realm).unlink(missing_ok=True)


def read_owners(state: StateDir) -> tuple[Owner, ...]:
    """All recorded leases, by realm name."""
    found = (_read(path) for path in _files(state))
    return tuple(owner for owner in found if owner is not None)


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
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Owner.parse(facts) if isinstance(facts, dict) else None
