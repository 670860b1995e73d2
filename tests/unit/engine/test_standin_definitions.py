from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pytest_ccci.engine.standin_definitions import load_definition, load_definitions
from pytest_ccci.errors import UsageError

MINIMAL = 'name = "localhost/x"\nbase = "debian:bookworm-slim"\n[versions]\n"1.0.0" = []\n'


ROOT = Path(__file__).resolve().parents[3]


def written(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    (folder / "image.toml").write_text(text)
    return folder / "image.toml"


@pytest.mark.parametrize(
    ("ref", "version"),
    [
        ("debian:bookworm-slim", "bookworm"),
        ("debian:bookworm", "bookworm"),
        ("postgres:15", "15"),
        ("postgres:15-alpine", "15"),
        ("mariadb:10.11", "10.11"),
        ("redis:7", "7"),
        ("nginx:1.22", "1.22"),
        ("traefik:v3.7.15", "3.7.15"),
        ("docker.io/library/traefik:v3.7.13", "3.7.13"),
        ("quay.io/keycloak/keycloak:26.7.3", "26.7.3"),
        ("quay.io/keycloak/keycloak:25.0.6", "25.0.6"),
        ("python:3.11-slim", "3.11"),
        ("node:20-slim", "20"),
        ("node:20.19.1-bookworm-slim", "20.19.1"),
    ],
)
def test_the_official_names_have_a_local_build(ref: str, version: str) -> None:
    found = load_definitions().find(ref)

    assert found is not None
    assert found[1] == version


@pytest.mark.parametrize(
    "ref",
    [
        "postgres:16",
        "postgres:15.3",
        "traefik:v3.7",
        "quay.io/keycloak/keycloak:26.7.3-0",
        "nginx:1.25",
        "quay.io/keycloak/keycloak:24.0.1",
        "mysql:8",
        "mariadb:11",
    ],
)
def test_another_version_than_asked_never_stands_in(ref: str) -> None:
    assert load_definitions().find(ref) is None


@pytest.mark.parametrize("recipe", ["custom-html", "miniflux", "wordpress"])
def test_every_image_of_a_bundled_recipe_has_a_local_build(recipe: str) -> None:
    folder = ROOT / "recipes" / recipe
    files = [yaml.safe_load(file.read_text("utf-8")) for file in folder.glob("releases/**/compose*.yml")]
    images = {service["image"] for file in files for service in file["services"].values() if "image" in service}
    definitions = load_definitions(folder / "images")

    assert images
    assert [image for image in sorted(images) if definitions.find(image) is None] == []


def test_a_digest_cannot_be_stood_in_for() -> None:
    assert load_definitions().find("postgres:15@sha256:abc") is None


def test_a_recipes_own_folder_adds_definitions(tmp_path: Path) -> None:
    written(tmp_path / "app", MINIMAL)

    definitions = load_definitions(tmp_path, tmp_path / "there-is-none")

    assert definitions.find("localhost/x:1.0.0") is not None
    assert definitions.find("localhost/x:9.9.9") is None
    assert definitions.known("localhost/x:9.9.9") == ("1.0.0",)
    assert definitions.find("postgres:15") is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL.replace("base =", "from ="), "unknown key 'from'|base"),
        ("extra = 1\n" + MINIMAL, "unknown key 'extra'"),
        (MINIMAL + '[fetch.pip]\nrequirments = "r.txt"\n', "fetch.pip"),
        (MINIMAL + "[fetch.cargo]\n", "unknown key 'fetch.cargo'"),
        (MINIMAL.replace("[]", '["nowhere"]'), "overlays/nowhere"),
        (MINIMAL.replace("[]", '["../../.."]'), "outside"),
        ('tags = ["latest"]\n' + MINIMAL, "must hold {version} once"),
        ("name =", "cannot be read"),
        (MINIMAL.split("[versions]", maxsplit=1)[0], "versions"),
    ],
)
def test_a_definition_is_read_strictly_and_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path / "app", text)
    (tmp_path / "app" / "overlays").mkdir()

    with pytest.raises(UsageError, match=said) as caught:
        load_definition(path)

    assert caught.value.where == str(path)


def test_a_definition_without_dockerfile_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "app", MINIMAL)
    (tmp_path / "app" / "Dockerfile").unlink()

    with pytest.raises(UsageError, match="Dockerfile"):
        load_definition(path)


def test_all_bundled_definitions_name_bases_that_can_be_had() -> None:
    definitions = load_definitions()

    for one in definitions.all:
        for version in one.versions:
            base = one.base.replace("{version}", version)
            assert base == "scratch" or definitions.find(base), f"{one.name} is FROM {base}"


def test_definitions_that_are_from_each_other_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "x", MINIMAL.replace("debian:bookworm-slim", "localhost/y:1.0.0"))
    written(tmp_path / "y", MINIMAL.replace("/x", "/y").replace("debian:bookworm-slim", "localhost/x:1.0.0"))

    with pytest.raises(
        UsageError, match=r"it is FROM itself: localhost/x:1.0.0 FROM localhost/y:1.0.0 FROM localhost/x"
    ):
        load_definitions(tmp_path)
