"""The secrets of a live-warm app: the engine has the truth but cannot be asked, a running container can.

Undeploying removes an app's secrets, and its data needs the very same ones again: they are kept in the state directory,
and before anything is undeployed the copy is compared with what the containers hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.containers import exec_in
from pytest_ccci.engine.inspect import stack_filter
from pytest_ccci.errors import DeadlineExceeded, InfrastructureFault
from pytest_ccci.statedir import StateDir, write_atomic
from pytest_ccci.waiting import Deadline, until

__all__ = ["keep_secrets", "known_secrets", "learn_secrets", "read_secret", "require_known"]

_PATIENCE = 15.0
_EXEC_TIMEOUT = 20.0


def known_secrets(state: StateDir, app: str) -> dict[str, str]:
    """The kept values (full Swarm name → value) of ``app``."""
    try:
        content = json.loads((state.infra(app) / "secrets.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {str(name): str(value) for name, value in content.items()}


def keep_secrets(state: StateDir, app: str, values: Mapping[str, str]) -> None:
    """Add ``values`` (full Swarm name → value) to what is kept of ``app``."""
    known = known_secrets(state, app)
    both = {**known, **values}
    if both != known:
        write_atomic(state.infra(app) / "secrets.json", json.dumps(both, indent=1).encode())


def learn_secrets(engine: Engine, stack: str, state: StateDir, app: str) -> dict[str, str]:
    """Read every secret of the running stack from its containers, keep them all, and return them.

    Raises:
        InfrastructureFault: one cannot be read.
    """
    held = {name: read_secret(engine, stack, service, target) for service, name, target in _mounted(engine, stack)}
    keep_secrets(state, app, held)
    return held


def require_known(engine: Engine, stack: str, state: StateDir, app: str) -> None:
    """See that every secret of the stack is kept, where one is not by reading it: what dies may have none running.

    Raises:
        InfrastructureFault: one is not kept and cannot be read.
    """
    if {name for _, name, _ in _mounted(engine, stack)} - set(known_secrets(state, app)):
        learn_secrets(engine, stack, state, app)


def read_secret(engine: Engine, stack: str, service: str, target: str) -> str:
    """What the running container of ``service`` holds under ``/run/secrets/<target>``.

    Asked again for a while: on a busy machine an exec's output was seen to get lost although it ended with 0.

    Raises:
        RecipeFault: nothing of the service runs.
        InfrastructureFault: it holds no such secret.
    """
    path = target if target.startswith("/") else f"/run/secrets/{target}"
    seen: list[str] = []

    def read() -> str | None:
        done = exec_in(engine, stack, service, ["cat", path], timeout=_EXEC_TIMEOUT)
        seen[:] = [f"exit status {done.rc}, {len(done.stdout)} characters {done.stderr[:200]}"]
        return done.stdout if done.rc == 0 and done.stdout else None

    try:
        return until(read, deadline=Deadline(_PATIENCE), what=f"secret {target}", every=0.3)
    except DeadlineExceeded as error:
        raise InfrastructureFault(
            f"service {service} holds no secret {target}", where=stack, seen="".join(seen)
        ) from error


def _mounted(engine: Engine, stack: str) -> list[tuple[str, str, str]]:
    """Service, full secret name and file name of every secret of the stack, each secret once."""
    with engine_errors(f"looking at the secrets of {stack}"):
        services = engine.client.api.services(filters=stack_filter(stack))
    found: dict[str, tuple[str, str, str]] = {}
    for service in services:
        short = service["Spec"]["Name"].removeprefix(f"{stack}_")
        for secret in service["Spec"]["TaskTemplate"]["ContainerSpec"].get("Secrets") or ():
            found.setdefault(secret["SecretName"], (short, secret["SecretName"], secret["File"]["Name"]))
    return list(found.values())
