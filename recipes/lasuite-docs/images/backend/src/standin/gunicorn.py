"""How the backend is served, and what happens before it is: the migrations.

One process imports Django, migrates, and forks the worker that serves; nothing listens before the migrations are done.
"""

import time

bind = "0.0.0.0:8000"
workers = 1
threads = 8
worker_class = "gthread"
worker_tmp_dir = "/dev/shm"
preload_app = True
control_socket_disable = True
accesslog = None
graceful_timeout = 3

_PATIENCE = 120


def on_starting(server):
    """Wait for the database, migrate it. What fails here ends the process."""
    from django.core.management import call_command
    from django.db import connections

    from documents import readiness
    from standin import hooks

    hooks.before_migrations()
    _wait_for_database(server)
    call_command("migrate", interactive=False, skip_checks=True)
    readiness.remember_migrations()
    connections.close_all()


def _wait_for_database(server):
    from django.db import OperationalError, connection

    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.ensure_connection()
        except OperationalError as error:
            if time.monotonic() > deadline:
                raise
            server.log.info("waiting for the database: %s", str(error).strip().splitlines()[0])
            time.sleep(0.2)
        else:
            return
