"""What compose files reach outside of their app, by a table of hostile ones: `reach.yml` beside this file."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePath
from typing import Any

import pytest
import yaml

from pytest_ccci import process
from pytest_ccci.recipe.compose_files import ComposeFile, filled, merge
from pytest_ccci.recipe.compose_yaml import Document, load_document
from pytest_ccci.recipe.reach import OwnPlace, Reach, judge, reach, tagged

FOLDER = Path("/srv/runs/1/tree")
STACK, DOMAIN = "note-1a2b3c_ci_test", "note-1a2b3c.ci.test"
VALUES = {"STACK_NAME": STACK, "DOMAIN": DOMAIN, "SOCK": "/var/run/docker.sock"}
GOOD: dict[str, Any] = {
    "version": "3.8",
    "services": {"app": {"image": "note:1", "networks": ["proxy", "default"]}},
    "networks": {"proxy": {"external": True}},
}
ROWS: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("reach.yml").read_text(encoding="utf-8"))
LINKED = {"config-by-a-link": {"file"}}
HOSTILE = [name for name, row in ROWS.items() if row["refused"]]


def over(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: over(below.get(key), value) for key, value in above.items()}}
    return above


def composed(row: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = over(over(GOOD, {"services": {"app": row.get("app", {})}}), row.get("top", {}))
    return made


def reached(row: dict[str, Any]) -> tuple[Reach, ...]:
    texts = [composed(row), *([row["more"]] if "more" in row else [])]
    files = [ComposeFile(FOLDER / f"compose{n}.yml", f"compose{n}.yml", Document(text)) for n, text in enumerate(texts)]
    own = OwnPlace(STACK, DOMAIN, PurePath(FOLDER), links=frozenset(row.get("links", ())))
    return reach([merge(files, VALUES), *(filled(file, VALUES) for file in files)], own)


@pytest.mark.parametrize("name", ROWS)
def test_what_a_compose_file_reaches_is_refused_in_words(name: str) -> None:
    row = ROWS[name]
    judged = judge(reached(row), reached(row.get("base", {})), grants=row.get("grants", ()))
    refused = {one.reach.key: f"{one.reach.text}: {one.why}" for one in judged if one.refused}
    assert set(refused) == set(row["refused"]), refused
    for key, words in row["refused"].items():
        assert words in refused[key]
        assert refused[key].isprintable()


def test_there_are_more_than_thirty_hostile_files() -> None:
    assert len(HOSTILE) > 30


@pytest.mark.parametrize("name", HOSTILE)
def test_without_a_base_the_same_is_refused(name: str) -> None:
    row = ROWS[name]
    judged = judge(reached(row), None)
    assert set(row["refused"]) <= {one.reach.key for one in judged if one.refused}


def test_what_is_refused_comes_first() -> None:
    row = {"app": {"volumes": ["/a:/a", "/b:/b"]}}
    judged = judge(reached(row), reached({"app": {"volumes": ["/a:/a"]}}))
    assert [(one.reach.key, one.refused) for one in judged] == [("bind:/b", True), ("bind:/a", False)]


@pytest.mark.skipif(shutil.which("docker") is None, reason="there is no Docker CLI, whose loader this is about")
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if "more" not in row])
def test_the_same_is_reached_in_what_dockers_own_loader_makes_of_it(name: str, tmp_path: Path) -> None:
    for file in ("good.env", "f", "conf/nginx.conf", "conf/passwd"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("A=1\n", encoding="utf-8")
    (tmp_path / "compose.yml").write_text(yaml.safe_dump(composed(ROWS[name])), encoding="utf-8")
    env = {**VALUES, "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root", "DOCKER_HOST": "unix:///nowhere.sock"}
    words = ["docker", "stack", "config", "--compose-file", "compose.yml"]
    done = process.run(words, timeout=60, cwd=tmp_path, env=env, check=False)
    if done.rc:
        return  # what Docker does not even load reaches nothing
    found = reach([yaml.safe_load(done.stdout)], OwnPlace(STACK, DOMAIN, tmp_path))
    # Docker writes paths out, and follows no link: only those are called otherwise.
    assert {each.kind for each in reached(ROWS[name])} <= {each.kind for each in found} | LINKED.get(name, set())


def test_a_tag_is_told_since_docker_may_read_another_value() -> None:
    text = "services:\n  app:\n    network_mode: !reset host\n    volumes: [!!binary Lzovc3Jj]\n    image: a\n"
    file = ComposeFile(FOLDER / "compose.yml", "compose.yml", load_document(text, where="compose.yml"))
    found = list(tagged(file))
    assert [each.key for each in found] == ["unknown:!reset", "unknown:!!binary"]
    assert "compose.yml:4" in found[1].text
    assert all(one.refused for one in judge(found, None))


def test_a_volume_that_is_declared_and_mounted_is_told_once_with_its_service() -> None:
    row = {"app": {"volumes": ["x:/x"]}, "top": {"volumes": {"x": {"external": True}}}}
    assert [(one.service, one.key) for one in reached(row)] == [("app", "volume:x")]
