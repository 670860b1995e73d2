"""Runs of the real thing as a user starts them, for integration tests and proofs."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from page import write_page

from pytest_ccci import process
from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import Verdict
from pytest_ccci.locks import is_held, who
from pytest_ccci.results.model import RunResult, TierResult
from pytest_ccci.results.verdict import recompute
from pytest_ccci.run.host import Machine
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore

__all__ = [
    "CHECKOUT",
    "Outcome",
    "Pytest",
    "assert_went_back",
    "ccci",
    "command",
    "journal",
    "needs_keycloak",
    "of_stack",
    "own_name",
    "realms_of",
    "why_the_upgrade_is_red",
    "write_page_recipe",
]

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """How a pytest that was started as a user starts it ended."""

    rc: int
    out: str
    results: tuple[RunResult, ...]

    @property
    def result(self) -> RunResult:
        """The result of the only run, whose facts bear its verdict."""
        assert len(self.results) == 1, self.out
        assert recompute(self.results[0])[0] == self.results[0].verdict, recompute(self.results[0])
        return self.results[0]

    def tier(self, name: str) -> TierResult:
        """One tier of the only run."""
        return next(tier for tier in self.result.tiers if tier.tier == name)


Pytest = Callable[..., Outcome]


_NOT_A_USERS = ("cacheprovider", "randomly", "anyio", "hypothesispytest", "pytest_httpserver")
"""Plugins that our own environment brings; a user's has none of them, and importing them takes some seconds."""


def command(*args: str | Path) -> list[str]:
    """The command line of such a pytest."""
    options = [f"-pno:{name}" for name in _NOT_A_USERS]
    return [sys.executable, "-m", "pytest", *options, *(str(arg) for arg in args)]


def ccci(*words: str | Path, timeout: float = 900) -> process.Finished:
    """The command as a user starts it; what it said is shown when the test fails."""
    entry = "import sys; from pytest_ccci.cli import main; sys.exit(main())"
    done = process.run([sys.executable, "-c", entry, *map(str, words)], timeout=timeout, check=False)
    print(done.stdout[-12000:], done.stderr[-3000:])  # noqa: T201  pytest shows it when the test fails
    return done


PAGE_TEST = """\
def test_the_sentinel_is_served(app):
    assert app.http.get(f"{app.url}/ccci.txt").status_code == 200
"""


SIGNED_IN = """
def ccci_seed(app, realm):
    return {"issuer": realm.issuer}

def ccci_check(app, realm, seeded):
    assert app.http.get(realm.discovery).json()["issuer"] == seeded["issuer"]
"""


def needs_keycloak(recipe: Path) -> Path:
    """The page recipe with a realm of its own, and a sentinel that asks Keycloak."""
    toml = recipe / "recipe.toml"
    needs = '[needs.keycloak]\nredirect_paths = ["/callback"]\n[[sentinel]]\nkind = "python"\n'
    toml.write_text(toml.read_text("utf-8") + needs, "utf-8")
    (recipe / "conftest.py").write_text(SIGNED_IN, "utf-8")
    return recipe


def own_name() -> str:
    """A recipe's name whose first four letters, with which the domains of its runs begin, no other test's has."""
    return f"p{secrets.token_hex(2)[:3]}-page"


def write_page_recipe(folder: Path) -> Path:
    """A small recipe, enrolled: two releases of a page server, and a tip ahead of them."""
    return write_page(folder, tests=PAGE_TEST)


def of_stack(engine: Engine, prefix: str) -> list[str]:
    """Everything on the engine whose name begins with ``prefix``: services, containers, networks, volumes, …"""
    api = engine.client.api
    names = [row["Spec"]["Name"] for rows in (api.services(), api.secrets(), api.configs()) for row in rows]
    names += [row["Name"] for row in (*api.networks(), *(api.volumes()["Volumes"] or ()))]
    names += [row["Names"][0].lstrip("/") for row in api.containers(all=True)]
    return sorted(name for name in names if name.startswith(prefix))


def realms_of(machine: Machine, recipe: str) -> list[str]:
    """The realms on the warm Keycloak that a run of ``recipe`` may have left."""
    names = [str(realm["realm"]) for realm in machine.keycloak().realms()]
    return sorted(name for name in names if name.startswith((f"{recipe}-", f"warm-{recipe}")))


def held_locks(state: StateDir) -> dict[str, str]:
    """The locks in ``state`` that somebody holds, and what their holders say of themselves."""
    return {path.name: json.dumps(who(path)) for path in sorted(state.locks.glob("*.lock")) if is_held(path)}


def assert_nothing_is_left(engine: Engine, state: StateDir, recipe: str) -> None:
    """No app, canonical, realm or lock of ``recipe`` is left, nor a lock of anybody else's."""
    assert of_stack(engine, recipe[:4]) == []
    assert of_stack(engine, f"warm-{recipe}") == []
    assert list(state.leases.iterdir()) == []
    assert held_locks(state) == {}


def journal(state: StateDir, run_id: str) -> list[dict[str, Any]]:
    """The journal of a run."""
    rows = (state.run(run_id) / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(row) for row in rows]


def why_the_upgrade_is_red(done: Outcome) -> str:
    """Why the upgrade of a run is red, where nothing before it is."""
    assert done.rc == 1
    assert done.result.verdict == Verdict.FAIL
    assert done.tier("install").verdict == Verdict.PASS
    assert done.tier("upgrade").verdict == Verdict.FAIL
    return done.tier("upgrade").reason


def assert_went_back(done: Outcome, store: CanonicalStore, known_good: str) -> None:
    """The known-good is as it was, and its sentinels hold where it was deployed again."""
    assert done.result.known_good.action == "restored-and-proved"
    assert "sentinels there" in done.tier("settle").facts["proved"]
    assert store.fingerprint() == known_good
    assert not store.state().quarantined
