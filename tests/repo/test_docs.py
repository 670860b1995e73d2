"""The pages: generated parts are current, examples can be read by what they are written for, links lead somewhere."""

from __future__ import annotations

import configparser
import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from _pytest.mark.structures import ParameterSet

from pytest_ccci.process import run
from pytest_ccci.recipe.spec import load_spec
from pytest_ccci.settings import OPTIONS, resolve

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WANTED = {"getting-started", "recipe-toml", "options", "fixtures", "operations", "limitations", "results"}


def examples(language: str) -> list[ParameterSet]:
    """Every example in that language, with a name for it."""
    found: list[ParameterSet] = []
    for page in PAGES:
        texts = [text for kind, text in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]
        found += [pytest.param(text, id=f"{page.stem}-{number}") for number, text in enumerate(texts, 1)]
    assert found
    return found


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_there() -> None:
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} >= WANTED


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_generated_parts_are_current(page: Path, generator: ModuleType) -> None:
    text = page.read_text(encoding="utf-8")
    assert generator.renewed(text) == text, "not current: run `python docs/generate.py`"


def test_every_generated_part_stands_on_exactly_one_page(generator: ModuleType) -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert sorted(found[1] for found in generator.PART.findall(text)) == sorted(generator.PARTS)


def test_a_stale_part_is_found(generator: ModuleType) -> None:
    stale = "<!-- generated: options -->\n| old |\n<!-- end of options -->\n"
    assert generator.renewed(stale) != stale


@pytest.mark.parametrize("text", examples("toml"))
def test_a_toml_example_is_a_recipe_toml_that_can_be_used(text: str, tmp_path: Path) -> None:
    assert tomllib.loads(text)
    folder = tmp_path / "hedgedoc"
    folder.mkdir()
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    assert load_spec(folder).name == "hedgedoc"


@pytest.mark.parametrize("text", examples("python"))
def test_a_python_example_is_python(text: str) -> None:
    compile(text, "example", "exec", dont_inherit=True)


@pytest.mark.parametrize("text", examples("sh"))
def test_a_shell_example_is_shell(text: str) -> None:
    run(["sh", "-n"], timeout=30, stdin=text.encode())


@pytest.mark.parametrize("text", examples("sh"))
def test_a_shell_example_uses_only_options_that_exist(text: str) -> None:
    known = {option.flag for option in OPTIONS}
    assert set(re.findall(r"--ccci-[a-z-]+", text)) <= known


@pytest.mark.parametrize("text", examples("ini"))
def test_an_ini_example_has_only_keys_that_exist_and_values_that_can_be_read(text: str) -> None:
    given = configparser.ConfigParser()
    given.read_string(text)
    by_key = {option.ini: option.name for option in OPTIONS}
    resolve({}, {by_key[key]: value for key, value in given["pytest"].items()}, {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_within_the_project_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file) if file else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_readmes_python_example_runs_in_a_recipe_folder_as_it_stands() -> None:
    """Its names are fixtures that there are: nothing else is asked of whoever copies it."""
    code = FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    (text,) = (body for kind, body in code if kind == "python")
    space: dict[str, object] = {}
    exec(compile(text, "README.md", "exec", dont_inherit=True), space)  # noqa: S102  our own page
    from pytest_ccci.plugin.fixtures import IN_RECIPES  # noqa: PLC0415  pytest's side, only here

    tests = [each for name, each in space.items() if name.startswith("test_")]
    assert len(tests) == 2
    for each in tests:
        arguments = each.__code__.co_varnames[: each.__code__.co_argcount]  # type: ignore[attr-defined]  # functions, as the names say
        assert set(arguments) <= set(IN_RECIPES)
