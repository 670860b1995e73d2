"""The workflow of `docs/ci`, on a real runner: it runs pytest on the machine, and keeps junit's file."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from goprograms import RUNNER, built
from realforge import Forge

from pytest_ccci import process
from pytest_ccci.waiting import Deadline, until

WORKFLOW = Path(__file__).parents[2] / "docs" / "ci" / "forgejo.yml"
CONFIG = """\
log: {{level: info}}
runner: {{file: {root}/.runner, capacity: 1, fetch_interval: 1s, fetch_timeout: 5s}}
cache: {{enabled: false}}
host: {{workdir_parent: {root}/work}}
"""
ACTIONS = {
    "checkout": ("v4", 'git init -q . && git fetch -q --depth 1 "$URL" "$SHA" && git checkout -q FETCH_HEAD'),
    "upload-artifact": ("v3", 'cp "$WHAT" "$KEPT/"'),
}
"""What stands in for actions that are fetched from elsewhere: what they do here is of no interest."""


def write(forge: Forge, repository: str, path: str, text: str) -> str:
    content = base64.b64encode(text.encode()).decode()
    made = forge.boss.post(f"repos/{repository}/contents/{path}", {"content": content, "message": path})
    return str(made["commit"]["sha"])


@pytest.fixture(scope="session")
def kept(forge: Forge) -> Path:
    """Where the stand-in of the upload puts files; the two actions are on the forge."""
    place = forge.root / "kept"
    place.mkdir()
    forge.boss.post("orgs", {"username": "actions"})
    for name, (tag, script) in ACTIONS.items():
        repository = forge.repository(name, organisation="actions")
        wanted = {
            "URL": "${{ github.server_url }}/${{ github.repository }}.git",
            "SHA": "${{ github.sha }}",
            "WHAT": "${{ inputs.path }}",
            "KEPT": str(place),
        }
        lines = [
            f"name: {name}",
            "inputs:",
            *("  " + name + ": {default: ''}" for name in ("name", "path")),
            "runs:",
            "  using: composite",
            "  steps:",
            "    - shell: bash",
            f"      run: {script}",
            "      env:",
            *(f"        {key}: {value!r}" for key, value in wanted.items()),
        ]
        write(forge, repository, "action.yml", "\n".join(lines) + "\n")
        forge.boss.post(f"repos/{repository}/tags", {"tag_name": tag, "target": "main"})
    return place


@pytest.fixture(scope="session")
def runner(forge: Forge) -> Iterator[str]:
    """A runner with the label ``ccci``, on this machine itself."""
    program = built(RUNNER).program
    root = forge.root / "runner"
    root.mkdir()
    config = root / "config.yaml"
    config.write_text(CONFIG.format(root=root), encoding="utf-8")
    token = forge.boss.post("admin/actions/runners/registration-token")["token"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(root), "CCCI_STATE_DIR": str(root / "state")}
    told = ("--instance", forge.url, "--token", token, "--name", "here", "--labels", "ccci:host")
    process.run(
        [program, "--config", config, "register", "--no-interactive", *told], env=environment, cwd=root, timeout=60
    )
    with (root / "log").open("wb") as log:
        child = subprocess.Popen(
            [program, "--config", config, "daemon"], env=environment, cwd=root, stdout=log, stderr=log
        )
        try:
            yield "ccci"
        finally:
            child.terminate()
            child.wait(60)


@pytest.mark.parametrize(("well", "outcome"), [("True", "success"), ("False", "failure")])
def test_the_workflow_runs_pytest_on_the_machine_and_keeps_its_junit(
    forge: Forge, runner: str, kept: Path, well: str, outcome: str
) -> None:
    repository = forge.repository()
    write(forge, repository, "recipes/x/test_x.py", f"def test_x():\n    assert {well}\n")
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    workflow["on"] = workflow.pop(True)  # what YAML 1.1 makes of it
    job = workflow["jobs"]["cold"]
    assert job["runs-on"] == runner
    # This checkout's own pytest, whose environment the runner has, in the place of one that is installed.
    job["steps"] = [step for step in job["steps"] if step.get("name") != "install"]
    del job["env"]["CCCI_STATE_DIR"]
    text = yaml.safe_dump(workflow, sort_keys=False).replace('"$RUNNER_TEMP/ccci/bin/pytest"', "pytest")
    assert "pytest --cold" in text
    head = write(forge, repository, ".gitea/workflows/cold.yml", text)

    def ended() -> dict[str, Any] | None:
        runs = forge.boss.get(f"repos/{repository}/actions/runs", head_sha=head)["workflow_runs"]
        return next((run for run in runs if run["status"] == "completed"), None)

    run = until(
        ended,
        deadline=Deadline(100),
        what="the workflow to end",
        every=0.3,
        seen=lambda: (forge.root / "runner" / "log").read_text(encoding="utf-8")[-2000:],
    )
    assert run["conclusion"] == outcome
    junit = (kept / "junit.xml").read_text(encoding="utf-8")
    assert 'tests="1"' in junit
    assert ("<failure" in junit) == (outcome == "failure")
    (kept / "junit.xml").unlink()
