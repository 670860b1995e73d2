"""The stand-ins behave like the official images as far as recipes use them, on a real engine."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from pytest_httpserver import HTTPServer

from pytest_ccci.engine.client import connect
from pytest_ccci.engine.containers import ExecResult, exec_in_container
from pytest_ccci.engine.images import ImageFact, prepare
from pytest_ccci.engine.registry import Registries
from pytest_ccci.engine.standin_build import BUILT
from pytest_ccci.engine.standin_definitions import load_definitions
from pytest_ccci.errors import ImageMissing, ImageUnavailable
from pytest_ccci.waiting import Deadline, until

pytestmark = pytest.mark.alone
OURS = {"org.pytest-ccci.test": "images"}
Start = Callable[..., Container]


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    made = docker.from_env(timeout=120)
    yield made
    made.close()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture
def have(client: docker.DockerClient, cache: Path) -> Callable[..., ImageFact]:
    def prepared(ref: str, *folders: Path) -> ImageFact:
        (fact,) = prepare(client, [ref], definitions=load_definitions(*folders), cache=cache, registries=Registries())
        return fact

    return prepared


@pytest.fixture
def start(client: docker.DockerClient, have: Callable[..., ImageFact]) -> Iterator[Start]:
    with ExitStack() as undo:

        def started(ref: str, *command: str, **options: Any) -> Container:
            have(ref)
            container = client.containers.run(ref, list(command) or None, detach=True, labels=OURS, **options)
            undo.callback(container.remove, force=True, v=True)
            return container

        yield started


@pytest.fixture
def volume(client: docker.DockerClient) -> Iterator[str]:
    made = client.volumes.create(labels=OURS)
    yield str(made.name)
    made.remove()


def attempt(container: Container, *argv: str, **env: str) -> ExecResult:
    return exec_in_container(connect(os.environ["DOCKER_HOST"]), str(container.id), argv, env=env)


def run(container: Container, *argv: str, **env: str) -> str:
    result = attempt(container, *argv, **env)
    assert result.rc == 0, result.stderr
    return result.stdout.strip()


def ready(container: Container, *argv: str, seconds: float = 120) -> None:
    until(
        lambda: attempt(container, *argv).rc == 0,
        deadline=Deadline(seconds),
        what=" ".join(argv),
        seen=lambda: str(container.logs(tail=20).decode()),
    )


def sql(container: Container, text: str) -> str:
    return run(container, "psql", "-qtA", "-U", "app", "-d", "my-app", "-c", text)


def test_postgres_is_made_from_secret_files_and_scripts_and_runs_on_its_data_again(
    volume: str,
    start: Start,
    tmp_path: Path,  # the volume first: it is removed after the containers on it
) -> None:
    (tmp_path / "pw").write_text("geheim\n")
    (tmp_path / "init").mkdir()
    (tmp_path / "init" / "1.sql").write_text("create table t (x int); insert into t values (42);")
    data = {volume: {"bind": "/var/lib/postgresql/data", "mode": "rw"}}
    extra = {
        str(tmp_path / "pw"): {"bind": "/run/secrets/pw", "mode": "ro"},
        str(tmp_path / "init"): {"bind": "/docker-entrypoint-initdb.d", "mode": "ro"},
    }
    given = {"POSTGRES_PASSWORD_FILE": "/run/secrets/pw", "POSTGRES_USER": "app", "POSTGRES_DB": "my-app"}

    first = start("postgres:15", environment=given, volumes={**data, **extra})
    ready(first, "pg_isready", "-h", "127.0.0.1")
    first.reload()
    address = first.attrs["NetworkSettings"]["IPAddress"]
    over_tcp = ["psql", "-qtA", "-h", address, "-U", "app", "-d", "my-app", "-c", "select 1"]

    assert sql(first, "select x, current_setting('server_encoding') from t") == "42|UTF8"
    assert run(first, *over_tcp, PGPASSWORD="geheim") == "1"
    assert attempt(first, *over_tcp, PGPASSWORD="wrong").rc != 0
    assert "CREATE TABLE" in run(first, "pg_dump", "-U", "app", "my-app")
    assert run(first, "stat", "-c", "%U %a", "/var/lib/postgresql/data") == "postgres 700"
    assert run(first, "cat", "/proc/1/comm") == "postgres"

    started = time.monotonic()
    first.stop(timeout=20)
    assert time.monotonic() - started < 10  # SIGINT: a fast shutdown, that waits for no client
    second = start("postgres:15", volumes=data)
    ready(second, "pg_isready")
    assert sql(second, "select x from t") == "42"
    second.stop(timeout=20)


def test_postgres_without_a_password_says_so_and_ends(start: Start) -> None:
    container = start("postgres:15")

    assert container.wait(timeout=30)["StatusCode"] != 0
    assert b"POSTGRES_PASSWORD is not set" in container.logs()


def test_postgres_takes_options_of_the_server(start: Start) -> None:
    container = start("postgres:15", "-c", "max_connections=33", environment={"POSTGRES_PASSWORD": "x"})
    ready(container, "pg_isready", "-h", "127.0.0.1")

    assert run(container, "psql", "-qtA", "-U", "postgres", "-c", "show max_connections") == "33"


def test_redis_runs_as_its_user_on_its_data(start: Start) -> None:
    container = start("redis:7", "redis-server", "--appendonly", "yes")
    ready(container, "redis-cli", "ping")

    assert run(container, "redis-cli", "set", "a", "b") == "OK"
    assert run(container, "stat", "-c", "%U", "/proc/1", "/data/appendonlydir").split() == ["redis", "redis"]
    assert run(container, "redis-cli", "config", "get", "protected-mode").split()[-1] == "no"


def test_nginx_serves_content_fills_templates_and_logs_to_the_container(start: Start, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "web.conf.template").write_text('server { listen 81; location / { return 200 "$uri ${WHO}"; } }')
    templates = {str(tmp_path): {"bind": "/etc/nginx/templates", "mode": "ro"}}
    container = start("nginx:1.22", environment={"WHO": "me"}, volumes=templates)
    ready(container, "curl", "-sf", "http://localhost/")

    assert run(container, "curl", "-s", "http://localhost:81/x") == "/x me"
    assert b"GET /x HTTP/1.1" in container.logs(stderr=False)


@pytest.mark.parametrize("version", ["3.7.15", "3.7.13"])
def test_traefik_is_the_version_that_was_asked_for_and_healthy(start: Start, version: str) -> None:
    container = start(f"traefik:v{version}", "--ping=true")
    ready(container, "/traefik", "healthcheck", "--ping")

    assert version in run(container, "traefik", "version")
    assert run(container, "grep", "-c", "BEGIN CERTIFICATE", "/etc/ssl/certs/ca-certificates.crt").isdigit()


@pytest.mark.full
@pytest.mark.parametrize("version", ["25.0.6"])  # the newer ones start in every test of a whole run
def test_keycloak_starts_optimized_on_postgres_and_says_ready(start: Start, version: str) -> None:
    given = {"POSTGRES_PASSWORD": "kc", "POSTGRES_USER": "kc"}
    database = start("postgres:15", environment=given)
    ready(database, "pg_isready", "-h", "127.0.0.1")
    database.reload()
    address = database.attrs["NetworkSettings"]["IPAddress"]
    options = {"KC_DB_URL": f"jdbc:postgresql://{address}/kc", "KC_DB_USERNAME": "kc", "KC_DB_PASSWORD": "kc"}
    arguments = ["start", "--optimized", "--http-enabled=true", "--hostname=https://k.test", "--cache=local"]
    container = start(f"quay.io/keycloak/keycloak:{version}", *arguments, environment=options)
    check = "exec 3<>/dev/tcp/127.0.0.1/9000; printf 'GET /health/ready HTTP/1.0\\r\\n\\r\\n' >&3; grep -q '200 OK' <&3"
    ready(container, "bash", "-c", check, seconds=240)

    assert run(container, "id", "-u", "-n") == "keycloak"
    tables = run(database, "psql", "-qtA", "-U", "kc", "-c", "select version from migration_model")
    assert tables.startswith(version.rsplit(".", 1)[0])


def own(folder: Path, *, base: str, fetch: str, dockerfile: str, **files: str) -> None:
    folder.mkdir(parents=True)
    head = f'name = "localhost/ccci-test-{folder.name}"\nbase = "{base}"\n[versions]\n"1.0.0" = []\n'
    texts = {"image.toml": head + fetch, "Dockerfile": f"ARG BASE\nFROM ${{BASE}}\n{dockerfile}", **files}
    for name, text in texts.items():
        (folder / name).write_text(text)


@pytest.fixture
def own_image(client: docker.DockerClient) -> Iterator[Callable[[str], str]]:
    with ExitStack() as undo:

        def named(name: str) -> str:
            undo.callback(client.images.remove, f"localhost/ccci-test-{name}:1.0.0", force=True)
            return f"localhost/ccci-test-{name}:1.0.0"

        yield named


def test_a_recipes_python_image_has_its_packages_and_nothing_of_this_machine(
    client: docker.DockerClient, have: Callable[..., ImageFact], own_image: Callable[[str], str], tmp_path: Path
) -> None:
    own(
        tmp_path / "images" / "py",
        base="python:3.11-slim",
        fetch='[fetch.pip]\nrequirements = "r.txt"\n',
        dockerfile="COPY fetched/pip /opt/site\nENV PYTHONPATH=/opt/site PATH=/opt/site/bin:$PATH\n",
        **{"r.txt": "gunicorn==23.0.0\n"},
    )
    ref = own_image("py")
    first = have(ref, tmp_path / "images")
    again = have(ref, tmp_path / "images")

    assert (first.origin, first) == ("built", again)
    assert (first.fresh, again.fresh) == (True, False)
    assert b"23.0.0" in client.containers.run(ref, ["gunicorn", "--version"], remove=True)
    image = client.images.get(ref)
    assert image.labels[BUILT] == first.content
    words = json.dumps([image.attrs["Config"], image.history()]).lower()
    assert not [word for word in ("proxy", "pip_", "token", "index-url") if word in words]
    found = client.containers.run(
        ref, ["sh", "-c", "ls /etc/pip.conf /root/.netrc /root/.npmrc 2>&1 || true"], remove=True
    )
    assert found.count(b"No such file") == 3


def test_a_recipes_node_image_has_its_packages(
    client: docker.DockerClient, have: Callable[..., ImageFact], own_image: Callable[[str], str], tmp_path: Path
) -> None:
    own(
        tmp_path / "images" / "js",
        base="node:20-slim",
        fetch='[fetch.npm]\npackages = ["ws@8.18.0"]\n',
        dockerfile="WORKDIR /app\nCOPY fetched/npm/node_modules ./node_modules\nUSER node\n",
    )
    ref = own_image("js")
    have(ref, tmp_path / "images")

    told = client.containers.run(ref, ["-p", "require('ws/package.json').version + process.getuid()"], remove=True)
    assert told.strip() == b"8.18.01000"


def test_a_build_that_fails_shows_the_end_of_its_output(have: Callable[..., ImageFact], tmp_path: Path) -> None:
    own(tmp_path / "images" / "bad", base="debian:bookworm-slim", fetch="", dockerfile="RUN echo before && exit 3\n")

    with pytest.raises(ImageUnavailable, match=r"localhost/ccci-test-bad:1\.0\.0 failed") as caught:
        have("localhost/ccci-test-bad:1.0.0", tmp_path / "images")

    assert "before" in caught.value.seen


def test_a_registry_that_does_not_exist_is_found_out_fast(have: Callable[..., ImageFact]) -> None:
    started = time.monotonic()

    with pytest.raises(ImageUnavailable, match=r"registry\.invalid cannot be reached"):
        have("registry.invalid/x:1")

    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("status", "code", "error"), [(404, "MANIFEST_UNKNOWN", ImageMissing), (429, "TOOMANYREQUESTS", ImageUnavailable)]
)
def test_what_a_registry_answers_decides_who_is_blamed(
    have: Callable[..., ImageFact], httpserver: HTTPServer, status: int, code: str, error: type[Exception]
) -> None:
    httpserver.expect_request("/v2/").respond_with_json({})
    answer = {"errors": [{"code": code, "message": code.lower()}]}
    httpserver.expect_request("/v2/x/manifests/1").respond_with_json(answer, status=status)

    with pytest.raises(error):
        have(f"127.0.0.1:{httpserver.port}/x:1")


def test_an_image_that_a_registry_has_is_pulled_and_its_digest_told(
    client: docker.DockerClient, have: Callable[..., ImageFact], httpserver: HTTPServer
) -> None:
    ref = f"127.0.0.1:{httpserver.port}/x:1"
    digest = _serve_image(httpserver)

    fact = have(ref)
    try:
        assert (fact.origin, fact.digest) == ("pulled", digest)
        assert have(ref).origin == "present"
    finally:
        client.images.remove(ref)


def _serve_image(server: HTTPServer) -> str:
    """Serve ``x:1``, one small layer, as a registry does."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    layer = gzip.compress(raw.getvalue(), mtime=0)
    diff = f"sha256:{hashlib.sha256(raw.getvalue()).hexdigest()}"
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]}}
    ).encode()
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    parts = {"config": ("application/vnd.docker.container.image.v1+json", config)}
    parts["layer"] = ("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)
    rows: dict[str, dict[str, object]] = {}
    for name, (media, data) in parts.items():
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        rows[name] = {"mediaType": media, "size": len(data), "digest": digest}
        server.expect_request(f"/v2/x/blobs/{digest}").respond_with_data(data)
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": rows["config"], "layers": [rows["layer"]]}
    body = json.dumps(manifest).encode()
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    told = {"Docker-Content-Digest": digest}
    server.expect_request("/v2/").respond_with_json({})
    for name in ("1", digest):
        server.expect_request(f"/v2/x/manifests/{name}").respond_with_data(body, content_type=kind, headers=told)
    return digest
