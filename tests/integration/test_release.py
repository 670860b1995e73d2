"""``--ccci-keep=failed``: a red app stays for somebody to look at, whoever runs meanwhile, until it is released."""

from __future__ import annotations

from pathlib import Path

from realruns import Pytest, ccci, needs_keycloak, of_stack, realms_of

from pytest_ccci.engine.client import Engine
from pytest_ccci.run.host import Machine
from pytest_ccci.run.kept_apps import kept_apps
from pytest_ccci.statedir import StateDir
from pytest_ccci.web import session

RED = "def test_red(app):\n    assert app.http.get(app.url).status_code == 418\n"


def test_a_red_app_stays_with_its_realm_until_it_is_released(
    page_recipe: Path, user_pytest: Pytest, engine: Engine, machine: Machine, warm_state: StateDir
) -> None:
    name = page_recipe.name
    (needs_keycloak(page_recipe) / "test_page.py").write_text(RED, "utf-8")
    red = user_pytest("--ccci-keep=failed", page_recipe)
    assert red.rc == 1
    [kept] = kept_apps(warm_state)
    assert (kept.domain, kept.run_id) == (red.result.domain, red.result.run_id)
    assert f"until ccci release {page_recipe}" in " ".join(red.out.split())
    assert kept.realm is not None
    assert not any(user.password in red.out for user in kept.realm.users)

    # Another run, which cleans up after the dead, leaves it alone.
    (page_recipe / "test_page.py").write_text("", "utf-8")
    assert user_pytest("--ccci-keep=failed", page_recipe).rc == 0
    with session(machine.site.zone.route, timeout=30) as visitor:
        assert visitor.get(kept.url).status_code == 200
        assert visitor.get(kept.realm.discovery).json()["issuer"] == kept.realm.issuer
    assert kept.domain in ccci("status").stdout

    done = ccci("release", page_recipe)
    assert done.rc == 0
    assert f"released     {kept.domain}" in done.stdout
    assert of_stack(engine, kept.domain.replace(".", "_")) == []
    assert realms_of(machine, name) == []
    assert kept_apps(warm_state) == ()
    again = ccci("release", page_recipe)
    assert again.rc == 2
    assert f"no app of {name} is kept" in again.stderr + again.stdout


def test_nothing_is_left_of_a_quick_run(page_recipe: Path, user_pytest: Pytest, engine: Engine) -> None:
    assert user_pytest("--ccci-ref", "latest", page_recipe).rc == 0
    (page_recipe / "test_page.py").write_text(RED, "utf-8")
    done = user_pytest("--quick", "--ccci-keep=failed", page_recipe)
    assert done.rc == 1
    assert done.result.known_good.action == "restored-and-proved"
    assert of_stack(engine, done.result.domain.replace(".", "_")) == []
    assert any("--ccci-keep=failed is for cold runs" in line for line in done.result.warnings)
