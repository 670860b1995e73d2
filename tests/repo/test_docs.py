"""The pages: generated parts are current, examples can be read by what they are written for, links lead somewhere."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import pkgutil
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
PAGES = (
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")),
    *sorted((ROOT / "docs").glob("*.md")),
)
CODE_PAGES = (ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WANTED = {
    "ci",
    "getting-started",
    "recipe-toml",
    "options",
    "fixtures",
    "operations",
    "limitations",
    "results",
    "architecture",
}


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


PARTS_OF_THE_PACKAGE = {path.stem for path in (ROOT / "pytest_ccci").iterdir() if path.stem.isidentifier()}
FILES = {"toml", "json", "jsonl", "md", "yml", "txt"}


def _is_there(name: str) -> bool:
    try:
        pkgutil.resolve_name(f"pytest_ccci.{name}")
    except (ImportError, AttributeError):
        return False
    return True


def _defines(path: Path, name: str) -> bool:
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for step in name.split("::"):
        found = [each for each in body if isinstance(each, ast.FunctionDef | ast.ClassDef) and each.name == step]
        if not found:
            return False
        body = found[0].body
    return True


def names_nothing(text: str) -> list[str]:
    """Paths, tests, modules and functions between backticks that are not there; a placeholder makes it no path."""
    missing = []
    for word in re.findall(r"`([^`\s<>]+)`", text):
        path, _, test = word.partition("::")
        first, _, rest = word.partition(".")
        if re.match(r"(pytest_ccci|tests|docs|recipes|benchmarks|\.ci)/", word):
            there = (ROOT / path).exists() and (not test or _defines(ROOT / path, test))
        elif first in PARTS_OF_THE_PACKAGE and re.fullmatch(r"[\w.]+", rest) and rest.rpartition(".")[2] not in FILES:
            there = _is_there(word)
        else:
            continue
        if not there:
            missing.append(word)
    return missing


@pytest.mark.parametrize("page", CODE_PAGES, ids=lambda page: page.stem)
def test_every_path_test_module_and_function_that_is_named_exists(page: Path) -> None:
    assert names_nothing(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "name",
    [
        "run.gone",
        "run.cold.ColdRun.gone",
        "settings.GONE",
        "pytest_ccci/run/gone.py",
        "tests/repo/gone.py::test_gone",
        "tests/repo/test_docs.py::test_gone",
    ],
)
def test_a_name_of_nothing_is_found(name: str) -> None:
    assert names_nothing(f"See `{name}` and `run.cold.ColdRun.begin`, `recipe.toml`.") == [name]
