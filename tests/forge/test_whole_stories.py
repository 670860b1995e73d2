"""A person's comment on a real forge, the service as it is started, and real runs on a real engine.

What every other story here plays with scripted runs, once as it is: skipped where no engine is ready.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from page import TOML, write_page
from realforge import BOT, ORG, SECRET, TEAM, Forge, Pull
from realruns import assert_nothing_is_left, own_name
from talkative import GIVEN, HEALTHY, UNHEALTHY, planted, spy, talkative, told

from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import CcciError
from pytest_ccci.ops.status import inspect_situation
from pytest_ccci.ops.trigger.store import CommandRecord, Commands
from pytest_ccci.results.write import load_result
from pytest_ccci.settings import resolve
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Deadline, until

SCOPES = ("write:issue", "write:repository", "read:organization")
LINK = "https://ci.example.org/runs"
LONGEST = 300.0
TESTS = """\
def test_the_sentinel_is_served(app):
    assert app.http.get(f"{app.url}/ccci.txt").status_code == 200

def test_it_says_what_it_has(app):
    print("it has", app.exec("app", ["cat", "/run/secrets/db_password"]).stdout)
"""


@pytest.fixture(scope="session", autouse=True)
def _engine_is_ready() -> None:
    """Nothing is started for these: what ``ccci setup`` makes is there, or they are skipped; with CI set they fail."""
    unready = pytest.fail if os.environ.get("CI") else pytest.skip
    try:
        infra = inspect_situation(resolve({}, {}, os.environ)).infra
    except CcciError as error:
        unready(f"no engine is ready: {error}")
    bad = [f"{row.name} is {row.state} {row.problem}".strip() for row in infra if row.state != "healthy"]
    if bad:
        unready(f"no engine is ready (ccci setup makes it so): {', '.join(bad)}")


@dataclass
class Child:
    """What can be seen of the processes that the service started, from outside: environments and command lines."""

    seen: dict[str, str] = field(default_factory=dict)

    def look(self, parent: int) -> None:
        """Look at all that is below ``parent`` now."""
        below = {parent}
        for _ in range(8):
            below |= {pid for pid, above in _parents().items() if above in below}
        for pid in below - {parent}:
            for name in ("environ", "cmdline"):
                try:
                    text = Path(f"/proc/{pid}/{name}").read_bytes().decode("utf-8", "replace")
                except OSError:  # it has ended
                    continue
                self.seen[f"{name} of {pid}: {len(text)} bytes"] = text


def _parents() -> Mapping[int, int]:
    """Each process's parent."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(path.parent.name)] = int(path.read_text("utf-8", "replace").rpartition(")")[2].split()[1])
        except OSError:
            continue
    return found


@dataclass
class Service:
    """``ccci trigger serve`` as a user starts it, for one recipe whose repository is on the forge."""

    forge: Forge
    state: StateDir
    recipe: Path
    work: Path
    token: str
    child: Child = field(default_factory=Child)
    process: subprocess.Popen[bytes] | None = None

    @property
    def repository(self) -> str:
        return f"{ORG}/{self.recipe.name}"

    @property
    def log(self) -> Path:
        return self.work / "serve.log"

    def start(self) -> None:
        """Serve; token and secret are where systemd would put them, and the environment says where."""
        place = self.work / "credentials"
        place.mkdir(mode=0o700)
        (place / "token").write_text(f"{self.token}\n", "utf-8")
        (place / "secret").write_text(f"{SECRET}\n", "utf-8")
        told_by_environment = {
            "CCCI_FORGE": self.forge.url,
            "CCCI_FORGE_TEAM": f"{ORG}/{TEAM}",
            "CCCI_FORGE_BOT": BOT,
            "CCCI_FORGE_RECIPES": str(self.recipe.parent),
            "CCCI_FORGE_TOKEN_FILE": str(place / "token"),
            "CCCI_FORGE_SECRET_FILE": str(place / "secret"),
            "CCCI_FORGE_LISTEN": "127.0.0.1:0",
            "CCCI_FORGE_LINK": LINK,
            "CREDENTIALS_DIRECTORY": str(place),
        }
        entry = "import sys; from pytest_ccci.cli import main; sys.exit(main())"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", entry, "trigger", "serve"],
                cwd=self.work,
                env={**os.environ, **told_by_environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        port = until(self._port, deadline=Deadline(60), what="the service to take webhooks", seen=self._said)
        self.forge.hook(self.repository, f"http://127.0.0.1:{port}/")

    def _port(self) -> str:
        found = re.search(r"taking webhooks at 127\.0\.0\.1:(\d+)", self._said())
        return found[1] if found else ""

    def _said(self) -> str:
        return self.log.read_text("utf-8", "replace")[-4000:]

    def stop(self) -> int:
        """Ask it to stop: its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(240)

    def ended(self, comment: int) -> CommandRecord:
        """The command of a comment when its run is over and the forge was told, its processes watched meanwhile."""
        assert self.process is not None
        pid = self.process.pid

        def over() -> CommandRecord | None:
            self.child.look(pid)
            known = Commands(self.state).all()
            found = next((one for one in known if one.facts.comment_id == comment), None)
            return found if found is not None and found.state == "ended" and not found.owes else None

        return until(over, deadline=Deadline(LONGEST), what="the run to end", every=0.1, seen=self._said)


@pytest.fixture
def service(forge: Forge, warm_state: StateDir, tmp_path: Path) -> Iterator[Service]:
    """It serves; the recipe has two releases on the forge, and an app that tells its secrets wherever it can."""
    recipe = tmp_path / "recipes" / own_name()
    write_page(recipe, tests=TESTS, compose=talkative("db_password", "token"))
    forge.repository(recipe.name)
    clone = forge.clone(f"{ORG}/{recipe.name}", tmp_path / "clone")
    for folder, tag in (("1-1.0.0+1.22", "1.0.0+1.22"), ("2-1.1.0+1.22", "1.1.0+1.22")):
        for path in (recipe / "releases" / folder).iterdir():
            (clone.place / path.name).write_text(path.read_text("utf-8"), "utf-8")
        clone.git("add", "--all")
        clone.git("commit", "-q", "-m", tag)
        clone.git("tag", "-m", tag, tag)
    assert clone.push("HEAD:main", "--tags")
    toml = TOML.replace("canonical = true\n", "").replace(
        'bundled = "releases"', f'git = "{forge.url}/{ORG}/{recipe.name}.git"'
    )
    (recipe / "recipe.toml").write_text(f"{toml}[secrets]\ntoken = '{GIVEN}'\n", "utf-8")
    (recipe / "conftest.py").write_text(spy(tmp_path / "seen"), "utf-8")
    warm_state.commands.mkdir(parents=True, exist_ok=True)
    found = Service(forge, warm_state, recipe, tmp_path, forge.person(BOT).with_scopes(*SCOPES).token)
    found.start()
    yield found
    if found.process is not None and found.process.poll() is None:
        assert found.stop() == 0


def proposed(service: Service, before: str, after: str) -> Pull:
    """A stranger's pull request from a fork that changes ``compose.yml`` so."""
    forge, mallory = service.forge, service.forge.person("mallory")
    fork = forge.fork(service.repository, mallory)
    clone = forge.clone(fork, service.work / "fork", mallory)
    clone.git("checkout", "-q", "-b", "change")
    compose = clone.place / "compose.yml"
    text = compose.read_text("utf-8")
    assert before in text
    compose.write_text(text.replace(before, after), "utf-8")
    clone.git("commit", "-q", "-a", "-m", "change")
    head = clone.git("rev-parse", "HEAD").stdout.strip()
    assert clone.push("change")
    wanted = {"head": f"{mallory.name}:change", "base": "main", "title": "change"}
    number = mallory.post(f"repos/{service.repository}/pulls", wanted)["number"]
    return Pull(forge, service.repository, number, "change", fork, head)


def everything(service: Service, pull: Pull, statuses: list[dict[str, Any]]) -> dict[str, str]:
    """All that was written, said and given to processes, by where it is."""
    files = [path for path in service.state.root.rglob("*") if path.is_file()] + [service.log]
    found = {str(path): path.read_bytes().decode("utf-8", "replace") for path in files}
    found |= {f"comment {one['id']}": str(one["body"]) for one in pull.comments()}
    return {**found, **service.child.seen, "statuses": str(statuses)}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("before", "after", "verdict", "state", "words"),
    [
        pytest.param('RELEASE: "1.1.0+1.22"', 'RELEASE: "proposed"', "pass", "success", "", id="green"),
        pytest.param(HEALTHY, UNHEALTHY, "fail", "failure", "no login with [secret]", id="red"),
    ],
)
def test_from_a_comment_to_the_verdict_of_a_real_run(
    service: Service, engine: Engine, before: str, after: str, verdict: str, state: str, words: str
) -> None:
    pull = proposed(service, before, after)
    record = service.ended(pull.comment("!testme", service.forge.person("ada")))
    result = load_result(service.state.run(record.run_id) / "results.json")
    assert (record.verdict, str(result.verdict), result.mode) == (verdict, verdict, "cold")
    assert result.head is not None
    assert result.head.commit == pull.head
    assert all(tier.verdict == "pass" for tier in result.tiers) == (verdict == "pass")

    (answer,) = [str(one["body"]) for one in pull.comments() if one["user"]["login"] == BOT]
    assert f"**{verdict}**: cold run of" in answer
    assert f"[log]({LINK}/{record.run_id}/)" in answer
    statuses = service.forge.boss.get(f"repos/{pull.repository}/commits/{pull.head}/statuses", limit=50)
    told_in_turn = [(one["context"], one["status"]) for one in sorted(statuses, key=lambda one: one["id"])]
    assert told_in_turn[-1] == ("ccci/cold", state)
    assert set(told_in_turn[:-1]) == {("ccci/cold", "pending")}
    last = max(statuses, key=lambda one: one["id"])
    assert last["target_url"] == f"{LINK}/{record.run_id}/"
    if words:
        reason = next(tier.reason for tier in result.tiers if tier.verdict == "fail")
        first = reason.partition("\n")[0]
        assert first[:80].replace("`", "'") in answer
        assert first[:80] in last["description"]
        assert words in reason
    page = (service.state.run(record.run_id) / "index.html").read_text("utf-8")
    assert record.run_id in page
    assert verdict in page

    assert service.stop() == 0
    secrets = planted(service.work / "seen")
    assert GIVEN in secrets
    assert len(set(secrets)) > 1
    places = everything(service, pull, statuses)
    assert any("--ccci-promote=false" in text for place, text in places.items() if place.startswith("cmdline"))
    forbidden = [service.token, SECRET, *secrets]
    assert {place: found for place, text in places.items() if (found := told(text, forbidden))} == {}
    environments = [text for place, text in places.items() if place.startswith("environ of ")]
    assert not any("CCCI_FORGE" in text or "CREDENTIALS_DIRECTORY" in text for text in environments)
    assert any("CCCI_STATE_DIR" in text for text in environments)
    assert_nothing_is_left(engine, service.state, service.recipe.name)
