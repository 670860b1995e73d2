"""Whether this version can serve: its database answers and has every migration of it, and its cache answers."""

import logging

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.http import JsonResponse

from standin import hooks

_log = logging.getLogger(__name__)
_needed = set()


def remember_migrations():
    """Note which migrations this version brings; called once, before the workers are forked."""
    _needed.update(MigrationLoader(None).disk_migrations)


def heartbeat(request):
    """200 when this version can serve, 503 with the reason when not."""
    reason = _reason()
    if reason:
        _log.warning("not ready: %s", reason)
    status = "not ready" if reason else "ok"
    facts = {"status": status, "version": settings.APP_VERSION, "reason": reason}
    return JsonResponse(facts, status=503 if reason else 200)


def _reason():
    try:
        missing = _needed - _applied()
        cache.get("heartbeat")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        return f"{type(error).__name__}: {error}"
    if missing:
        return f"migrations are missing: {sorted(missing)}"
    return hooks.not_ready_because()


def _applied():
    with connection.cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations")
        return set(cursor.fetchall())
