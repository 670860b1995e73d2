from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import docker
import pytest
from docker.errors import APIError, ImageNotFound

from pytest_ccci.engine import standin_build
from pytest_ccci.engine.images import ImageFact, prepare
from pytest_ccci.engine.registry import Registries
from pytest_ccci.engine.standin_build import BUILT
from pytest_ccci.engine.standin_definitions import Definitions, load_definition, load_definitions
from pytest_ccci.errors import ImageMissing, ImageUnavailable
from pytest_ccci.progress import received

UNREACHABLE = "dial tcp: lookup x: no such host"


class _Image:
    def __init__(self, attrs: dict[str, Any], store: dict[str, dict[str, Any]]) -> None:
        self.attrs = attrs
        self.id = attrs["Id"]
        self.store = store

    def tag(self, name: str, *, tag: str) -> None:
        self.store[f"{name}:{tag}"] = self.attrs


class _Engine:
    """An engine in memory: images by name, and what its registries say (``""``: they have the image)."""

    def __init__(self, registry: str) -> None:
        self.registry = registry
        self.store: dict[str, dict[str, Any]] = {}
        self.did: list[tuple[str, str]] = []
        self.images = self.api = self
        self.base_url = "test"
        self.gone: set[str] = set()

    def put(self, ref: str, **labels: str) -> None:
        self.store[ref] = {"Id": f"sha256:{ref}", "Config": {"Labels": labels}, "RepoDigests": []}

    def info(self) -> dict[str, str]:
        return {"Architecture": "x86_64"}

    def get(self, ref: str) -> _Image:
        if ref not in self.store:
            raise ImageNotFound(ref)
        return _Image(self.store[ref], self.store)

    def get_registry_data(self, ref: str) -> None:
        self.did.append(("ask", ref))
        if self.registry:
            raise APIError("failed", None, self.registry)

    def pull(self, name: str, *, tag: str) -> None:
        if tag.startswith("sha256:"):
            self.did.append(("pull", f"{name}@{tag}"))
            if f"{name}@{tag}" in self.gone:
                raise APIError("failed", None, "manifest unknown")
            self.put(f"{name}@{tag}")
            return
        self.did.append(("pull", f"{name}:{tag}"))
        self.put(f"{name}:{tag}")
        self.store[f"{name}:{tag}"]["RepoDigests"] = [f"{name}@sha256:abc"]

    def remove(self, image_id: str) -> None:
        self.did.append(("remove", image_id))

    def done(self, verb: str) -> list[str]:
        return [ref for did, ref in self.did if did == verb]


@pytest.fixture
def definitions(tmp_path: Path) -> Definitions:
    for name, base in (("debian", "scratch"), ("postgres", "debian:1"), ("localhost/app", "postgres:1")):
        folder = tmp_path / name.replace("/", "-")
        folder.mkdir()
        (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
        (folder / "image.toml").write_text(f'name = "{name}"\nbase = "{base}"\n[versions]\n"1" = []\n')
    found = [load_definition(path) for path in tmp_path.glob("*/image.toml")]
    return Definitions(tuple(found))


@pytest.fixture(autouse=True)
def _builds_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(client: Any, plan: Any, ref: str, **_: Any) -> standin_build.Built:
        client.did.append(("build", ref))
        client.put(ref, **{BUILT: plan.content})
        return standin_build.Built(f"sha256:{ref}", fresh=True)

    monkeypatch.setattr("pytest_ccci.engine.images.build", build)


def prepared(engine: _Engine, definitions: Definitions, *refs: str) -> tuple[ImageFact, ...]:
    return prepare(
        cast(docker.DockerClient, engine),
        refs,
        definitions=definitions,
        cache=Path("/nowhere"),
        registries=Registries(),
    )


def test_an_image_that_is_present_is_neither_asked_for_nor_built(definitions: Definitions) -> None:
    engine = _Engine(UNREACHABLE)
    engine.put("postgres:1")

    (fact,) = prepared(engine, definitions, "postgres:1")

    assert fact.origin == "present"
    assert engine.did == []


def test_an_image_that_a_registry_has_is_pulled_and_pinned(definitions: Definitions) -> None:
    engine = _Engine("")

    (fact,) = prepared(engine, definitions, "postgres:1")

    assert (fact.origin, fact.digest) == ("pulled", "sha256:abc")
    assert engine.did == [("ask", "postgres:1"), ("pull", "postgres:1")]  # and nothing that a build would be FROM


def test_without_a_registry_bases_are_built_before_what_is_from_them(definitions: Definitions) -> None:
    engine = _Engine(UNREACHABLE)

    facts = prepared(engine, definitions, "localhost/app:1", "postgres:1")

    assert engine.done("build") == ["debian:1", "postgres:1", "localhost/app:1"]
    assert [(fact.ref, fact.origin) for fact in facts] == [
        ("localhost/app:1", "built"),
        ("postgres:1", "built"),
    ]
    assert len(engine.done("ask")) == 1


def test_the_second_call_builds_nothing_and_says_present(definitions: Definitions) -> None:
    engine, said = _Engine(UNREACHABLE), list[str]()
    first = prepared(engine, definitions, "localhost/app:1")
    engine.did.clear()

    with received(said.append):
        second = prepared(engine, definitions, "localhost/app:1")

    assert second == first
    assert [fact.fresh for fact in (*first, *second)] == [True, False]
    assert engine.did == []
    assert said == ["images: present: localhost/app:1"]


def test_a_changed_base_definition_rebuilds_what_is_from_it(definitions: Definitions) -> None:
    engine = _Engine(UNREACHABLE)
    prepared(engine, definitions, "localhost/app:1")
    engine.did.clear()
    (next(one for one in definitions.all if one.name == "debian").folder / "new").write_text("x")

    prepared(engine, definitions, "localhost/app:1")

    assert engine.done("build") == ["debian:1", "postgres:1", "localhost/app:1"]
    assert engine.done("remove") == ["sha256:debian:1", "sha256:postgres:1", "sha256:localhost/app:1"]


def test_a_recipes_own_image_is_never_asked_from_a_registry(definitions: Definitions) -> None:
    engine = _Engine("")
    engine.put("postgres:1")

    prepared(engine, definitions, "localhost/app:1")

    assert engine.done("ask") == []
    assert engine.done("build") == ["localhost/app:1"]


def test_a_recipes_own_image_of_an_unknown_version_is_the_recipes_fault(definitions: Definitions) -> None:
    with pytest.raises(ImageMissing, match=r"localhost/app:9\.9\.9 does not exist") as caught:
        prepared(_Engine(UNREACHABLE), definitions, "localhost/app:9.9.9")

    assert "known versions: 1" in caught.value.seen


def test_the_recipe_is_not_blamed_when_no_registry_answers(definitions: Definitions) -> None:
    with pytest.raises(ImageUnavailable, match=r"docker\.io cannot be reached"):
        prepared(_Engine(UNREACHABLE), definitions, "mysql:8")


@pytest.mark.parametrize(
    ("gone", "pulled", "image_id"),
    [
        (False, ["postgres@sha256:old"], "sha256:postgres@sha256:old"),
        (True, ["postgres@sha256:old", "postgres:1"], "sha256:postgres:1"),
    ],
)
def test_what_was_there_before_is_pulled_by_its_digest_where_the_registry_still_has_it(
    definitions: Definitions, gone: bool, pulled: list[str], image_id: str
) -> None:
    engine = _Engine("")
    engine.gone = {"postgres@sha256:old"} if gone else set()
    (fact,) = prepare(
        cast("docker.DockerClient", engine),
        ["postgres:1"],
        definitions=definitions,
        cache=Path("unused"),
        registries=Registries(),
        digests={"postgres:1": "sha256:old"},
    )
    assert engine.done("pull") == pulled
    assert (fact.ref, fact.image_id, fact.origin) == ("postgres:1", image_id, "pulled")


def test_the_recipe_is_not_blamed_for_a_pull_limit(definitions: Definitions) -> None:
    with pytest.raises(ImageUnavailable, match="pull limit"):
        prepared(_Engine("toomanyrequests: slow down"), definitions, "mysql:8")


@pytest.mark.parametrize("text", ["manifest unknown", "pull access denied, repository does not exist"])
def test_an_image_that_a_registry_does_not_know_is_the_recipes_fault(definitions: Definitions, text: str) -> None:
    with pytest.raises(ImageMissing, match="mysql:8 does not exist"):
        prepared(_Engine(text), definitions, "mysql:8")


def test_a_pinned_digest_is_never_stood_in_for(definitions: Definitions) -> None:
    with pytest.raises(ImageUnavailable):
        prepared(_Engine(UNREACHABLE), definitions, "postgres:1@sha256:abc")


def test_repeated_names_are_prepared_once(definitions: Definitions) -> None:
    engine = _Engine(UNREACHABLE)

    facts = prepared(engine, definitions, "debian:1", "debian:1")

    assert [fact.ref for fact in facts] == ["debian:1"]
    assert engine.done("build") == ["debian:1"]


def test_many_images_on_one_base_do_not_block_each_other(tmp_path: Path) -> None:
    engine = _Engine(UNREACHABLE)
    refs = [f"traefik:v3.7.{n}" for n in range(12)]

    facts = prepared(engine, load_definitions(tmp_path), *refs)

    assert [fact.ref for fact in facts] == refs
