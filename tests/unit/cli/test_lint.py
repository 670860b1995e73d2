"""The command's three formats and exit statuses, on folders as authors have them; nothing else is touched."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from pytest_ccci import cli, process

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = """\
version: "3.8"
services:
  app:
    image: notes:{image}
    networks: [proxy]
    healthcheck: {{test: [CMD, "true"]}}
    environment:
      - OIDC=${{OIDC}}
    deploy:
      labels:
        - "traefik.http.routers.x.rule={rule}"
        - "coop-cloud.${{STACK_NAME}}.version=1.0.0+1"
networks:
  proxy: {{external: true}}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, a state directory that is not there, and an engine that does not answer."""
    monkeypatch.setenv("CCCI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def recipe(folder: Path, *, image: str = "1", rule: str = "Host(`${DOMAIN}`)", toml: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "compose.yml").write_text(COMPOSE.format(image=image, rule=rule), encoding="utf-8")
    if toml:
        (folder / "recipe.toml").write_text(toml, encoding="utf-8")
    else:
        (folder / ".env.sample").write_text("OIDC=x\n", encoding="utf-8")
    return folder


def lint(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    status = cli.main(["lint", *map(str, words)])
    told = capsys.readouterr()
    return status, told.out or told.err


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


def test_a_bare_checkout_without_a_finding_is_green_and_nothing_is_left(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe(here / "notes")
    before = contents(here.parent)
    assert lint(capsys, "notes") == (0, "0 errors, 0 warnings\n")
    assert contents(here.parent) == before


def test_an_error_is_red_and_names_file_line_reason_and_remedy(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe(here / "notes", rule="Host(`a`, `b`)")
    status, text = lint(capsys, "notes")
    assert status == 1
    first, why, mend, last = text.splitlines()
    assert first.startswith("notes/compose.yml:11: error bad-rule: app: Traefik refuses the rule")
    assert why.startswith("    why: Traefik 3 refuses")
    assert mend.startswith("    try: ")
    assert last == "1 error, 0 warnings"


def test_warnings_are_green_unless_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe(here / "notes", image="latest")
    assert lint(capsys, "notes")[0] == 0
    assert lint(capsys, "notes", "--strict")[0] == 1


def test_json_holds_every_field(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe(here / "a", image="latest")
    recipe(here / "b", image="'")
    status, text = lint(capsys, "a", "b", "a", "--format", "json")
    found = json.loads(text)
    assert status == 1
    assert [(each["recipe"], each["code"], each["file"], each["line"], each["fatal"]) for each in found] == [
        ("a", "moving-image", "a/compose.yml", 4, False),
        ("b", "bad-image", "b/compose.yml", 4, True),
    ]
    assert all(each["why"] and each["mend"] and each["level"] for each in found)


def test_github_annotations_are_one_line_each_and_escaped(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe(here / "no,tes:100%", rule="Host(`a%`, `b`)")
    status, text = lint(capsys, "no,tes:100%", "--format", "github")
    assert status == 1
    (row,) = text.splitlines()
    assert row.startswith("::error file=no%2Ctes%3A100%25/compose.yml,line=11,title=bad-rule::app: Traefik refuses")
    assert "a%25" in row
    assert "%0A" in row


def test_recipe_toml_brings_its_variables_and_its_own_findings(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toml = """\
[source]
path = "upstream"

[env]
OIDC = "{{ realm.issuer }}"

[needs.keycloak]
redirect_paths = ["/"]

[[disposable]]
volume = "gone"
reason = "x"
"""
    folder = recipe(here / "notes", toml=toml)
    (folder / "upstream").mkdir()
    (folder / "compose.yml").rename(folder / "upstream" / "compose.yml")
    status, text = lint(capsys, "notes")
    assert status == 0
    assert text.splitlines()[0].startswith("notes/recipe.toml:10: warning names-nothing: ")
    assert text.splitlines()[-1] == "0 errors, 1 warning"


def test_the_tip_has_the_values_of_what_is_unreleased_and_a_finding_names_their_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = """\
[source]
path = "upstream"

[env.before."9.0.0"]
OIDC = "{{ old }}"

[env.from."2.0.0+1"]
OIDC = "{{ new }}"
"""
    folder = recipe(here / "notes", toml=toml)
    (folder / "upstream").mkdir()
    (folder / "compose.yml").rename(folder / "upstream" / "compose.yml")
    text = lint(capsys, "notes")[1]
    assert text.splitlines()[0].startswith("notes/recipe.toml:8: warning template: [env] OIDC: template '{{ new }}'")


def test_a_quote_in_env_sample_that_is_never_closed_is_an_error_at_its_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recipe(here / "notes") / ".env.sample").write_text("OIDC=x\nKEY='one\ntwo\n", encoding="utf-8")
    status, text = lint(capsys, "notes")
    assert status == 1
    assert text.splitlines()[0].startswith("notes/.env.sample:2: error bad-env: .env.sample: the quote with which")


@pytest.mark.parametrize(
    ("toml", "line", "code"),
    [
        ("[source]\npath = 1\n", 2, "recipe-toml"),
        ("[sauce]\n", 1, "recipe-toml"),
        ("[source]\npath = '.'\n[env]\nOIDC = '{{ relm.issuer }}'\n", 4, "template"),
    ],
)
def test_a_recipe_toml_that_cannot_be_used_is_a_finding(
    here: Path, capsys: pytest.CaptureFixture[str], toml: str, line: int, code: str
) -> None:
    recipe(here / "notes", toml=toml)
    found = json.loads(lint(capsys, "notes", "--format", "json")[1])
    assert (code, "notes/recipe.toml", line) in {(each["code"], each["file"], each["line"]) for each in found}


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("compose.yml", "services:\n\tapp: {}\n", ("not-yaml", "notes/compose.yml", 2)),
        ("compose.yml", "services: &a\n  app: *b\n", ("not-yaml", "notes/compose.yml", 2)),
        (".env.sample", "COMPOSE_FILE=gone.yml\n", ("no-recipe", "", 0)),
        (".env.sample", "COMPOSE_FILE=../../etc/passwd\n", ("no-recipe", "", 0)),
    ],
)
def test_what_cannot_be_read_is_a_finding_and_no_internal_error(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, found: tuple[str, str, int]
) -> None:
    (recipe(here / "notes") / name).write_text(text, encoding="utf-8")
    status, told = lint(capsys, "notes", "--format", "json")
    assert status == 1
    assert [(each["code"], each["file"], each["line"]) for each in json.loads(told)] == [found]


def test_tags_of_a_checkout_are_looked_at(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = recipe(here / "notes")
    name = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*name, "commit", "-qm", "x"], ["tag", "v1"], ["tag", "1.0.1+1"]):
        process.run(["git", *words], cwd=folder, timeout=30, env={"PATH": os.environ["PATH"], "HOME": str(here)})
    found = json.loads(lint(capsys, "notes", "--format", "json")[1])
    assert {each["code"] for each in found} == {"odd-tag", "lightweight-tag", "version-not-tag"}


@pytest.mark.parametrize(
    "toml", ["", "[source]\ngit = 'https://git.example.org/notes.git'\n", "[source]\ngit = 'a@b:c'\n"]
)
def test_what_is_no_recipe_or_elsewhere_is_misuse(here: Path, capsys: pytest.CaptureFixture[str], toml: str) -> None:
    (here / "notes").mkdir()
    if toml:
        (here / "notes" / "recipe.toml").write_text(toml, encoding="utf-8")
    assert lint(capsys, "notes")[0] == 2
    assert lint(capsys, "gone")[0] == 2


@pytest.mark.parametrize("name", ["lasuite-docs", "custom-html", "miniflux", "wordpress", "jupyterhub", "actual"])
def test_the_bundled_recipes_have_no_finding(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert lint(capsys, ROOT / "recipes" / name, "--strict") == (0, "0 errors, 0 warnings\n")


@pytest.mark.parametrize("form", ["text", "json", "github"])
def test_a_reader_that_goes_away_is_no_traceback(here: Path, form: str) -> None:
    for name in ("r1", "r2"):
        recipe(here / name, rule=f"Host({'x' * 200_000})")
    entry = "import sys; from pytest_ccci.cli import main; sys.exit(main())"
    pipe = f'{sys.executable} -c "{entry}" lint --format {form} r* | head -c 10'
    env = {"PATH": os.environ["PATH"], "HOME": str(here), "PYTHONPATH": str(ROOT)}
    done = process.run(["sh", "-c", pipe], timeout=120, cwd=here, env=env)
    assert len(done.stdout) == 10
    assert done.stderr == ""
