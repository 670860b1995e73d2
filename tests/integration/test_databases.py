"""Databases as recipes run them: the sentinel's row goes through upgrade, backup and restore, and its loss is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from page import write_page
from realruns import PAGE_TEST, Pytest, own_name

from pytest_ccci.errors import Verdict

MARIADB = """\
version: "3.8"
services:
  app:
    image: nginx:1.22
    networks: [proxy, internal]
    environment: {RELEASE: "@RELEASE@"}
    healthcheck: {test: [CMD, bash, -c, "exec 3<>/dev/tcp/127.0.0.1/80"], interval: 30s, retries: 3}
    deploy:
      labels:
        - traefik.enable=true
        - traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80
        - traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`)
        - traefik.http.routers.${STACK_NAME}.entrypoints=web-secure
        - traefik.http.routers.${STACK_NAME}.tls=true
        - coop-cloud.${STACK_NAME}.version=@RELEASE@
  db:
    image: mariadb:10.11
    networks: [internal]
    volumes: [db:/var/lib/mysql]
    environment:
      MYSQL_DATABASE: blog
      MYSQL_USER: blog
      MYSQL_PASSWORD_FILE: /run/secrets/db_password
      MARIADB_ROOT_PASSWORD: root-of-this-test
    secrets: [db_password]
    healthcheck: {test: [CMD, healthcheck.sh, --connect, --innodb_initialized], interval: 30s, retries: 10}
    deploy:
      labels:
        backupbot.backup: "true"
        backupbot.backup.pre-hook: >-
          sh -c 'MYSQL_PWD="$$MARIADB_ROOT_PASSWORD" mariadb-dump -uroot --result-file=/var/lib/mysql/backup.sql blog'
        backupbot.backup.volumes.db.path: "backup.sql"
        backupbot.restore.post-hook: >-
          sh -c 'MYSQL_PWD="$$MARIADB_ROOT_PASSWORD" mariadb -uroot blog < /var/lib/mysql/backup.sql'
volumes: {db: }
networks: {proxy: {external: true}, internal: }
secrets: {db_password: {external: true, name: "${STACK_NAME}_db_password_${SECRET_DB_PASSWORD_VERSION}"}}
"""
ENV = "TYPE=page\nDOMAIN=x\nSECRET_DB_PASSWORD_VERSION=v1  # length=24\n"
TOML = """\
canonical = true
[source]
bundled = "releases"
[[sentinel]]
kind = "sql"
service = "db"
"""
EMPTIES = r"""
    image: mariadb:10.11
    entrypoint:
      - sh
      - -c
      - |
        printf 'DROP DATABASE blog;\nCREATE DATABASE blog;\n' > /dev/shm/begin.sql
        chmod 644 /dev/shm/begin.sql
        exec docker-entrypoint.sh mariadbd --init-file=/dev/shm/begin.sql
"""
PAGE = PAGE_TEST.replace("/ccci.txt", "/")


@pytest.fixture
def blog(tmp_path: Path) -> Path:
    """Two releases and a tip whose database is a MariaDB, and a sentinel that says no more than its service."""
    folder = write_page(tmp_path / "recipes" / own_name(), tests=PAGE, compose=MARIADB, toml=TOML)
    for place in (folder / "releases").iterdir():
        (place / ".env.sample").write_text(ENV, encoding="utf-8")
    return folder


def test_a_row_in_mariadb_is_kept_backed_up_and_restored_without_a_word_of_the_author(
    user_pytest: Pytest, blog: Path
) -> None:
    done = user_pytest("--cold", "--ccci-ref", "latest", blog)
    assert done.rc == 0
    verdicts = {tier.tier: tier.verdict for tier in done.result.tiers}
    assert verdicts == dict.fromkeys(("install", "upgrade", "backup", "restore", "custom", "settle"), Verdict.PASS)
    assert done.result.known_good.action == "seeded"
    again = user_pytest("--quick", blog)
    assert again.rc == 0
    assert again.result.mode == "quick"


def test_a_version_that_empties_the_database_is_red_where_it_does_and_with_the_row_that_is_gone(
    user_pytest: Pytest, blog: Path
) -> None:
    """The head makes the database anew at its start, as an app does that finds its schema too old."""
    file = blog / "releases" / "tip" / "compose.yml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("    image: mariadb:10.11\n", EMPTIES), encoding="utf-8")
    done = user_pytest("--cold", blog)
    assert done.rc == 1
    upgrade = done.tier("upgrade")
    assert upgrade.verdict == Verdict.FAIL
    assert upgrade.reason.startswith("the row in blog.ccci_sentinel cannot be read after the upgrade")
    assert "Table 'blog.ccci_sentinel' doesn't exist" in upgrade.reason
    assert done.tier("install").verdict == Verdict.PASS
