"""The author's tests on another version: what is told of them, and that nothing of it can make a run red by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from pytest_ccci.errors import EngineUnavailable, ProgramFailed, StateDamaged, Verdict
from pytest_ccci.redact import SECRETS
from pytest_ccci.results.model import CustomTest, RefFact
from pytest_ccci.run import attached
from pytest_ccci.run.attached import AppTests, Attachment, AuthorsTests, load_attachment, perform_tests
from pytest_ccci.run.attached_run import AttachedRun
from pytest_ccci.warm.realm_model import make_lease
from pytest_ccci.web import Route

LEASE = make_lease(
    recipe="notes", run_id="r", domain="n.ci.test", zone="ci.test", base_url="https://k.ci.test", kept=False
)


def attachment(tmp_path: Path) -> Attachment:
    return Attachment(
        recipe="notes",
        run_id="20261130-120000-abcdef",
        mode="cold",
        version=RefFact(ref="1.0.0+1", commit="a" * 40, version="1.0.0+1", release="1.0.0+1"),
        host=f"unix://{tmp_path}/nobody.sock",
        stack="n_ci_test",
        domain="n.ci.test",
        url="https://n.ci.test:8443",
        route=Route("ci.test", "127.0.0.1", tmp_path / "ca.pem", {443: 8443}),
        state=tmp_path / "state",
        realm=LEASE,
    )


def test_what_is_written_down_is_read_again_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "app.json"
    file.write_bytes(TypeAdapter(Attachment).dump_json(attachment(tmp_path)))
    assert load_attachment(file) == attachment(tmp_path)


def test_a_pytest_that_no_run_started_has_nothing_to_attach_to(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="there is no"):
        load_attachment(tmp_path / "app.json")
    (tmp_path / "app.json").write_text("{", encoding="utf-8")
    with pytest.raises(StateDamaged):
        load_attachment(tmp_path / "app.json")


def test_the_secrets_of_the_realm_are_hidden_there_too(tmp_path: Path) -> None:
    file = tmp_path / "app.json"
    file.write_bytes(TypeAdapter(Attachment).dump_json(attachment(tmp_path)))
    with pytest.raises(EngineUnavailable):
        AttachedRun(file)
    assert LEASE.secrets
    assert {SECRETS.scrub(value) for value in LEASE.secrets} == {"[secret]"}


def a_recipe(tmp_path: Path) -> AuthorsTests:
    folder = tmp_path / "notes"
    (folder / "releases" / "tip").mkdir(parents=True)
    (folder / "recipe.toml").write_text('[source]\nbundled = "releases"\n', encoding="utf-8")
    (folder / "test_it.py").write_text("def test_it(app): ...\n", encoding="utf-8")
    return AuthorsTests(("notes/test_it.py::test_it",), tmp_path, None)


def test_where_the_app_cannot_be_reached_that_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    done = perform_tests(a_recipe(tmp_path), attachment(tmp_path), work=tmp_path / "run")
    assert done.tests == ()
    assert "nobody.sock" in done.problem
    assert str(done).startswith("the author's tests could not be run on 1.0.0+1: pytest ended with exit status ")
    assert list((tmp_path / "run").iterdir()) == []


def test_where_there_is_no_room_for_it_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(attached, "write_atomic", full)
    done = perform_tests(a_recipe(tmp_path), attachment(tmp_path), work=tmp_path / "run")
    assert "No space left on device" in done.problem


def test_it_takes_over_nothing_of_the_pytest_that_starts_it() -> None:
    given = {"PATH": "/bin", "PYTEST_ADDOPTS": "-n 2", "PYTEST_XDIST_WORKER": "gw0", "PYTEST_CURRENT_TEST": "x"}
    assert attached._environment(given.items()) == {"PATH": "/bin"}


GOOD = CustomTest(nodeid="notes/test_it.py::test_good", verdict=Verdict.PASS)
BAD = CustomTest(nodeid="notes/test_it.py::test_bad", verdict=Verdict.FAIL, reason="assert 404 == 200\nmore")
SKIPPED = CustomTest(nodeid="notes/test_it.py::test_not", verdict=Verdict.SKIP, reason="later")


def test_what_they_came_to_is_told_in_a_line() -> None:
    done = AppTests("1.0.0+1", (GOOD, BAD, SKIPPED), 3.21)
    assert (
        str(done)
        == "1 of 3 tests passed on 1.0.0+1, 1 skipped, in 3.2 s; test_it.py::test_bad: fail, assert 404 == 200"
    )
    assert done.red == (BAD,)


def test_a_test_that_fails_on_head_is_compared_with_what_it_came_to_before() -> None:
    done = AppTests("1.0.0+1", (GOOD, BAD, SKIPPED))
    assert done.compared(BAD.nodeid) == "it fails on 1.0.0+1 as well"
    passed = "it passed on 1.0.0+1: the change broke it, or it cannot run twice on the same data"
    assert done.compared(GOOD.nodeid) == passed
    assert done.compared(SKIPPED.nodeid) == done.compared("notes/test_it.py::test_other") == ""
