from __future__ import annotations

from pytest_ccci.run.kept_apps import KeptApp, keep_app, kept_apps, load_kept
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.realm_model import make_lease


def app(domain: str) -> KeptApp:
    lease = make_lease(recipe="notes", run_id="r", domain=domain, zone="ci.test", base_url="https://k", kept=False)
    return KeptApp(domain, f"https://{domain}", "notes", "/recipes/notes", "r", "2026-11-30", "custom: red", lease)


def test_what_is_kept_reads_back_with_its_passwords_which_nobody_else_may_read(state: StateDir) -> None:
    first, second = app("a.ci.test"), app("b.ci.test")
    path = keep_app(state, second)
    assert keep_app(state, first).parent == state.locks
    assert load_kept(path) == second
    assert path.stat().st_mode & 0o777 == 0o600
    assert kept_apps(state) == (first, second)


def test_nothing_is_kept_where_nothing_is_written_and_a_damaged_record_hides_no_other(state: StateDir) -> None:
    assert kept_apps(state) == ()
    keep_app(state, app("a.ci.test"))
    state.kept("b.ci.test").write_text("{", encoding="utf-8")
    assert [one.domain for one in kept_apps(state)] == ["a.ci.test"]
