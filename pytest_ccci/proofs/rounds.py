"""Plays the rollback proof: on a copy of the known-good, with documents planted in it, by runs of the bad heads."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import CcciError, DataLost, StoreDamaged, Verdict
from pytest_ccci.locks import hold
from pytest_ccci.ops.demo import Expectation
from pytest_ccci.ops.run_pytest import ChildRun, run_pytest
from pytest_ccci.proofs.rollback import Evidence, Round, Seen, deck, digests, judge_round, readable
from pytest_ccci.recipe.spec import RecipeSpec
from pytest_ccci.redact import SECRETS
from pytest_ccci.results.model import RunResult
from pytest_ccci.run.canonicals import Planted, check_planted, plant_in_copy
from pytest_ccci.run.run_dir import now_text
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state, write_atomic
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.waiting import Stopwatch

__all__ = ["Proof", "Wanted", "scratch_settings", "scratch_state"]

_LOG = logging.getLogger(__name__)

_STATE = "state"
_SHARED = ("locks", "slots", "recipes", "runs", "leases", "infra", "images", "ca", "engines")


@dataclass(frozen=True)
class Wanted:
    """What is to be proved: which heads, how many rounds in which order, with how many documents."""

    heads: tuple[str, ...]
    rounds: int
    seed: int
    documents: int


@dataclass
class Proof:
    """One rollback proof of one recipe; its evidence is written anew after every round, into ``folder``."""

    spec: RecipeSpec
    settings: Settings
    state: StateDir
    engine: Engine
    folder: Path
    wanted: Wanted
    passed_on: Sequence[str]
    line: Callable[[str], None]
    coloured: bool
    rounds: list[Round] = field(default_factory=list)
    good_heads: list[str] = field(default_factory=list)
    planted: dict[str, bytes] = field(default_factory=dict)
    started: str = field(default_factory=now_text)
    watch: Stopwatch = field(default_factory=Stopwatch)

    def play(self) -> Evidence:
        """Plant, then let every bad head do its worst, in the order of the seed.

        Raises:
            StoreDamaged: there is no known-good that could be copied.
            CcciError: it does not come up before anything bad was tried.
        """
        self.folder.mkdir(parents=True, mode=0o700)
        original = CanonicalStore(self.state.canonical(self.spec.name), self.spec.name)
        record = original.record()
        if record is None or original.state().quarantined:
            raise StoreDamaged(
                "there is no known-good that could be copied",
                where=self.spec.name,
                seen=original.state().quarantined or "none was made yet",
                advice="pytest --cold --ccci-ref latest on the recipe's folder makes one, ccci reseed makes it anew",
            )
        before = original.fingerprint()
        with scratch_state(self.state, self.folder) as scratch:
            settings = scratch_settings(self.settings, scratch, host=self.engine.host, ref=record.commit)
            store = CanonicalStore(scratch.canonical(self.spec.name), self.spec.name)
            planted = plant_in_copy(self.spec, settings, original, documents=self.wanted.documents)
            self.planted = planted.kept
            found = self._evidence(store, original, before)
            for head in deck(self.wanted.heads, self.wanted.seed):
                if len(self.rounds) >= self.wanted.rounds or set(self.wanted.heads) <= set(self.good_heads):
                    break
                if head not in self.good_heads:
                    self._round(head, store, settings, planted)
                    found = self._evidence(store, original, before)
            return found

    def _round(self, head: str, store: CanonicalStore, settings: Settings, planted: Planted) -> None:
        number = len(self.rounds) + 1
        _LOG.info(f"round {number} of {self.wanted.rounds}: {head}")
        before = _seen(store, planted.kept if number == 1 else None, self.rounds)
        child = self._run(head, settings)
        if child.result.verdict == Verdict.PASS:
            _LOG.info(f"{head} is green: no proof of a rollback, and not tried again")
            self.good_heads.append(head)
            return
        lost, kept = "", {}
        try:
            kept = check_planted(self.spec, settings, planted)
        except CcciError as error:
            lost = str(error) if isinstance(error, DataLost) else f"nobody could look: {error}"
        after = _seen(store, kept, self.rounds)
        expectations = judge_round(child.result, before=before, after=after, lost=lost)
        played = _round_of(number, head, child.result, before=before, after=after, expectations=expectations)
        self.rounds.append(played)
        _LOG.info(f"round {number}: {'held' if played.held else 'NOT HELD'}")

    def _run(self, head: str, settings: Settings) -> ChildRun:
        scratch = StateDir(settings.state_dir)
        return run_pytest(
            scratch,
            self.spec.folder,
            ["--quick", "--ccci-ref", head, "-q"],
            settings=[*self.passed_on, f"--ccci-state-dir={scratch.root}"],
            coloured=self.coloured,
            line=self.line,
            env={"DOCKER_HOST": self.engine.host},
        )

    def _evidence(self, store: CanonicalStore, original: CanonicalStore, before: str) -> Evidence:
        record, facts = store.record(), self.engine.facts
        found = Evidence(
            recipe=self.spec.name,
            started=self.started,
            seed=self.wanted.seed,
            release=record.release if record else "",
            commit=record.commit if record else "",
            backend=store.backend.name,
            planted={
                name: {"sha256": digest, "size": len(self.planted[name])}
                for name, digest in digests(self.planted).items()
            },
            original=(before, original.fingerprint()),
            heads=self.wanted.heads,
            good_heads=tuple(self.good_heads),
            rounds=tuple(self.rounds),
            wanted=self.wanted.rounds,
            seconds=round(self.watch.seconds, 1),
            engine={"version": facts.version, "storage": facts.storage},
        )
        text = json.dumps(SECRETS.scrub_all(found.as_json()), indent=1, ensure_ascii=False)
        write_atomic(self.folder / "rollback.json", f"{text}\n".encode())
        write_atomic(self.folder / "rollback.txt", SECRETS.scrub(readable(found)).encode())
        return found


def _seen(store: CanonicalStore, kept: dict[str, bytes] | None, rounds: Sequence[Round]) -> Seen:
    """The data as they were looked at (before a round: as after the last one), and the known-good, read now."""
    documents = digests(kept) if kept is not None else rounds[-1].after.documents
    record = hashlib.sha256(store.layout.record.read_bytes()).hexdigest()
    return Seen(documents, record, store.fingerprint(), len(store.verify(read_data=True)))


def _round_of(
    number: int, head: str, result: RunResult, *, before: Seen, after: Seen, expectations: tuple[Expectation, ...]
) -> Round:
    red = next((tier for tier in result.tiers if tier.verdict not in {Verdict.PASS, Verdict.SKIP}), None)
    settle = next((tier for tier in result.tiers if tier.tier == "settle"), None)
    return Round(
        number=number,
        head=head,
        commit=result.head.commit if result.head else "",
        run_id=result.run_id,
        verdict=str(result.verdict),
        tier=red.tier if red else "none",
        reason=red.reason.partition("\n")[0] if red else "",
        known_good=result.known_good.action,
        proved=settle.facts.get("proved", "") if settle else "",
        seconds=result.seconds,
        before=before,
        after=after,
        expectations=expectations,
    )


@contextmanager
def scratch_state(state: StateDir, folder: Path) -> Iterator[StateDir]:
    """A state directory in ``folder`` that is gone at the end. Only canonicals and alerts are its own.

    Locks are the real ones, so that what works here and what works there never meets on one app. There is one at a
    time: any other that is found was left by somebody who was killed, and goes.

    Raises:
        LockBusy: somebody has one.
    """
    root = folder / _STATE
    with hold(state.locks / "proofs.lock", wait=0, owner={"doing": "a proof"}):
        for left in state.proofs.glob(f"*/{_STATE}"):
            shutil.rmtree(left)
        root.mkdir(parents=True, mode=0o700)
        try:
            for name in _SHARED:
                (state.root / name).mkdir(exist_ok=True, mode=0o700)
                (root / name).symlink_to(state.root / name)
            yield open_state(root)
        finally:
            shutil.rmtree(root)


def scratch_settings(settings: Settings, scratch: StateDir, *, host: str, ref: str) -> Settings:
    """The settings of a quick run of ``ref`` there, on the engine at ``host``."""
    environment = {**settings.environment, "DOCKER_HOST": host}
    return settings._replace(state_dir=scratch.root, mode="quick", ref=ref, environment=environment)
