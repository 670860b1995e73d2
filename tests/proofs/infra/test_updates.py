"""Updates of the real Traefik and Keycloak: what goes well stays, what goes wrong is put back and told.

A sample of the scenes is played, and all of them with ``CCCI_INFRA_PROOFS=full``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.errors import DataLost
from pytest_ccci.warm import infra
from pytest_ccci.warm.update import Step
from tests.proofs.infra import scenes
from tests.proofs.infra.ground import Ground
from tests.proofs.infra.scenes import SCENES, play
from tests.proofs.infra.shown import Shown
from tests.proofs.infra.sized import crowded, killed
from tests.proofs.infra.trials import POINTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

Told = Callable[[Shown], None]
FULL = os.environ.get("CCCI_INFRA_PROOFS", "") == "full"
NOBODY: Any = SimpleNamespace()
PLAYED = tuple(SCENES) if FULL else ("traefik", "held")
KILLED_AT = POINTS if FULL else (("keycloak", Step.DEPLOY), ("traefik", Step.DEPLOY), ("keycloak", Step.PROVED))


@pytest.mark.parametrize("name", PLAYED)
def test_a_scene_holds(ground: Ground, told: Told, name: str) -> None:
    told(play(ground, name))


def test_a_reconcile_that_is_killed_is_finished_or_undone(ground: Ground, told: Told) -> None:
    told(killed(ground, 40 if FULL else len(KILLED_AT), points=KILLED_AT))


def test_a_killed_update_that_nobody_recovers_is_noticed(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infra, "recover", lambda *_: "")

    shown = killed(ground, 1, points=[("traefik", Step.PROVE)])

    assert not shown.held
    assert "the journal still has something to do" in shown.claims[0].seen


def test_a_crowd_leases_without_an_error(ground: Ground, told: Told) -> None:
    told(crowded(ground, size=32 if FULL else 8, rounds=10 if FULL else 1, cold=FULL))


def test_a_scene_that_claims_nothing_holds_nothing() -> None:
    assert not Shown("empty").held


def test_one_broken_claim_breaks_its_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_ground: Ground, shown: Shown) -> None:
        shown.claim("fine", held=True)
        shown.claim("broken", held=False, seen="what was seen")

    monkeypatch.setitem(scenes.SCENES, "planted", broken)

    assert not play(NOBODY, "planted").held


def test_a_scene_that_raises_is_broken_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(_ground: Ground, shown: Shown) -> None:
        shown.claim("fine", held=True)
        raise DataLost("the person is gone")

    monkeypatch.setitem(scenes.SCENES, "planted", raising)

    shown = play(NOBODY, "planted")

    assert not shown.held
    assert "the person is gone" in shown.claims[-1].seen
