"""Image references, and whether their registries can be reached by the engine."""

from __future__ import annotations

import enum
import logging
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_ccci.errors import EngineUnavailable

if TYPE_CHECKING:
    import docker

__all__ = ["Answer", "Reference", "Registries", "State", "classify", "parse_reference"]

_LOG = logging.getLogger(__name__)

_HUB = "docker.io"
_LOCAL = "localhost"


@dataclass(frozen=True)
class Reference:
    """``name`` is the familiar form without tag: ``postgres``, ``quay.io/keycloak/keycloak``, ``localhost/x``."""

    host: str
    name: str
    tag: str
    digest: str

    @property
    def local(self) -> bool:
        """Whether no registry is ever asked for it."""
        return self.host == _LOCAL

    def __str__(self) -> str:
        tagged = f"{self.name}:{self.tag}" if self.tag else self.name
        return f"{tagged}@{self.digest}" if self.digest else tagged


def parse_reference(text: str) -> Reference:
    """Read ``text`` as distribution/reference does: a first part with a dot or colon, or ``localhost``, is a host."""
    rest, _, digest = text.partition("@")
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        path, tag = rest, ""
    host, slash, remainder = path.partition("/")
    if not slash or not ("." in host or ":" in host or host == _LOCAL):
        host, remainder = _HUB, path
    if host in {_HUB, "index.docker.io"}:
        host, name = _HUB, remainder.removeprefix("library/")
    else:
        name = f"{host}/{remainder}"
    return Reference(host, name, tag if tag or digest else "latest", digest)


PROBE_SECONDS = 5.0

_LIMIT = ("toomanyrequests", "too many requests", "pull rate limit", "429")
_NO_SUCH = ("manifest unknown", "not found", "name unknown", "repository does not exist", "no such manifest")
_NOT_FOR_US = ("unauthorized", "access denied", "denied:", "authentication required", "forbidden")


# Go's client tells of a proxy that refuses in these words: the proxy's status stands where a registry's answer would.
_PROXY = re.compile(r"""proxyconnect |proxy authentication required|": (?:forbidden|bad gateway|gateway timeout)$""")


class State(enum.Enum):
    """What a registry said of an image."""

    HAS = "has it"
    MISSING = "has no such image"
    DENIED = "has no such image, or not for us"
    LIMITED = "refuses further pulls for now (pull limit)"
    UNREACHABLE = "cannot be reached"


@dataclass(frozen=True)
class Answer:
    """``seen`` is the registry's or engine's own text."""

    state: State
    seen: str = ""


def classify(status: int, text: str) -> State:
    """What an engine's error about a registry means. Unknown ones count as out of reach: the recipe is not blamed."""
    low = text.lower()
    if _PROXY.search(low):
        return State.UNREACHABLE
    if status == 429 or any(word in low for word in _LIMIT):  # noqa: PLR2004  HTTP: too many requests
        return State.LIMITED
    if "dial tcp" in low or "no such host" in low or "i/o timeout" in low:
        return State.UNREACHABLE
    if any(word in low for word in _NOT_FOR_US):
        return State.DENIED
    if status == 404 or any(word in low for word in _NO_SUCH):  # noqa: PLR2004  HTTP: not found
        return State.MISSING
    return State.UNREACHABLE


@dataclass
class Registries:
    """What was found out in this session: a host that is out of reach is asked once."""

    seconds: float = PROBE_SECONDS
    _lost: dict[tuple[str, str], Answer] = field(default_factory=dict)
    _guards: dict[tuple[str, str], threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, client: docker.DockerClient, reference: Reference) -> Answer:
        """Whether the registry of ``reference`` has it; bounded, and at once when it is known to be out of reach."""
        key = (_engine(client), reference.host)
        with self._guard:
            guard = self._guards.setdefault(key, threading.Lock())
        with guard:
            if key in self._lost:
                return self._lost[key]
            answer = self._ask_now(client, reference)
            if answer.state is State.UNREACHABLE:
                self._lost[key] = answer
                why = f"{answer.seen}; {proxy_text(client)}"
                _LOG.warning(f"images: the registry {reference.host} cannot be reached from the engine: {why}")
        return answer

    def _ask_now(self, client: docker.DockerClient, reference: Reference) -> Answer:
        answers: list[Answer | None] = []
        # The SDK bounds no single request; a thread that hangs in a dead network must not keep us.
        asker = threading.Thread(target=lambda: answers.append(_inspect(client, str(reference))), daemon=True)
        asker.start()
        asker.join(self.seconds)
        if answers and answers[0] is None:
            raise EngineUnavailable("the engine does not answer while a registry is asked", where=str(reference))
        return (
            answers[0]
            if answers and answers[0]
            else Answer(State.UNREACHABLE, f"no answer within {self.seconds:.0f} s")
        )


def proxy_text(client: docker.DockerClient) -> str:
    """Through which proxy the engine asks registries: its own settings count, not those of this process."""
    from docker.errors import DockerException  # noqa: PLC0415  loaded only when an engine is used
    from requests import RequestException  # noqa: PLC0415  the SDK lets these through

    try:
        told = client.info()
    except (DockerException, RequestException, OSError):
        return "its proxy is not known"
    proxy, without = told.get("HttpsProxy") or told.get("HttpProxy") or "", told.get("NoProxy") or ""
    if not proxy:
        return "the engine uses no proxy (its own HTTPS_PROXY or daemon.json would name one)"
    return f"the engine asks through the proxy {proxy}" + (f" but for {without}" if without else "")


def _inspect(client: docker.DockerClient, ref: str) -> Answer | None:
    """The answer; ``None`` when the engine itself gave none."""
    from docker.errors import APIError, DockerException  # noqa: PLC0415  loaded only when an engine is used
    from requests import RequestException  # noqa: PLC0415  the SDK lets these through

    try:
        client.images.get_registry_data(ref)
    except APIError as error:
        text = str(error.explanation or error)
        return Answer(classify(_status(error), text), text)
    except (DockerException, RequestException, OSError):
        return None
    return Answer(State.HAS)


def _status(error: Any) -> int:
    return int(error.status_code or 0)


def _engine(client: docker.DockerClient) -> str:
    return f"{client.api.base_url}#{id(client.api)}"
