"""Builds one image on the engine from what its definition says, and finds those that were built before."""

from __future__ import annotations

import errno
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ccci import locks
from pytest_ccci.engine.buildcontext import Plan, write_context
from pytest_ccci.engine.buildfetch import fetch, is_fetched
from pytest_ccci.errors import CcciError, DiskFull, EngineUnavailable, ImageUnavailable, UsageError
from pytest_ccci.waiting import Stopwatch

if TYPE_CHECKING:
    import docker

__all__ = ["BUILT", "STANDS_IN_FOR", "Built", "build"]

BUILT = "org.pytest-ccci.built"
"""The label whose value is the hash of what an image was built from; only our builds carry it."""
STANDS_IN_FOR = "org.pytest-ccci.stands-in-for"

_WAIT = 1800.0
_TAIL = 25
_NO_ROOM = "no space left on device"


@dataclass(frozen=True)
class Built:
    """An image of ours on the engine; ``fresh`` when this call made it."""

    image_id: str
    fresh: bool


def build(
    client: docker.DockerClient, plan: Plan, ref: str, *, base: str, cache: Path, tell: locks.Tell, why: str = ""
) -> Built:
    """Have ``ref`` on the engine as ``plan`` says: found by its hash, or built now, by one process at a time.

    Raises:
        ImageUnavailable: the build failed; shows the end of its output.
    """
    lock = cache / "locks" / f"build-{plan.content[:24]}.lock"
    with locks.hold(lock, wait=_WAIT, owner={"builds": ref}, tell=tell):
        found = _by_content(client, plan.content)
        if found is None:
            return Built(_build_now(client, plan, ref, base=base, cache=cache, tell=tell, why=why), fresh=True)
        client.api.tag(found, *_split(ref))
        return Built(found, fresh=False)


def _build_now(
    client: docker.DockerClient, plan: Plan, ref: str, *, base: str, cache: Path, tell: locks.Tell, why: str
) -> str:
    watch = Stopwatch()
    about = plan.definition.about and not is_fetched(plan, cache=cache)
    tell(f"images: building {ref}{f' ({why})' if why else ''}{f': fetching {plan.definition.about}' if about else ''}")
    try:
        fetched = fetch(plan, cache=cache)
        seconds = watch.seconds
        image = _with_context(client, plan, fetched, ref, base=base, cache=cache)
    except CcciError as error:
        raise _told(error, ref) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DiskFull(f"no room left while {ref} was built", where=str(cache)) from error
    tell(f"images: built {ref} in {watch.seconds:.1f} s (fetching {seconds:.1f} s)")
    return image


def _told(error: CcciError, ref: str) -> CcciError:
    if _NO_ROOM in f"{error.what} {error.seen}".lower():
        return DiskFull(f"no room left while {ref} was built", seen=error.what, advice="`ccci prune`, or a larger disk")
    if isinstance(error, ImageUnavailable | UsageError | EngineUnavailable):
        return error
    return ImageUnavailable(f"building {ref} failed: {error.what}", seen=error.seen, advice=error.advice)


def _with_context(
    client: docker.DockerClient, plan: Plan, fetched: dict[str, Path], ref: str, *, base: str, cache: Path
) -> str:
    cache.mkdir(parents=True, exist_ok=True)
    # Unlinked as soon as it is open: a killed build leaves nothing behind.
    with tempfile.NamedTemporaryFile(dir=cache, prefix=".context-") as context:
        write_context(plan, fetched, Path(context.name))
        with Path(context.name).open("rb") as source:
            rows = client.api.build(
                fileobj=source,
                custom_context=True,
                tag=ref,
                rm=True,
                forcerm=True,
                decode=True,
                timeout=int(_WAIT),
                buildargs={"BASE": base, "VERSION": plan.version},
                labels={BUILT: plan.content, STANDS_IN_FOR: f"{plan.definition.name}:{plan.version}"},
            )
            _drain(rows, ref)
    return str(client.images.get(ref).id)


def _drain(rows: object, ref: str) -> None:
    """Read the build's output to its end, also after its error: what is left unread would keep its socket open."""
    tail: list[str] = []
    failed = ""
    for row in rows:  # type: ignore[attr-defined]  # the SDK yields decoded JSON objects
        failed = failed or str(row.get("error", "")).strip()
        tail = [*tail[-200:], str(row.get("stream", ""))]
    if failed:
        last = [line for line in "".join(tail).splitlines() if line.strip()][-_TAIL:]
        raise ImageUnavailable(f"building {ref} failed: {failed}", seen="\n".join(last))


def _by_content(client: docker.DockerClient, content: str) -> str | None:
    rows = client.api.images(filters={"label": f"{BUILT}={content}"})
    return rows[0]["Id"] if rows else None


def _split(ref: str) -> tuple[str, str]:
    name, _, tag = ref.rpartition(":")
    return name, tag
