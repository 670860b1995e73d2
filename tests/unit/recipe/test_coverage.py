from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.recipe.compose_facts import compose_facts
from pytest_ccci.recipe.coverage import Nodes, coverage, outside_databases
from pytest_ccci.recipe.lint import names_nothing
from pytest_ccci.recipe.spec import Disposable, FileSentinel, SqlSentinel

STACK = "warm-notes_ci_test"


def notes(**environment: str) -> Any:
    networks = {"default": {"aliases": ["database"]}}
    return compose_facts({"services": {"app": {"environment": environment}, "db": {"networks": networks}}})


@pytest.mark.parametrize(
    ("variable", "value", "found"),
    [
        ("DATABASE_URL", "postgres://notes:s3cret@db.example.org:5432/notes", ("Postgres", "db.example.org")),
        ("DATABASE_URL", "postgresql+asyncpg://notes@10.0.0.7/notes", ("Postgres", "10.0.0.7")),
        ("DATABASE_URL", "mysql://root:p%40ss@mysql-1/notes", ("MySQL", "mysql-1")),
        ("MONGO_URL", "mongodb+srv://u:p@cluster0.example.net/notes", ("MongoDB", "cluster0.example.net")),
        ("CONNECTION", "driver=x;url=postgres://db.example.org/notes", ("Postgres", "db.example.org")),
        ("BROKER_URL", "amqp://guest@mq.example.org//", ("RabbitMQ", "mq.example.org")),
        ("DB_HOST", "db.example.org", ("Db", "db.example.org")),
        ("POSTGRES_HOST", "db.example.org:5432", ("Postgres", "db.example.org")),
        ("NOTES_DATABASE_HOSTNAME", "other-stack_db", ("Database", "other-stack_db")),
        ("PGHOST", "db.example.org", ("Pg", "db.example.org")),
        ("NEXTCLOUD__DATABASE__HOST", "db.example.org", ("Database", "db.example.org")),
        ("ZULIP_POSTGRESQL__HOST", "db.example.org", ("Postgresql", "db.example.org")),
        ("database__connection__host", "db.example.org", ("Database", "db.example.org")),
        ("GITEA__database__HOST", "db.example.org:5432", ("Database", "db.example.org")),
        ("spring.redis.host", "cache.example.org", ("Redis", "cache.example.org")),
        ("dbHost", "db.example.org", ("Db", "db.example.org")),
        ("DB_POSTGRESDB_HOST", "db.example.org", ("Db", "db.example.org")),
        ("DB_MAIN_WRITER_HOST", "db.example.org.", ("Db", "db.example.org")),
        ("DATABASE_URL_HOST", "db.example.org", ("Database", "db.example.org")),
        ("POSTGRES_HOSTS", "[2001:db8::7]:5432", ("Postgres", "2001:db8::7")),
        ("REDIS_ADDRESS", '"cache.example.org:6379"', ("Redis", "cache.example.org")),
        ("DATABASE_URL", "POSTGRES://notes@db.example.org/notes", ("Postgres", "db.example.org")),
        ("JAVA_OPTS", "-Xmx1g -Ddb=jdbc:postgresql://db.example.org/x -Dy", ("Postgres", "db.example.org")),
        ("SERVE", "serve --db postgres://db.example.org/x --verbose now", ("Postgres", "db.example.org")),
        ("SETTINGS", '{"url": "postgres://db.example.org/x", "pool": 5}', ("Postgres", "db.example.org")),
        ("DSN", "notes:s3cret@tcp(db.example.org:3306)/notes", ("MySQL", "db.example.org")),
        ("DATABASE_DSN", "host=db.example.org port=5432 dbname=notes", ("Database", "db.example.org")),
        ("CONNECTION", "Server=db.example.org;Database=notes;Password=s3cret", ("SQL", "db.example.org")),
        ("REDIS_SENTINELS", "redis-sentinel://s1.example.org:26379/0", ("Redis", "s1.example.org")),
    ],
)
def test_a_database_that_is_no_service_of_the_stack_is_told_without_its_password(
    variable: str, value: str, found: tuple[str, str]
) -> None:
    (outside,) = outside_databases(notes(**{variable: value}), stack=STACK)
    assert (outside.service, outside.variable, outside.kind, outside.host) == ("app", variable, *found)
    assert "s3cret" not in repr(outside)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "postgres://notes:secret@db:5432/notes"),
        ("DATABASE_URL", f"postgres://notes@{STACK}_db/notes"),
        ("DATABASE_URL", "postgres://notes@database/notes"),
        ("DATABASE_URL", "postgres://notes@tasks.db/notes"),
        ("DATABASE_URL", "postgres:///notes?host=/run/postgresql"),
        ("DATABASE_URL", "sqlite:////data/notes.db"),
        ("DB_HOST", "DB"),
        ("DB_HOST", "localhost"),
        ("DB_HOST", ""),
        ("DB_HOST", "/run/postgresql"),
        ("SMTP_HOST", "mail.example.org"),
        ("PUBLIC_URL", "https://notes.example.org"),
        ("DB_HOSTING_PLAN", "gold"),
        ("DB_HOST", f"{STACK}_db"),
        ("DB_HOST", f"{STACK}_db:5432"),
        ("DB_HOSTS", f"db,{STACK}_db:5432 database"),
        ("DB_HOST", f"db.{STACK}_default"),
        ("DB_HOST", f"tasks.{STACK}_db"),
        ("X__DATABASE__HOST", "db"),
        ("PUBLIC_URL_HOST", "notes.example.org"),
        ("MYSQL_ROOT_HOST", "10.0.0.7"),
        ("REDIS_BIND_ADDRESS", "10.0.0.7"),
        ("DB_SERVER", "true"),
        ("MOTD", "Old data is at postgres://db.example.org/notes for now"),
        ("MOTD", "postgres://db.example.org/notes is gone"),
        ("HELP", "e.g. postgres://user@host/notes"),
        ("DATABASE_DSN", f"host={STACK}_db dbname=notes"),
        ("ALLOWED_HOSTS", "notes.example.org"),
        ("DB_HOST", "${STACK_NAME}_db"),
        ("DB_HOST", "{{ .Service.Name }}"),
    ],
)
def test_what_is_inside_or_no_database_is_not_told(variable: str, value: str) -> None:
    assert outside_databases(notes(**{variable: value}), stack=STACK) == ()


def test_several_hosts_of_one_address_are_each_told() -> None:
    found = outside_databases(notes(MONGO_URL="mongodb://a.example.org:27017,db,b.example.org/notes"), stack=STACK)
    assert [each.host for each in found] == ["a.example.org", "b.example.org"]


def test_of_a_list_of_hosts_each_that_is_outside_is_told_once() -> None:
    found = outside_databases(notes(REDIS_HOSTS="a.example.org:6379, db:6379 ;b,a.example.org"), stack=STACK)
    assert [each.host for each in found] == ["a.example.org", "b"]


@pytest.mark.parametrize("said", ["db.example.org", "DB.example.org", "db.example.org:5432", "db.example.org."])
def test_a_host_is_disposable_however_it_is_spelt(said: str) -> None:
    facts = notes(DB_HOST="db.Example.org:5432", DATABASE_URL="postgres://u@db.example.org/x")
    found = coverage(facts, stack=STACK, disposable=(Disposable(host=said, reason="x"),))
    assert (found.blocking, found.unused) == ((), ())


def test_the_same_service_name_in_another_stack_is_outside() -> None:
    (found,) = outside_databases(notes(DB_HOST="warm-wiki_ci_test_db"), stack=STACK)
    assert found.host == "warm-wiki_ci_test_db"


def test_a_database_outside_blocks_a_canonical_and_names_the_variable_unless_it_is_disposable() -> None:
    facts = notes(DATABASE_URL="postgres://notes:s3cret@db.example.org/notes")
    (path,) = coverage(facts, stack=STACK).blocking
    assert (path.service, path.target, path.kind, path.source) == (
        "app",
        "DATABASE_URL",
        "outside database",
        "db.example.org",
    )
    waived = coverage(facts, stack=STACK, disposable=(Disposable(host="db.example.org", reason="a test database"),))
    assert waived.complete
    assert waived.unused == ()
    assert "a test database" in waived.paths[0].why
    other = coverage(facts, stack=STACK, disposable=(Disposable(host="example.org", reason="x"),))
    assert (other.complete, other.unused) == (False, ("example.org",))


@pytest.mark.parametrize(
    ("nodes", "constraints", "covered"),
    [
        (Nodes(), [], True),
        (Nodes(1, "one", "abc"), [], True),
        (Nodes(3, "one", "abc"), [], False),
        (Nodes(3, "one", "abc"), ["node.hostname == one"], True),
        (Nodes(3, "one", "abc"), ["node.id==abc"], True),
        (Nodes(3, "one", "abc"), ["node.hostname==two"], False),
        (Nodes(3, "one", "abc"), ["node.role==manager"], False),
        (Nodes(3), ["node.hostname=="], False),
    ],
)
def test_a_volume_is_covered_only_where_its_service_can_run_nowhere_else(
    nodes: Nodes, constraints: list[str], *, covered: bool
) -> None:
    service = {"volumes": ["data:/srv"], "deploy": {"placement": {"constraints": constraints}}}
    facts = compose_facts({"services": {"app": service}, "volumes": {"data": None}})
    (path,) = coverage(facts, nodes=nodes).paths
    assert (path.covered, path.blocks) == (covered, not covered)
    if not covered:
        assert path.why == "may be on any of the Swarm's 3 nodes"


NAMED = {
    "services": {
        "app": {
            "image": "notes:1",
            "volumes": [
                {"type": "volume", "source": "cache", "target": "/var/cache"},
                {"type": "bind", "source": "/srv", "target": "/host"},
            ],
            "secrets": [{"source": "key", "target": "key"}],
        }
    },
    "volumes": {"cache": {"name": "x_cache"}},
    "secrets": {"key": {"name": "x_key_v1", "external": True}},
}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"volume": "cache"}, False),
        ({"path": "/var/cache"}, False),
        ({"path": "/host"}, False),
        ({"volume": "cahce"}, True),
        ({"path": "/var/cahce"}, True),
        ({"host": "db.example.org"}, True),
        ({"host": "cache"}, True),
        ({"volume": "/var/cache"}, True),
        ({"volume": "key"}, True),
        ({"path": "/run/secrets/key"}, True),
    ],
    ids=str,
)
def test_a_disposable_that_names_nothing_of_its_kind_is_told(entry: dict[str, str], *, told: bool) -> None:
    said = SimpleNamespace(file=Path("recipe.toml"), disposable=(Disposable(**entry, reason="x"),), sentinels=())
    found = names_nothing(said, compose_facts(NAMED), stack=STACK)  # type: ignore[arg-type]  # as much as is read
    assert [finding.code for finding in found] == (["names-nothing"] if told else [])
    assert all(repr(next(iter(entry.values()))) in finding.text for finding in found)


def test_a_sentinel_of_a_service_that_this_version_does_not_have_is_told() -> None:
    sql, file = SqlSentinel(kind="sql", service="db"), FileSentinel(kind="file", service="app", path="/x")
    said = SimpleNamespace(file=Path("recipe.toml"), disposable=(), sentinels=(sql, file))
    (found,) = names_nothing(said, compose_facts(NAMED), stack=STACK)  # type: ignore[arg-type]  # as much as is read
    assert found.text == "[[sentinel]] of kind sql names the service 'db'; there are app"


def test_what_an_image_declares_and_nothing_covers_is_told_to_be_in_no_snapshot() -> None:
    service = {"image": "app:1", "volumes": ["data:/srv/"], "tmpfs": ["/run/x"]}
    facts = compose_facts({"services": {"app": service}, "volumes": {"data": None}})
    declared = {"app:1": ["/srv", "/srv/cache", "/run/x/"], "other:1": ["/else"]}
    found = coverage(facts, declared=declared)
    (path,) = [path for path in found.paths if path.kind == "image volume"]
    assert (path.service, path.target, path.source, path.covered) == ("app", "/srv/cache", "app:1", False)
    assert "in no snapshot" in path.why
    assert found.complete
