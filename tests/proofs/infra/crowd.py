"""Many processes that lease realms at the same moment, round after round: how long each takes, and what is left."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pytest_ccci import process
from pytest_ccci.engine.deploy import undeploy
from pytest_ccci.errors import CcciError
from pytest_ccci.recipe.names import stack_name
from pytest_ccci.settings import Settings, resolve
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Deadline, Stopwatch, until
from pytest_ccci.warm import realms
from pytest_ccci.warm.health import wait_healthy
from pytest_ccci.warm.infra_recipe import elsewhere, head_of, last_good, open_infra, roll_out
from pytest_ccci.warm.keycloak import Keycloak, open_keycloak
from pytest_ccci.warm.realms import load_owners
from pytest_ccci.warm.zone import Site
from pytest_ccci.web import Route

__all__ = ["Crowd", "cold_start", "lease_in_rounds", "run_crowd"]

_CHECKOUT = Path(__file__).parents[3]
_IMPORTED_FROM = [str(_CHECKOUT), str(_CHECKOUT / "tests" / "support")]

_RECIPE = "crowd"
_START = 180.0
_ROUND = 300.0
_SOLO = 10


@dataclass(frozen=True)
class Crowd:
    """Seconds: of one lease alone, of each lease in the crowd, of a whole round until the last had its lease."""

    solo: tuple[float, ...]
    leases: tuple[float, ...]
    back: tuple[float, ...]
    rounds: tuple[float, ...]
    errors: tuple[str, ...]
    left: tuple[str, ...]
    most: int

    @staticmethod
    def p(values: Sequence[float], share: int) -> float:
        """The ``share``-th percentile."""
        ordered = sorted(values)
        return ordered[min(len(ordered) - 1, len(ordered) * share // 100)] if ordered else 0.0

    def lines(self, cold: float) -> list[str]:
        """For people; ``cold`` is what a Keycloak takes that is started cold."""
        solo = statistics.median(self.solo) if self.solo else 0.0
        return [
            f"one lease alone: p50 {solo:.2f} s, p95 {self.p(self.solo, 95):.2f} s",
            f"a cold Keycloak: {cold:.1f} s; ratio of one lease to it: 1/{cold / solo:.0f}" if solo and cold else "",
            f"in the crowd: p50 {self.p(self.leases, 50):.2f} s, p95 {self.p(self.leases, 95):.2f} s per lease",
            f"all at once: p50 {self.p(self.rounds, 50):.2f} s, worst {max(self.rounds, default=0):.2f} s per round",
            f"given back: p50 {self.p(self.back, 50):.2f} s, p95 {self.p(self.back, 95):.2f} s",
            f"errors: {len(self.errors)}, left over: {len(self.left)}, most realms at once: {self.most}",
        ]


def run_crowd(site: Site, settings: Settings, *, size: int, rounds: int) -> Crowd:
    """Let ``size`` processes lease at once, ``rounds`` times."""
    keycloak = open_keycloak(site)
    solo = tuple(_one(keycloak, site.state, site.zone.name, f"solo-{at}")[0] for at in range(_SOLO))
    with tempfile.TemporaryDirectory(prefix="ccci-crowd-") as folder:
        place = Path(folder)
        told = _told(site, keycloak, place, rounds)
        env = {**settings.environment, "CCCI_CROWD_PASSWORD": keycloak.password}
        pids = [_start({**told, "number": number}, place / f"{number}.log", env) for number in range(size)]
        try:
            took, most = _conduct(place, site.state, size, rounds)
        finally:
            for pid in pids:
                process.terminate(pid, force=True)
        rows = [json.loads(line) for path in sorted(place.glob("*.rows")) for line in path.read_text().splitlines()]
    left = {owner.realm for owner in (*realms.owners(keycloak), *load_owners(site.state)) if _RECIPE in owner.realm}
    return Crowd(
        solo=solo,
        leases=tuple(row["lease"] for row in rows if not row["error"]),
        back=tuple(row["back"] for row in rows if not row["error"]),
        rounds=took,
        errors=tuple(row["error"] for row in rows if row["error"]),
        left=tuple(sorted(left)),
        most=most,
    )


def cold_start(site: Site) -> float:
    """Seconds until a Keycloak and its database, nothing there before, serve over their route; removed again."""
    domain = site.zone.domain("cold-start")
    recipe = open_infra(site, "keycloak")
    head = head_of(recipe, last_good(site.state, "keycloak")) or recipe.mirror.resolve("latest")
    watch = Stopwatch()
    try:
        roll_out(site, elsewhere(recipe, domain), head)
        wait_healthy(site, "keycloak", domain=domain, deadline=Deadline(site.timeout))
        return watch.seconds
    finally:
        undeploy(site.engine, stack_name(domain), volumes=True, deadline=Deadline(120))


def lease_in_rounds(words: Sequence[str]) -> None:
    """What each process of the crowd does; it is told by JSON, and told to go by a file per round."""
    told: dict[str, Any] = json.loads(words[0])
    place, number = Path(told["place"]), int(told["number"])
    settings = resolve({"state_dir": told["state"]}, {})
    route = Route(zone=told["zone"], address=told["address"], ca_file=Path(told["ca"]) if told["ca"] else None)
    keycloak = Keycloak(told["url"], route=route, password=settings.environment["CCCI_CROWD_PASSWORD"])
    state = StateDir(settings.state_dir)
    with suppress(CcciError):
        keycloak.version()
    with (place / f"{number}.rows").open("a", encoding="utf-8") as rows:
        for turn in range(int(told["rounds"])):
            (place / f"ready-{turn}-{number}").touch()
            until((place / f"go-{turn}").exists, deadline=Deadline(_ROUND), what="the round to begin", every=0.002)
            row = _row(keycloak, state, told["zone"], f"{turn}-{number}", partial(_keep, place, turn, number))
            rows.write(json.dumps(row) + "\n")
            rows.flush()
            (place / f"done-{turn}-{number}").touch()


def _keep(place: Path, turn: int, number: int) -> None:
    """Keep the lease until all have theirs, as runs do, which are minutes long."""
    (place / f"leased-{turn}-{number}").touch()
    until((place / f"back-{turn}").exists, deadline=Deadline(_ROUND), what="the others to lease", every=0.02)


def _row(keycloak: Keycloak, state: StateDir, zone: str, ident: str, keep: Callable[[], None]) -> dict[str, object]:
    try:
        lease, back = _one(keycloak, state, zone, ident, keep)
    except (CcciError, OSError) as error:
        return {"lease": 0.0, "back": 0.0, "error": f"{ident}: {error}"}
    return {"lease": lease, "back": back, "error": ""}


def _one(
    keycloak: Keycloak, state: StateDir, zone: str, ident: str, keep: Callable[[], None] = lambda: None
) -> tuple[float, float]:
    """Lease a realm and give it back; the seconds of both. ``keep`` is called in between."""
    watch = Stopwatch()
    with realms.leased(
        keycloak, state, recipe=_RECIPE, run_id=ident, domain=f"crowd-{ident}.{zone}", zone=zone, doing="crowd"
    ):
        taken = watch.seconds
        keep()
        watch = Stopwatch()
    return taken, watch.seconds


def _told(site: Site, keycloak: Keycloak, place: Path, rounds: int) -> dict[str, object]:
    return {
        "place": str(place),
        "rounds": rounds,
        "state": str(site.state.root),
        "zone": site.zone.name,
        "url": keycloak.url,
        "address": site.zone.address,
        "ca": str(site.zone.ca_file or ""),
    }


def _start(told: Mapping[str, object], log: Path, env: Mapping[str, str]) -> int:
    where = f"import sys; sys.path[:0] = {_IMPORTED_FROM!r}"
    code = f"{where}; from tests.proofs.infra.crowd import lease_in_rounds as go; go(sys.argv[1:])"
    return process.spawn([sys.executable, "-c", code, json.dumps(told)], log=log, env=env)


def _conduct(place: Path, state: StateDir, size: int, rounds: int) -> tuple[tuple[float, ...], int]:
    """Begin each round when all are ready for it; seconds until all had leased, and the most leases at once."""
    took, most = [], 0
    for turn in range(rounds):
        _all(place, f"ready-{turn}-*", size, _START)
        watch = Stopwatch()
        (place / f"go-{turn}").touch()

        def leased(turn: int = turn) -> bool:
            return _count(place, f"leased-{turn}-*") + _failed(place, turn) >= size

        until(leased, deadline=Deadline(_ROUND), what="the crowd to have its leases", every=0.02)
        took.append(watch.seconds)
        most = max(most, len(load_owners(state)))
        (place / f"back-{turn}").touch()
        _all(place, f"done-{turn}-*", size, _ROUND)
    return tuple(took), most


def _failed(place: Path, turn: int) -> int:
    """How many ended the round without a lease."""
    done = {path.name.rpartition("-")[2] for path in place.glob(f"done-{turn}-*")}
    return len(done - {path.name.rpartition("-")[2] for path in place.glob(f"leased-{turn}-*")})


def _count(place: Path, pattern: str) -> int:
    return sum(1 for _ in place.glob(pattern))


def _all(place: Path, pattern: str, size: int, seconds: float) -> None:
    def seen() -> str:
        logs = [path.read_text()[-300:] for path in place.glob("*.log")]
        return next((log for log in logs if log), "")

    until(lambda: _count(place, pattern) >= size, deadline=Deadline(seconds), what=f"{size} {pattern}", seen=seen)
