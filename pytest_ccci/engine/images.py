"""Has images on the engine before a deploy needs them: present, else pulled, else built here as a stand-in."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.registry import Answer, Registries, State, classify, parse_reference
from pytest_ccci.engine.standin_build import BUILT, REQUIREMENTS, build, expand, plan
from pytest_ccci.engine.standin_definitions import Definitions
from pytest_ccci.errors import ImageMissing, ImageUnavailable

if TYPE_CHECKING:
    import docker

__all__ = ["REQUIREMENTS", "ImageFact", "Origin", "declared_volumes", "missing_images", "prepare", "remove_image"]

_LOG = logging.getLogger(__name__)

Origin = Literal["present", "pulled", "built"]

_AT_ONCE = 3
_CONFLICT = 409
_SCRATCH = "scratch"
_SESSION = Registries()
_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class ImageFact:
    """An image on the engine. ``origin`` is ``built`` for every build of ours, also one that was there before.

    ``content`` identifies it to those that are FROM it. ``fresh``: it was not there, and was pulled or built just now.
    ``size`` is in bytes, with all its layers.
    """

    ref: str
    image_id: str
    digest: str | None
    origin: Origin
    content: str = ""
    fresh: bool = field(default=False, compare=False)
    size: int = field(default=0, compare=False)


def prepare(
    engine_client: docker.DockerClient,
    refs: Iterable[str],
    *,
    definitions: Definitions,
    cache: Path,
    registries: Registries = _SESSION,
    digests: Mapping[str, str] = MappingProxyType({}),
) -> tuple[ImageFact, ...]:
    """Have every image of ``refs`` on the engine; return a fact for each, in order, without repeats.

    What is pulled of a reference in ``digests`` is the image of that digest, if its registry still has it.

    Raises:
        ImageMissing: a registry, or for ``localhost/`` names the definitions, know no such image.
        ImageUnavailable: it could not be had, for no fault of the recipe.
    """
    wanted = tuple(dict.fromkeys(refs))
    pool = ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="image")
    try:
        work = _Preparation(engine_client, definitions, cache, registries, digests)
        futures = [pool.submit(work.fact, ref) for ref in wanted]
        with engine_errors("preparing images"):
            facts = tuple(replace(fact, fresh=fact.ref in work.fresh) for fact in [one.result() for one in futures])
    finally:
        pool.shutdown(cancel_futures=True)
    old = [fact.ref for fact in facts if not fact.fresh]
    if old:
        _LOG.info(f"images: present: {', '.join(old)}")
    return facts


def declared_volumes(engine: Engine, refs: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The paths that images declare as volumes, by image; one that is not there declares none."""
    from docker.errors import ImageNotFound  # noqa: PLC0415  loaded only when an engine is used

    found = {}
    for ref in dict.fromkeys(refs):
        with engine_errors(f"inspecting {ref}"), suppress(ImageNotFound):
            found[ref] = tuple((engine.client.api.inspect_image(ref).get("Config") or {}).get("Volumes") or ())
    return found


def missing_images(engine: Engine, refs: Iterable[str]) -> tuple[str, ...]:
    """Those of ``refs`` that the engine does not have, by their names alone. Fetches nothing."""
    from docker.errors import ImageNotFound  # noqa: PLC0415  loaded only when an engine is used

    missing = []
    for ref in dict.fromkeys(refs):
        with engine_errors(f"looking for {ref}"):
            try:
                engine.client.api.inspect_image(ref)
            except ImageNotFound:
                missing.append(ref)
    return tuple(missing)


def remove_image(engine: Engine, names: Iterable[str]) -> str:
    """Remove an image by all its names, without force; why it stays, empty when it went."""
    from docker.errors import APIError  # noqa: PLC0415  loaded only when an engine is used

    for name in names:
        with engine_errors(f"removing image {name}"):
            try:
                engine.client.api.remove_image(name)
            except APIError as error:
                if error.status_code != _CONFLICT:
                    raise
                return str(error.explanation)
    return ""


class _Preparation:
    """One call of ``prepare``: each image is done once, by the worker that first wants it; the others wait for it."""

    def __init__(
        self,
        client: docker.DockerClient,
        definitions: Definitions,
        cache: Path,
        registries: Registries,
        digests: Mapping[str, str],
    ) -> None:
        self._client = client
        self._definitions = definitions
        self._cache = cache
        self._registries = registries
        self._digests = digests
        self._futures: dict[str, Future[ImageFact]] = {}
        self._arch = ""
        self._guard = threading.Lock()
        self.fresh: set[str] = set()

    def fact(self, ref: str) -> ImageFact:
        """Have ``ref`` on the engine. A worker that waits, waits for one that works: no definition is FROM itself."""
        with self._guard:
            future = self._futures.get(ref)
            mine = future is None
            if future is None:
                future = self._futures[ref] = Future()
        if mine:
            try:
                future.set_result(self._one(ref))
            except BaseException as error:  # noqa: BLE001  whatever it is, it is raised again where it is waited for
                future.set_exception(error)
        return future.result()

    def _one(self, ref: str) -> ImageFact:
        there = self._inspect(ref)
        if there and not _label(there):
            return _fact(ref, there, "present")
        if there:
            return self._built(ref, why="what it is made from changed")
        answer = self._pull(ref)
        if answer.state is State.HAS:
            self.fresh.add(ref)
            return _fact(ref, self._inspect(ref) or {}, "pulled")
        if self._definitions.find(ref) is None:
            raise _cannot(ref, answer, self._definitions)
        why = "" if parse_reference(ref).local else f"{parse_reference(ref).host} {answer.state.value}"
        return self._built(ref, why=why)

    def _built(self, ref: str, *, why: str) -> ImageFact:
        found = self._definitions.find(ref)
        if found is None:  # built by definitions that this call does not have: as good as it was then
            return _fact(ref, self._inspect(ref) or {}, "built")
        definition, version = found
        base = expand(definition.base, version)
        under = base if base == _SCRATCH else self.fact(base).content
        made = plan(definition, version, arch=self._architecture(), base=under)
        there = self._inspect(ref)
        if there is None or _label(there) != made.content:
            done = build(self._client, made, ref, base=base, cache=self._cache, why=why)
            if done.fresh:
                self.fresh.add(ref)
                self._drop(there)
        return _fact(ref, self._inspect(ref) or {}, "built")

    def _drop(self, predecessor: dict[str, Any] | None) -> None:
        """Remove the build that was replaced, unless something still uses it: then disk pruning is to do it."""
        from docker.errors import APIError  # noqa: PLC0415  loaded only when an engine is used

        if predecessor and len(predecessor.get("RepoTags") or ()) <= 1:
            with suppress(APIError):
                self._client.images.remove(predecessor["Id"])

    def _pull(self, ref: str) -> Answer:
        reference = parse_reference(ref)
        if reference.local:
            return Answer(State.MISSING)
        if not reference.digest and ref in self._digests:
            exact = replace(reference, tag="", digest=self._digests[ref])
            if self._registries.ask(self._client, exact).state is State.HAS:
                _LOG.info(f"images: pulling {ref} as it was, {exact.digest}")
                if self._pull_now(str(exact)).state is State.HAS:
                    self._client.images.get(str(exact)).tag(reference.name, tag=reference.tag)
                    return Answer(State.HAS)
        answer = self._registries.ask(self._client, reference)
        if answer.state is State.HAS:
            _LOG.info(f"images: pulling {ref}")
            return self._pull_now(ref)
        return answer

    def _pull_now(self, ref: str) -> Answer:
        from docker.errors import APIError  # noqa: PLC0415  loaded only when an engine is used

        reference = parse_reference(ref)
        try:
            self._client.images.pull(reference.name, tag=reference.digest or reference.tag)
        except APIError as error:
            text = str(error.explanation or error)
            return Answer(classify(int(error.status_code or 0), text), text)
        return Answer(State.HAS)

    def _inspect(self, ref: str) -> dict[str, Any] | None:
        from docker.errors import ImageNotFound  # noqa: PLC0415  loaded only when an engine is used

        try:
            return dict(self._client.images.get(ref).attrs)
        except ImageNotFound:
            return None

    def _architecture(self) -> str:
        with self._guard:
            if not self._arch:
                machine = str(self._client.info()["Architecture"])
                self._arch = _ARCH.get(machine, machine)
            return self._arch


def _label(image: dict[str, Any]) -> str:
    return str(((image.get("Config") or {}).get("Labels") or {}).get(BUILT, ""))


def _fact(ref: str, image: dict[str, Any], origin: Origin) -> ImageFact:
    digest = next((row.partition("@")[2] for row in image.get("RepoDigests") or ()), None)
    ours = _label(image)
    return ImageFact(ref, image["Id"], digest, origin, ours or image["Id"], size=int(image.get("Size") or 0))


def _cannot(ref: str, answer: Answer, definitions: Definitions) -> ImageMissing | ImageUnavailable:
    reference, known = parse_reference(ref), definitions.known(ref)
    if reference.local:
        versions = f"known versions: {', '.join(known)}" if known else "no definition of that name at all"
        return ImageMissing(
            f"the image {ref} does not exist",
            seen=versions,
            advice="images named localhost/ are built from definitions",
        )
    what = f"{reference.host} {answer.state.value}"
    if answer.state in {State.MISSING, State.DENIED}:
        return ImageMissing(f"the image {ref} does not exist: {what}", seen=answer.seen)
    local = f"local builds know only {', '.join(known)}" if known else "no local build stands in for it"
    return ImageUnavailable(
        f"the image {ref} could not be had: {what}, and {local}",
        seen=answer.seen,
        advice="make the registry reachable for the engine, or load the image with `docker load`",
    )
