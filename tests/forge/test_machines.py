"""Two machines: runners with room for one job each, state directories of their own. Their runs take locks and sleep."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from goprograms import RUNNER, built
from page import write_page
from realforge import Forge

from pytest_ccci import process
from pytest_ccci.cli import main
from pytest_ccci.ops.dispatch import ForgeActions, Receipt, Request
from pytest_ccci.ops.status import inspect_situation
from pytest_ccci.ops.trigger.bot import Bot
from pytest_ccci.run.run_dir import new_run_id
from pytest_ccci.settings import resolve
from pytest_ccci.waiting import Deadline, until

WORKFLOW = Path(__file__).parents[2] / "docs" / "ci" / "dispatch.yml"
CONFIG = """\
log: {{level: info}}
runner: {{file: {root}/.runner, capacity: 1, fetch_interval: 1s, fetch_timeout: 5s}}
cache: {{enabled: false}}
host: {{workdir_parent: {root}/work}}
"""
PLAYER = """\
import os, sys, time
from pathlib import Path
from pytest_ccci.recipe.spec import load_spec
from pytest_ccci.run.prepare import open_context
from pytest_ccci.settings import resolve
spec = load_spec(Path(sys.argv[1]))
context = open_context(spec, resolve({}, {}, os.environ))
context.take_slot()
context.lock_app(f"warm-{spec.name}.ci.test")
began = time.time()
time.sleep(float(os.environ["LONG"]))
with Path(os.environ["RECORD"]).open("a") as sink:
    sink.write(f"{os.environ['CCCI_RUN_ID']} {spec.name} {began} {time.time()}\\n")
context.holds.close()
"""


@dataclass
class Machine:
    """A runner."""

    forge: Forge
    name: str
    root: Path
    child: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        program, config = built(RUNNER).program, self.root / "config.yaml"
        if not self.root.exists():
            self.root.mkdir()
            config.write_text(CONFIG.format(root=self.root), encoding="utf-8")
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            told = {"RECORD": str(self.root / "record"), "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "LONG": "3"}
            self.environment = {
                **told,
                "PATH": path,
                "HOME": str(self.root),
                "CCCI_STATE_DIR": str(self.root / "state"),
            }
            token = self.forge.boss.post("admin/actions/runners/registration-token")["token"]
            words = (
                "--instance",
                self.forge.url,
                "--token",
                token,
                "--name",
                self.name,
                "--labels",
                f"{self.name}:host",
            )
            argv = [program, "--config", config, "register", "--no-interactive", *words]
            process.run(argv, env=self.environment, cwd=self.root, timeout=60)
        with (self.root / "log").open("ab") as log:
            argv = [program, "--config", config, "daemon"]
            self.child = subprocess.Popen(argv, env=self.environment, cwd=self.root, stdout=log, stderr=log)

    def stop(self, number: int = signal.SIGTERM) -> None:
        assert self.child is not None
        self.child.send_signal(number)
        self.child.wait(60)

    def record(self) -> list[list[str]]:
        """Run, recipe, begin and end of each that ended here."""
        file = self.root / "record"
        return [row.split() for row in file.read_text("utf-8").splitlines()] if file.exists() else []


@pytest.fixture(scope="module")
def machines(forge: Forge) -> Iterator[tuple[Machine, Machine]]:
    found = (Machine(forge, "one", forge.root / "one"), Machine(forge, "two", forge.root / "two"))
    for each in found:
        each.start()
    yield found
    for each in found:
        each.stop()


@pytest.fixture
def actions(forge: Forge, tmp_path: Path) -> ForgeActions:
    (tmp_path / "player.py").write_text(PLAYER, "utf-8")
    repository = forge.repository()
    text = WORKFLOW.read_text("utf-8").replace("      CCCI_STATE_DIR: /var/lib/ci-warm\n", "")
    called = '/opt/ccci/bin/pytest --ccci-lock-wait=1h "/srv/recipes/$RECIPE"'
    assert called in text
    text = text.replace(called, f'python {tmp_path}/player.py "{tmp_path}/$RECIPE"')
    content = base64.b64encode(text.encode()).decode()
    place = f"repos/{repository}/contents/.gitea/workflows/dispatch.yml"
    forge.boss.post(place, {"content": content, "message": "dispatch"})
    return ForgeActions(Bot(forge.url, forge.boss.token, "boss"), repository)


def wanted(tmp_path: Path, recipe: str, ref: str = "tip") -> Request:
    if not (tmp_path / recipe).exists():
        write_page(tmp_path / recipe, tests="")
    return Request(recipe, "cold", ref, new_run_id())


def all_ended(actions: ForgeActions, receipts: list[Receipt]) -> list[str]:
    def ended() -> list[str] | None:
        states = [actions.state(one) for one in receipts]
        return [one.said for one in states] if all(one.at == "ended" for one in states) else None

    return until(ended, deadline=Deadline(400), what="the jobs to end", every=0.3)


@pytest.mark.timeout(900)
def test_eight_recipes_are_each_played_on_their_machine_and_two_play_at_once(
    actions: ForgeActions, machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    took, beside = [], []
    for names in (("one", "two"), ("one",)):
        began, before = time.monotonic(), [len(each.record()) for each in machines]
        asked = [(wanted(tmp_path, f"r{number}-page"), names[number % len(names)]) for number in range(8)]
        receipts = [actions.submit(*each) for each in asked]
        assert set(all_ended(actions, receipts)) == {"success"}
        took.append(time.monotonic() - began)
        times_of = []
        for machine, known in zip(machines, before, strict=True):
            rows = machine.record()[known:]
            assert sorted(row[0] for row in rows) == sorted(one.run_id for one, at in asked if at == machine.name)
            times = sorted((float(row[2]), float(row[3])) for row in rows)
            assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(times))
            times_of.append(times)
        beside.append(any(a < d and c < b for (a, b), (c, d) in itertools.product(*times_of)))
    print(f"two machines {took[0]:.1f} s, one {took[1]:.1f} s, ratio {took[1] / took[0]:.2f}")  # noqa: T201  shown with -s
    assert beside == [True, False]


@pytest.mark.timeout(900)
def test_a_run_goes_on_when_its_worker_is_killed_and_nothing_is_played_beside_it(
    actions: ForgeActions, machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one = machines[0]
    before, request = len(one.record()), wanted(tmp_path, "kill-page")
    claim = one.root / "state" / "runs" / request.run_id
    actions.submit(request, "one")
    until(claim.exists, deadline=Deadline(30), what="the run to begin", every=0.05)
    one.stop(signal.SIGKILL)
    one.start()
    again, other = actions.submit(request, "one"), actions.submit(wanted(tmp_path, "kill-page"), "one")
    assert all_ended(actions, [again, other]) == ["failure", "success"]
    rows = one.record()[before:]
    assert [row[0] for row in rows] == [request.run_id, other.run_id]
    assert float(rows[1][2]) >= float(rows[0][3])


@pytest.mark.timeout(600)
def test_the_command_has_a_run_played_where_its_canonical_is_and_tells_its_end(
    actions: ForgeActions, machines: tuple[Machine, Machine], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_page(tmp_path / "kept-page", tests="")
    told = tmp_path / "machines"
    told.mkdir()
    for machine, keeps in zip(machines, ([], [{"recipe": "kept-page", "release": "1.0.0+1"}]), strict=True):
        facts = dataclasses.asdict(inspect_situation(resolve({"state_dir": str(machine.root / "state")}, {}, {})))
        (told / f"{machine.name}.json").write_text(json.dumps({**facts, "canonicals": keeps}, default=str), "utf-8")
    token = tmp_path / "token"
    token.write_text(actions.bot._token, "utf-8")
    token.chmod(0o600)
    before = len(machines[1].record())
    forge = (f"--ccci-forge={actions.bot.forge}", f"--ccci-forge-token-file={token}")
    words = ("dispatch", "kept-page", str(told), "--repository", actions.repository, "--wait=5m", "--json")
    assert main([*words, *forge, f"--ccci-state-dir={tmp_path / 'state'}"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["machine"], said["state"]) == ("two", {"at": "ended", "said": "success"})
    assert [row[:2] for row in machines[1].record()[before:]] == [[said["receipt"]["run_id"], "kept-page"]]
