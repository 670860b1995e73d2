from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import NotFound

from pytest_ccci.engine.containers import ExecResult
from pytest_ccci.errors import DataLost, EngineUnavailable, ProgramHangs, RecipeFault, RecipeTomlError
from pytest_ccci.recipe.compose_facts import Mount, ServiceFacts
from pytest_ccci.recipe.spec import FileSentinel, PythonSentinel, Sentinel, SqlSentinel
from pytest_ccci.run import sentinels
from pytest_ccci.run.sentinels import Hooks, Sentinels, SqlKind

FILE = FileSentinel(kind="file", service="app", path="/data/sentinel.txt")
OTHER = FileSentinel(kind="file", service="app", path="/data/other.txt")
SQL = SqlSentinel(kind="sql", service="db", database="docs", user="docs")
PYTHON = PythonSentinel(kind="python")
_LOGIN_WORDS = 6


class FakeApi:
    """Containers' files, behind Docker's archive calls."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.folders = {"/data"}

    def put_archive(self, _container: str, folder: str, data: bytes) -> bool:
        if folder not in self.folders:
            raise NotFound("no such directory")
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                content = archive.extractfile(member)
                self.files[str(PurePosixPath(folder, member.name))] = content.read() if content else b""
        return True

    def get_archive(self, _container: str, path: str) -> tuple[Iterator[bytes], dict[str, str]]:
        if path not in self.files:
            raise NotFound("no such file")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            member = tarfile.TarInfo(PurePosixPath(path).name)
            member.size = len(self.files[path])
            archive.addfile(member, io.BytesIO(self.files[path]))
        return iter([buffer.getvalue()[:100], buffer.getvalue()[100:]]), {}


class FakeApp:
    """An app with files and one table of one row."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.engine = SimpleNamespace(client=SimpleNamespace(api=self.api))
        self.stack = "docs_ci_test"
        self.row = ""
        self.rc = 0
        self.statements: list[Sequence[str]] = []

    def exec(self, service: str, argv: Sequence[str], **_: object) -> ExecResult:
        assert service == "db"
        self.statements.append(argv)
        if self.rc:
            return ExecResult(self.rc, "", "the database is starting up")
        user, database = argv[-2:]
        if len(argv) == _LOGIN_WORDS:
            return ExecResult(0, f"postgres\n{user or 'postgres'}\n{database or 'postgres'}\n", "")
        statement = argv[-1]
        if statement.startswith("INSERT"):
            self.row = statement.split("'")[1]
        return ExecResult(0, f"{self.row}\n" if statement.startswith("SELECT") else "", "")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sentinels, "container_of", lambda *_: "container")
    return FakeApp()


def each(*specs: Sentinel, hooks: Hooks | None = None) -> Sentinels:
    return Sentinels(specs, hooks or Hooks())


@pytest.mark.parametrize("spec", [FILE, SQL], ids=lambda spec: spec.kind)
def test_what_was_written_is_read_back(app: Any, spec: Sentinel) -> None:
    ours = each(spec)
    memory = ours.seed(app, None, {})
    ours.check(app, None, memory, after="after the upgrade")


@pytest.mark.parametrize("spec", [FILE, SQL], ids=lambda spec: spec.kind)
def test_what_was_spoilt_is_found_so_that_only_a_real_restore_brings_it_back(app: Any, spec: Sentinel) -> None:
    ours = each(spec)
    memory = ours.seed(app, None, {})
    files, row = dict(app.api.files), app.row
    assert ours.spoil(app, None, memory) == 1
    with pytest.raises(DataLost, match="is not what was written after the restore"):
        ours.check(app, None, memory, after="after the restore")
    app.api.files, app.row = files, row  # the restore
    ours.check(app, None, memory, after="after the restore")


def test_a_file_that_is_gone_is_data_lost(app: Any) -> None:
    ours = each(FILE)
    memory = ours.seed(app, None, {})
    app.api.files.clear()
    with pytest.raises(DataLost) as caught:
        ours.check(app, None, memory, after="after the upgrade")
    assert caught.value.seen == "it is gone"
    assert caught.value.where == "file sentinel app"


def test_a_row_that_is_gone_is_data_lost(app: Any) -> None:
    ours = each(SQL)
    memory = ours.seed(app, None, {})
    app.row = ""
    with pytest.raises(DataLost) as caught:
        ours.check(app, None, memory, after="after the upgrade")
    assert caught.value.seen == "no row"


def test_two_seeds_never_write_the_same(app: Any) -> None:
    ours = each(FILE)
    assert ours.seed(app, None, {}) != ours.seed(app, None, {})


def test_a_folder_that_is_not_there_is_the_authors_mistake_and_not_lost_data(app: Any) -> None:
    spec = FileSentinel(kind="file", service="app", path="/nowhere/sentinel.txt")
    with pytest.raises(RecipeFault, match="the folder /nowhere does not exist in service app") as caught:
        each(spec).seed(app, None, {})
    assert not isinstance(caught.value, DataLost)


CLIENT = """#!/bin/sh
printf '%s\\n' "password=${PGPASSWORD:-${MYSQL_PWD:-}}" "$@"
"""


class Container(FakeApp):
    """Its programs run here, with the container's variables."""

    def __init__(self, env: dict[str, str]) -> None:
        super().__init__()
        self.env = env

    def exec(self, service: str, argv: Sequence[str], **_: object) -> ExecResult:
        assert service == "db"
        done = subprocess.run(list(argv), env=self.env, capture_output=True, text=True, check=False)
        return ExecResult(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def container(tmp_path: Path) -> Callable[..., Any]:
    """A container with these clients and variables; those called ``…_FILE`` are files with these contents."""

    def make(clients: Sequence[str], variables: Mapping[str, str]) -> Any:
        folder = tmp_path / "-".join(("bin", *clients))
        folder.mkdir(exist_ok=True)
        for client in clients:
            (folder / client).write_text(CLIENT, encoding="utf-8")
            (folder / client).chmod(0o755)
        for program in ("sh", "cat"):
            (folder / program).unlink(missing_ok=True)
            (folder / program).symlink_to(str(shutil.which(program)))
        env = {"PATH": str(folder)}
        for name, value in variables.items():
            file = tmp_path / name
            file.write_text(f"{value}\n", encoding="utf-8")
            env[name] = str(file) if name.endswith("_FILE") else value
        return Container(env)

    return make


@pytest.mark.parametrize(
    ("said", "variables", "user", "database", "password"),
    [
        ({}, {}, "postgres", "postgres", ""),
        ({}, {"POSTGRES_USER": "synapse"}, "synapse", "synapse", ""),
        ({}, {"POSTGRES_USER": "synapse", "POSTGRES_DB": "rooms"}, "synapse", "rooms", ""),
        ({}, {"POSTGRES_DB": "rooms", "POSTGRES_PASSWORD": "p w"}, "postgres", "rooms", "p w"),
        ({}, {"POSTGRES_USER_FILE": "synapse", "POSTGRES_PASSWORD_FILE": "$(x) `y`"}, "synapse", "synapse", "$(x) `y`"),
        ({}, {"POSTGRES_USER_FILE": "", "POSTGRES_DB_FILE": "rooms"}, "postgres", "rooms", ""),
        ({"user": "alice"}, {"POSTGRES_USER": "synapse", "POSTGRES_DB": "rooms"}, "alice", "rooms", ""),
        ({"user": "alice", "database": "b b"}, {"POSTGRES_DB": "rooms"}, "alice", "b b", ""),
    ],
)
def test_user_and_database_are_those_of_the_service_where_the_author_says_nothing(
    said: dict[str, str],
    variables: dict[str, str],
    user: str,
    database: str,
    password: str,
    container: Callable[..., Any],
) -> None:
    """As the official image reads them. ``-q``: else command tags are in the answer; ``-w``: nobody is asked."""
    spec = SqlSentinel(kind="sql", service="db", **said)
    memory = SqlKind().seed(container(["psql"], variables), None, spec)
    assert (memory["user"], memory["database"]) == (user, database)
    later = {"POSTGRES_USER": "other", "POSTGRES_DB": "other"}  # a later version's variables move no data
    for known, others in ((password, variables), ("", later)):
        seen = SqlKind().read_back(container(["psql"], others), None, spec, memory)["ccci_sentinel"].decode()
        statement = "SELECT id, value FROM ccci_sentinel"
        told = ["-wqtAX", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", database, "-c", statement]
        assert seen.splitlines() == [f"password={known}", *told]


@pytest.mark.parametrize("client", ["mariadb", "mysql"])
@pytest.mark.parametrize(
    ("said", "variables", "user", "database", "password"),
    [
        ({"database": "x"}, {"MYSQL_ROOT_PASSWORD": "r"}, "root", "x", "r"),
        ({}, {"MARIADB_DATABASE": "blog", "MARIADB_ROOT_PASSWORD_FILE": "r r"}, "root", "blog", "r r"),
        ({}, {"MYSQL_USER": "wp", "MYSQL_DATABASE": "blog", "MYSQL_PASSWORD": "p"}, "wp", "blog", "p"),
        (
            {},
            {"MARIADB_USER": "wp", "MYSQL_USER": "no", "MYSQL_DATABASE_FILE": "blog", "MARIADB_PASSWORD_FILE": "'p\\"},
            "wp",
            "blog",
            "'p\\",
        ),
        ({"user": "root"}, {"MYSQL_USER": "wp", "MYSQL_DATABASE": "blog", "MYSQL_PASSWORD": "p"}, "root", "blog", ""),
    ],
)
def test_mariadb_and_mysql_are_asked_by_their_own_client_with_their_own_variables(
    client: str,
    said: dict[str, str],
    variables: dict[str, str],
    user: str,
    database: str,
    password: str,
    container: Callable[..., Any],
) -> None:
    spec = SqlSentinel(kind="sql", service="db", **said)
    memory = SqlKind().seed(container([client], variables), None, spec)
    assert (memory["user"], memory["database"]) == (user, database)
    renamed = container(["mysql" if client == "mariadb" else "mariadb"], variables)
    for asked in (container([client], variables), renamed):
        seen = SqlKind().read_back(asked, None, spec, memory)["ccci_sentinel"].decode().splitlines()
        told = ["--batch", "--raw", "--skip-column-names", f"--user={user}", f"--database={database}"]
        assert seen == [f"password={password}", *told, "--execute=SELECT id, value FROM ccci_sentinel"]


def test_a_container_without_a_client_is_told_so(container: Callable[..., Any]) -> None:
    with pytest.raises(RecipeFault, match="the sentinel cannot be written") as caught:
        SqlKind().seed(container([], {}), None, SQL)
    assert "exit status 127: it has none of the programs psql, mariadb and mysql" in caught.value.seen


@pytest.mark.parametrize(("dialect", "statement"), [("postgres", "ON CONFLICT"), ("mysql", "REPLACE INTO")])
def test_a_row_is_changed_in_the_databases_own_dialect(app: Any, dialect: str, statement: str) -> None:
    memory = {"value": "a" * 32, "dialect": dialect, "user": "u", "database": "d"}
    SqlKind().spoil(app, None, SQL, memory)
    assert statement in app.statements[-1][-1]


def test_a_row_from_before_is_looked_for_where_it_was_written_then(app: Any) -> None:
    """Nothing was remembered but the value, and unset meant postgres."""
    app.row = "kept"
    SqlKind().check(app, None, SqlSentinel(kind="sql", service="db"), {"value": "kept"})
    assert app.statements[-1][4:6] == ["postgres", "postgres"]


def test_a_database_that_does_not_answer_is_seen_with_its_words(app: Any) -> None:
    ours = each(SQL)
    memory = ours.seed(app, None, {})
    app.rc = 2
    with pytest.raises(DataLost, match="cannot be read after the upgrade") as caught:
        ours.check(app, None, memory, after="after the upgrade")
    assert "exit status 2: the database is starting up" in caught.value.seen


def test_a_row_that_cannot_be_written_is_no_lost_data_and_names_the_keys_to_set(app: Any) -> None:
    app.rc = 2
    with pytest.raises(RecipeFault, match="the sentinel cannot be written") as caught:
        each(SQL).seed(app, None, {})
    assert not isinstance(caught.value, DataLost)
    assert "database and user of the [[sentinel]] in recipe.toml" in caught.value.advice
    assert "POSTGRES_, MARIADB_ or MYSQL_ variables" in caught.value.advice
    assert "exit status 2" in caught.value.seen


def test_a_row_that_cannot_be_changed_is_no_lost_data(app: Any) -> None:
    ours = each(SQL)
    memory = ours.seed(app, None, {})
    app.rc = 2
    with pytest.raises(RecipeFault, match="cannot be changed") as caught:
        ours.spoil(app, None, memory)
    assert not isinstance(caught.value, DataLost)


def test_a_database_that_hangs_is_the_recipes_fault_and_not_the_machines(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object, **__: object) -> ExecResult:
        raise ProgramHangs("psql in db did not end within 60 s")

    memory = each(SQL).seed(app, None, {})
    monkeypatch.setattr(app, "exec", hang)
    for act in (
        lambda: each(SQL).seed(app, None, {}),
        lambda: each(SQL).check(app, None, memory, after=""),
        lambda: each(SQL).spoil(app, None, memory),
    ):
        with pytest.raises(RecipeFault) as caught:
            act()
        assert "did not end within 60 s" in caught.value.seen


@pytest.mark.parametrize("step", ["seed", "spoil"])
def test_what_an_authors_hook_raises_is_the_recipes_fault_with_its_words(app: Any, step: str) -> None:
    def broken(*_: object) -> Any:
        raise KeyError("id")

    person = Person()
    memory = {"python": person.seed(None, "alice")}
    ours = each(PYTHON, hooks=Hooks(broken, person.check, broken))
    with pytest.raises(RecipeFault, match="the python sentinel could not be") as caught:
        ours.seed(app, "alice", {}) if step == "seed" else ours.spoil(app, "alice", memory)
    assert not isinstance(caught.value, DataLost)
    assert caught.value.seen == "KeyError: 'id'"
    assert f"ccci_{step}" in caught.value.advice


def test_an_engine_that_went_away_is_not_called_lost_data(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe is blamed only for what the recipe did."""
    ours = each(FILE)
    memory = ours.seed(app, None, {})

    def gone(*_: object) -> str:
        raise EngineUnavailable("no engine")

    monkeypatch.setattr(sentinels, "container_of", gone)
    with pytest.raises(EngineUnavailable):
        ours.check(app, None, memory, after="after the upgrade")


class Person:
    """The hooks of an author: a document that must still be alice's."""

    def __init__(self) -> None:
        self.documents: dict[str, str] = {}

    def seed(self, _app: object, realm: str) -> Mapping[str, str]:
        self.documents["1"] = realm
        return {"id": "1", "owner": realm}

    def check(self, _app: object, _realm: str, seeded: Mapping[str, str]) -> None:
        assert self.documents.get(seeded["id"]) == seeded["owner"], "the document is gone"

    def spoil(self, _app: object, _realm: str, seeded: Mapping[str, str]) -> None:
        del self.documents[seeded["id"]]


def test_a_persons_data_are_written_and_checked_by_the_authors_hooks(app: Any) -> None:
    person = Person()
    ours = each(PYTHON, hooks=Hooks(person.seed, person.check, person.spoil))
    memory = ours.seed(app, "alice", {})
    ours.check(app, "alice", memory, after="after the upgrade")
    assert ours.spoil(app, "alice", memory) == 1
    with pytest.raises(DataLost, match="the python sentinel did not hold after the restore") as caught:
        ours.check(app, "alice", memory, after="after the restore")
    assert "the document is gone" in caught.value.seen
    named = each(PythonSentinel(kind="python", name="a note"), hooks=Hooks(person.seed, person.check, person.spoil))
    memory = named.seed(app, "alice", {})
    named.spoil(app, "alice", memory)
    with pytest.raises(DataLost, match='the python sentinel "a note" did not hold'):
        named.check(app, "alice", memory, after="after the restore")


def test_a_person_plants_more_of_the_same_beside_the_sentinel(app: Any) -> None:
    written: list[str] = []

    def seed(_app: object, realm: str) -> Mapping[str, str]:
        written.append(realm)
        return {"id": str(len(written))}

    def documents(_app: object, _realm: str, seeded: Mapping[str, str]) -> Mapping[str, str | bytes]:
        return {seeded["id"]: b"raw" if seeded["id"] == "1" else "text"}

    ours = each(FILE, PYTHON, hooks=Hooks(seed, lambda *_: None, None, documents))
    memory = ours.seed(app, "alice", {})
    planted = ours.plant(app, "alice", 2)
    assert written == ["alice"] * 3
    assert [list(one) for one in planted] == [["python"], ["python"]]
    looked = [ours.read_back(app, "alice", one) for one in (memory, *planted)]
    assert looked[0] == {
        "file app /data/sentinel.txt: /data/sentinel.txt": app.api.files["/data/sentinel.txt"],
        "python: 1": b"raw",
    }
    assert looked[1:] == [{"python: 2": b"text"}, {"python: 3": b"text"}]


def test_what_is_looked_at_is_what_is_kept_now(app: Any) -> None:
    ours = each(SQL, PYTHON, hooks=Hooks(lambda *_: {"id": "1"}, lambda *_: None))
    memory = ours.seed(app, None, {})
    before = ours.read_back(app, None, memory)
    assert list(before) == ["sql db docs: ccci_sentinel"], "without a hook nothing is claimed of a person's data"
    app.row = "changed"
    assert ours.read_back(app, None, memory) != before


def test_a_python_sentinel_without_hooks_says_what_to_define_and_where(app: Any) -> None:
    with pytest.raises(RecipeFault, match=r"conftest\.py has no ccci_seed and ccci_check") as caught:
        each(PYTHON).seed(app, None, {})
    assert "ccci_seed(app, realm)" in caught.value.advice


def test_without_a_hook_to_spoil_none_is_counted_as_spoilt(app: Any) -> None:
    person = Person()
    ours = each(PYTHON, hooks=Hooks(person.seed, person.check))
    assert ours.spoil(app, "alice", ours.seed(app, "alice", {})) == 0


def test_several_sentinels_are_told_apart_by_what_they_are_and_where_they_live(app: Any) -> None:
    ours = each(FILE, SQL)
    memory = ours.seed(app, None, {})
    assert set(memory) == {"file app /data/sentinel.txt", "sql db docs"}
    ours.check(app, None, memory, after="after the upgrade")


@pytest.mark.parametrize(
    "now",
    [(SQL, FILE), (OTHER, FILE, SQL), (FILE, OTHER, SQL), (FILE.model_copy(update={"name": "page"}), SQL), (SQL,)],
    ids=["reordered", "one before", "one between", "named", "one less"],
)
def test_an_author_may_reorder_insert_name_and_drop_sentinels_while_data_are_kept(
    app: Any, now: tuple[Sentinel, ...]
) -> None:
    memory = each(FILE, SQL).seed(app, None, {})
    each(*now).check(app, None, memory, after="on the kept data")
    assert each(*now).remembered(memory)


def test_kept_data_that_remember_by_number_are_read(app: Any) -> None:
    ours = each(FILE, SQL)
    fresh = ours.seed(app, None, {})
    old = {"0": fresh[FILE.identity], "1": fresh[SQL.identity]}
    assert not ours.unseeded(old)
    ours.check(app, None, old, after="on the kept data")
    app.row = "changed"
    with pytest.raises(DataLost, match=r"docs\.ccci_sentinel"):
        ours.check(app, None, old, after="on the kept data")
    assert ours.seed(app, None, old) == fresh


def test_a_number_of_another_list_means_nothing_rather_than_the_wrong_sentinel(app: Any) -> None:
    fresh = each(FILE, SQL).seed(app, None, {})
    old = {"0": fresh[FILE.identity], "1": fresh[SQL.identity]}
    longer = each(OTHER, FILE, SQL)
    longer.check(app, None, old, after="on the kept data")
    assert longer.unseeded(old)
    assert not longer.remembered(old), "so that an upgrade on it is called unverified, and nobody is blamed"


def test_only_what_is_not_there_yet_is_written(app: Any) -> None:
    memory = each(FILE).seed(app, None, {})
    both = each(OTHER, FILE).seed(app, None, memory)
    assert both[FILE.identity] == memory[FILE.identity]
    each(OTHER, FILE).check(app, None, both, after="right after it was written")


def test_a_sentinel_that_was_added_later_is_not_missed_in_old_data_but_known_as_unseeded(app: Any) -> None:
    memory = each(FILE).seed(app, None, {})
    both = each(FILE, SQL)
    both.check(app, None, memory, after="after the upgrade")
    assert both.unseeded(memory)
    assert not both.unseeded(both.seed(app, None, memory))


def services(**mounts: str) -> dict[str, ServiceFacts]:
    """Services, each with the mounts that are given as ``kind:target`` words."""
    pairs = {name: [each.split(":") for each in words.split()] for name, words in mounts.items()}
    return {
        name: ServiceFacts(name, mounts=tuple(Mount(kind, "x", target) for kind, target in each))
        for name, each in pairs.items()
    }


def test_a_sentinel_of_a_service_that_the_recipe_does_not_have_is_refused_with_what_there_is() -> None:
    there = services(web="", app="volume:/data")
    with pytest.raises(RecipeTomlError, match=r"r/recipe.toml: a sql sentinel names the service 'db'.*\n.*app, web"):
        Sentinels((PYTHON, FILE, SQL)).require_places(there, where="r/recipe.toml")
    Sentinels((PYTHON, FILE)).require_places(there, where="")


@pytest.mark.parametrize(
    ("mounted", "kept"),
    [
        ("volume:/data", True),
        ("bind:/", True),
        ("", False),
        ("volume:/dat", False),
        ("tmpfs:/data", False),
        ("volume:/ tmpfs:/data", False),
        ("tmpfs:/ volume:/data", True),
    ],
)
def test_a_file_that_no_volume_keeps_is_the_authors_mistake_and_no_loss_of_data(mounted: str, *, kept: bool) -> None:
    there = services(app=mounted)
    if kept:
        Sentinels((FILE,)).require_places(there, where="")
        return
    with pytest.raises(RecipeTomlError, match="is on no volume of service app: it goes with the container"):
        Sentinels((FILE,)).require_places(there, where="r/recipe.toml")
