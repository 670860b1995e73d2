"""The ground that the proofs of infra updates play on, once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pytest_ccci.settings import resolve
from pytest_ccci.statedir import open_state
from tests.proofs.infra.ground import Ground, open_ground
from tests.proofs.infra.shown import Shown


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Traefik and Keycloak of the proofs' own, beside the user's; gone, and its lock let go, before others' tests."""
    settings = resolve({}, {})
    with open_ground(settings, open_state(settings.state_dir)) as ground:
        yield ground


@pytest.fixture
def told() -> Callable[[Shown], None]:
    """Print what was seen, and see that all of it holds."""

    def show(shown: Shown) -> None:
        for line in shown.numbers:
            print(f"{shown.name}: {line}")  # noqa: T201  pytest shows it
        assert shown.claims
        assert [f"{claim.what}: {claim.seen}" for claim in shown.claims if not claim.held] == []

    return show
