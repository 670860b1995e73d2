"""Apps without a web page: nothing of theirs is behind Traefik, and what recipe.toml names says whether they serve.

A port that takes connections is in the zoo (`no-web-page`).
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from page import COMPOSE, TOML, write_page
from realruns import Pytest, own_name

from pytest_ccci.errors import Verdict
from pytest_ccci.recipe.names import app_domain, stack_name
from pytest_ccci.run.host import Machine

TESTS = """\
def test_it_was_found_to_serve(app):
    assert app.exec("app", ["test", "-e", "/usr/share/nginx/html/ccci.txt"]).rc == 0
"""


def without_page(folder: Path, health: str) -> Path:
    """The page recipe with no word for Traefik and no network of others."""
    quiet = "".join(line for line in COMPOSE.splitlines(keepends=True) if "traefik" not in line)
    quiet = quiet.replace("networks: [proxy]", "networks: [own]").replace("proxy: {external: true}", "own: ")
    return write_page(folder, tests=TESTS, compose=quiet, toml=f"{TOML}[health]\n{health}\n")


@pytest.mark.parametrize(
    "health",
    [
        'port = 80\npath = "/"\naccept = [200]',
        'kind = "none"\nreason = "it only runs by the clock"',
    ],
    ids=["http past Traefik", "none"],
)
def test_an_app_without_a_web_page_is_green(user_pytest: Pytest, tmp_path: Path, health: str) -> None:
    done = user_pytest("--cold", without_page(tmp_path / own_name(), health))
    assert done.rc == 0
    assert done.result.verdict == Verdict.PASS
    assert ("not asked    whether it serves: it only runs by the clock" in done.out) == ("none" in health)


def test_a_port_that_nobody_listens_on_is_red_at_install_with_the_keys_to_look_at(
    user_pytest: Pytest, tmp_path: Path
) -> None:
    done = user_pytest("--cold", without_page(tmp_path / own_name(), 'kind = "tcp"\nport = 81\ntimeout = "20s"'))
    assert done.rc == 1
    install = done.tier("install")
    assert install.verdict == Verdict.FAIL
    assert install.reason.startswith("port 81 of service app takes no connection")
    assert "Connection refused" in install.reason
    assert "see port and service of [health] in recipe.toml" in install.reason


def test_two_runs_that_publish_one_port_take_turns(user_pytest: Pytest, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    recipes = []
    for _ in range(2):
        recipe = without_page(tmp_path / own_name(), 'kind = "tcp"\nport = 80')
        for compose in recipe.glob("releases/*/compose.yml"):
            text = compose.read_text("utf-8")
            published = f"ports: [{{target: 80, published: {port}, protocol: tcp, mode: host}}]"
            compose.write_text(text.replace("    environment:", f"    {published}\n    environment:"), "utf-8")
        recipes.append(recipe)
    done = user_pytest("-n", "2", "--cold", *recipes)
    assert [result.verdict for result in done.results] == [Verdict.PASS] * 2
    assert done.rc == 0
    assert f"waiting for ports-{port - port % 100}-{port - port % 100 + 99}-tcp" in done.out


def test_a_port_that_another_service_has_is_not_the_recipes_fault(
    user_pytest: Pytest, tmp_path: Path, machine: Machine
) -> None:
    recipe = without_page(tmp_path / own_name(), 'kind = "tcp"\nport = 80')
    taken = machine.settings.https_port
    for compose in recipe.glob("releases/*/compose.yml"):
        text = compose.read_text("utf-8")
        compose.write_text(text.replace("    environment:", f'    ports: ["{taken}:80"]\n    environment:'), "utf-8")
    done = user_pytest("--cold", recipe)
    assert done.result.verdict == Verdict.ERROR
    assert f"{taken}/tcp is published by {stack_name(app_domain('traefik', machine.settings.zone))}_" in done.out
