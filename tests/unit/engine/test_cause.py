"""Which line of a log tells why a program failed: logs as they really look."""

from __future__ import annotations

import time

import pytest

from pytest_ccci.engine.cause import DeathFacts, cause_line, error_line

DJANGO = """\
Operations to perform:
  Apply all migrations: documents
Running migrations:
  Applying documents.0005_merge_people...Traceback (most recent call last):
  File "/app/manage.py", line 14, in <module>
    execute_from_command_line(sys.argv)
  File "/app/documents/migrations/0005_merge_people.py", line 8, in merge
    raise RuntimeError(f"cannot merge {people} people: the table documents_workspace does not exist")
RuntimeError: cannot merge 1 people: the table documents_workspace does not exist
"""
CHAINED = """\
Traceback (most recent call last):
  File "/usr/lib/python3/site-packages/django/db/backends/utils.py", line 89, in _execute
    return self.cursor.execute(sql, params)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
psycopg.errors.UndefinedColumn: column documents_document.field does not exist
LINE 1: SELECT "documents_document"."field" FROM "documents_document"
               ^

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/app/views.py", line 3, in get
    list(Document.objects.all())
django.db.utils.ProgrammingError: column documents_document.field does not exist
LINE 1: SELECT "documents_document"."field" FROM "documents_document"
               ^
"""
GUNICORN = """\
[2026-01-01 10:00:00 +0000] [7] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "/usr/lib/python3/site-packages/gunicorn/arbiter.py", line 608, in spawn_worker
    worker.init_process()
ModuleNotFoundError: No module named 'impress'
[2026-01-01 10:00:00 +0000] [7] [INFO] Worker exiting (pid: 7)
[2026-01-01 10:00:01 +0000] [1] [ERROR] Worker (pid:7) exited with code 3
[2026-01-01 10:00:01 +0000] [1] [ERROR] Shutting down: Master
[2026-01-01 10:00:01 +0000] [1] [ERROR] Reason: Worker failed to boot.
"""
POSTGRES = """\
PostgreSQL Database directory appears to contain a database; Skipping initialization

2026-01-01 10:00:00.123 UTC [1] LOG:  skipping missing configuration file "/data/postgresql.auto.conf"
2026-01-01 10:00:00.124 UTC [1] FATAL:  database files are incompatible with server
2026-01-01 10:00:00.124 UTC [1] DETAIL:  The data directory was initialized by PostgreSQL version 15.
"""
NODE = """\
node:internal/modules/cjs/loader:1228
  throw err;
  ^

Error: Cannot find module '/app/server.js'
    at Module._resolveFilename (node:internal/modules/cjs/loader:1225:15)
    at Module._load (node:internal/modules/cjs/loader:1051:27)
    at node:internal/main/run_main_module:28:49 {
  code: 'MODULE_NOT_FOUND',
  requireStack: []
}

Node.js v20.18.0
"""
JAVA = """\
2026-01-01 10:00:00,123 ERROR [org.keycloak.cli] (main) ERROR: Failed to start server in (production) mode
Exception in thread "main" java.lang.RuntimeException: Failed to start quarkus
\tat io.quarkus.runner.ApplicationImpl.doStart(Unknown Source)
Caused by: org.hibernate.exception.JDBCConnectionException: unable to acquire JDBC Connection
\tat org.hibernate.internal.SessionImpl.connect(SessionImpl.java:101)
\t... 12 more
Caused by: java.net.UnknownHostException: db
\tat java.base/java.net.InetAddress.getAllByName(InetAddress.java:1)
\t... 31 more
"""
GO = """\
time="2026-01-01T10:00:00Z" level=info msg="starting"
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x4a1b2c]

goroutine 1 [running]:
main.main()
\t/src/main.go:8 +0x1d
exit status 2
"""
NGINX = """\
2026/01/01 10:00:00 [emerg] 1#1: host not found in upstream "backend" in /etc/nginx/nginx.conf:5
nginx: [emerg] host not found in upstream "backend" in /etc/nginx/nginx.conf:5
"""
COLOURS = "\x1b[32mINFO\x1b[0m  ready\n\x1b[1;31m10:00:00.001 [error] cannot open \x1b[4m/data/db\x1b[0m\n\x1b[0m"

LOGS = {
    "python": (DJANGO, "RuntimeError: cannot merge 1 people: the table documents_workspace does not exist"),
    "python, chained": (CHAINED, "django.db.utils.ProgrammingError: column documents_document.field does not exist"),
    "python under gunicorn": (GUNICORN, "ModuleNotFoundError: No module named 'impress'"),
    "postgres": (POSTGRES, "[1] FATAL: database files are incompatible with server"),
    "node": (NODE, "Error: Cannot find module '/app/server.js'"),
    "java": (JAVA, "Caused by: java.net.UnknownHostException: db"),
    "go": (GO, "panic: runtime error: invalid memory address or nil pointer dereference"),
    "go, logged": (
        'level=info msg=up\nlevel=fatal msg="listen tcp :80: bind: permission denied"\nlevel=info msg=bye\n',
        'level=fatal msg="listen tcp :80: bind: permission denied"',
    ),
    "shell": (
        "starting\n/entry.sh: line 3: migrate: command not found\n",
        "/entry.sh: line 3: migrate: command not found",
    ),
    "dash": ("sh: 1: gunicorn: not found\n", "sh: 1: gunicorn: not found"),
    "nginx": (NGINX, 'nginx: [emerg] host not found in upstream "backend" in /etc/nginx/nginx.conf:5'),
    "colours and a time": (COLOURS, "[error] cannot open /data/db"),
    "carriage returns": ("10 %\r50 %\rcannot write: read-only file system\r\n", "cannot write: read-only file system"),
    "no word for an error": ("one\n2026-01-01T10:00:00Z two\n\n", "two"),
    "nothing": ("", ""),
    "blank": (" \n\n\t\n", ""),
    "a traceback that was cut at its end": (
        f"{DJANGO.rpartition(chr(10) + 'Runtime')[0]}\n",
        'raise RuntimeError(f"cannot merge {people} people: the table documents_workspace does not exist")',
    ),
}


@pytest.mark.parametrize(("log", "line"), LOGS.values(), ids=LOGS)
def test_the_line_that_names_the_cause_is_chosen(log: str, line: str) -> None:
    assert error_line(log) == line


def test_a_line_of_ten_megabytes_is_cut_around_what_was_found_and_costs_nothing() -> None:
    long = "x " * 5_000_000 + "fatal: cannot read the key " + "y " * 2000
    started = time.process_time()
    found = error_line(f"{long}\n")
    assert "fatal: cannot read the key" in found
    assert len(found) <= 302
    assert time.process_time() - started < 1


CAUSES = {
    "how it ended and its words": (
        DeathFacts(exit_code=1, log=DJANGO),
        "exit status 1: RuntimeError: cannot merge 1 people: the table documents_workspace does not exist",
    ),
    "without a log": (DeathFacts(exit_code=3), "exit status 3"),
    "a signal by its name": (DeathFacts(exit_code=139, log="ready"), "exit status 139 (SIGSEGV): ready"),
    "no such command": (DeathFacts(exit_code=127), "exit status 127 (its command was not found)"),
    "out of memory before its log": (
        DeathFacts(exit_code=137, out_of_memory=True, unhealthy=True, health_output="timeout", log="loading model"),
        "out of memory: killed by the kernel: its last words: loading model",
    ),
    "stopped because its check failed": (
        DeathFacts(exit_code=137, unhealthy=True, health_output="curl: (7) Failed to connect\n", log="cannot bind :80"),
        "its health check failed: curl: (7) Failed to connect: its log: cannot bind :80",
    ),
    "it ended by itself while its check failed, too": (
        DeathFacts(exit_code=1, unhealthy=True, health_output="no server", log=POSTGRES),
        "exit status 1: [1] FATAL: database files are incompatible with server",
    ),
    "it runs and its check fails": (
        DeathFacts(unhealthy=True, health_output="/tmp:5432 - no response\n"),
        "its health check failed: /tmp:5432 - no response",
    ),
    "a check that prints nothing": (DeathFacts(unhealthy=True), "its health check failed: without a word"),
    "it ended by itself without a word": (
        DeathFacts(exit_code=1, unhealthy=True, health_output="no server"),
        "exit status 1: its health check failed: no server",
    ),
    "nothing is known": (DeathFacts(), ""),
}


@pytest.mark.parametrize(("facts", "line"), CAUSES.values(), ids=CAUSES)
def test_the_cause_is_told_in_one_line(facts: DeathFacts, line: str) -> None:
    assert cause_line(facts) == line
    assert "\n" not in cause_line(facts)
