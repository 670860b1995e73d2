"""The rollback proof on a small recipe: a sample; the full one is `ccci prove` itself."""

from __future__ import annotations

import json
from pathlib import Path

from realruns import Pytest, ccci, of_stack

from pytest_ccci.engine.client import Engine
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore

PERSON = """
import secrets

PAGES = "/usr/share/nginx/html"

def ccci_seed(app, realm):
    name, text = f"{secrets.token_hex(4)}.txt", secrets.token_hex(16)
    assert app.exec("app", ["sh", "-c", 'printf %s "$1" >"$2"', "sh", text, f"{PAGES}/{name}"]).rc == 0
    return {"name": name, "text": text}

def ccci_check(app, realm, seeded):
    assert app.new_http().get(f"{app.url}/{seeded['name']}").text == seeded["text"]

def ccci_documents(app, realm, seeded):
    return {seeded["name"]: app.exec("app", ["cat", f"{PAGES}/{seeded['name']}"]).stdout}
"""


def _head(recipe: Path, name: str, *, broken: bool) -> None:
    text = (recipe / "releases" / "tip" / "compose.yml").read_text("utf-8").replace('"tip"', f'"{name}"')
    if broken:
        text = text.replace("image: nginx:1.22", "image: nginx:1.22\n    command: ['false']")
    place = recipe / "releases" / "pr" / name
    place.mkdir(parents=True)
    (place / "compose.yml").write_text(text, "utf-8")


def test_a_bad_head_costs_no_document_and_the_evidence_says_so(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir, engine: Engine
) -> None:
    _head(page_recipe, "broken", broken=True)
    _head(page_recipe, "fine", broken=False)
    toml = page_recipe / "recipe.toml"
    toml.write_text(f'{toml.read_text("utf-8")}[[sentinel]]\nkind = "python"\nname = "a page"\n', "utf-8")
    (page_recipe / "conftest.py").write_text(PERSON, "utf-8")
    assert user_pytest("--ccci-ref", "latest", page_recipe).rc == 0
    original = CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name)
    before = original.fingerprint()
    done = ccci("prove", "rollback", page_recipe, "--rounds", "1", "--documents", "2", "--seed", "1")
    assert done.rc == 0
    assert "1 of 1 rounds held" in done.stdout
    assert original.fingerprint() == before
    (place,) = warm_state.proofs.iterdir()
    assert sorted(path.name for path in place.iterdir()) == ["rollback.json", "rollback.txt"]
    found = json.loads((place / "rollback.json").read_text("utf-8"))
    assert found["held"] is True
    assert len(found["planted"]) == 4, "the file, the page from the seed, and two pages that a person wrote"
    (played,) = found["rounds"]
    assert (played["head"], played["verdict"], played["known_good"]) == ("pr/broken", "fail", "restored-and-proved")
    digests = {name: facts["sha256"] for name, facts in found["planted"].items()}
    assert digests == played["before"]["documents"] == played["after"]["documents"]
    assert of_stack(engine, f"warm-{page_recipe.name}") == []
    wrong = ccci("prove", "rollback", page_recipe, "--heads", "pr/none")
    assert wrong.rc == 2
    assert "pr/none" in wrong.stderr
