"""A run as one file: no secret gets in, nothing leads out, and what differs is told."""

from __future__ import annotations

import io
import json
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from maderuns import made_result, red_result, written

from pytest_ccci.errors import ArchiveError, StoreDamaged, UsageError
from pytest_ccci.ops import bundle as module
from pytest_ccci.ops.bundle import compare, learn_known_secrets, open_bundle, write_bundle
from pytest_ccci.recipe.repository import open_mirror
from pytest_ccci.recipe.spec import load_spec
from pytest_ccci.results.model import Evidence, RefFact, RunResult
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir

PLANTED = "Zq8LkP2wVx7tRb5n"
GIVEN = "hUnter2hUnter29x"
TOML = f"""\
[source]
bundled = "releases"  # of its own
[secrets]
db_password = "{GIVEN}"
[env]
SOURCE = "source"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe with two releases and a tip, tests, and what must stay out."""
    folder = tmp_path / "recipes" / "notes"
    for release in ("1-1.0.0+1", "2-1.1.0+1", "tip"):
        place = folder / "releases" / release
        place.mkdir(parents=True)
        (place / "compose.yml").write_text(f"# {release}\nservices: {{app: {{image: 'x:1'}}}}\n", "utf-8")
    (folder / "recipe.toml").write_text(TOML, "utf-8")
    (folder / "test_notes.py").write_text(f"PASSWORD = '{GIVEN}'\ndef test_it(app): pass\n", "utf-8")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_bytes(b"x")
    (folder / "away").symlink_to("/etc/hostname")
    return folder


@pytest.fixture
def run(recipe: Path, state: StateDir) -> Callable[..., RunResult]:
    """A red run of it that has ended."""
    mirror = open_mirror(load_spec(recipe), cache=state.recipes)

    def make(**changes: object) -> RunResult:
        base, head = mirror.resolve("1.1.0+1"), mirror.tip
        given: dict[str, object] = {
            "recipe": "notes",
            "folder": str(recipe),
            "base": RefFact(ref="1.1.0+1", commit=base.commit, version="1.1.0+1", release="1.1.0+1"),
            "head": RefFact(ref="tip", commit=head.commit, version=head.version),
        }
        result = red_result(**{**given, **changes})  # type: ignore[arg-type]  # its fields by name
        written(state, result)
        return result

    return make


def packed(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    return zstandard.ZstdCompressor().compress(sink.getvalue())


def members(path: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        found = [(member, tar.extractfile(member)) for member in tar]
        return [(member, source.read()) for member, source in found if source]


def test_a_bundle_becomes_the_recipe_with_its_commits_and_the_words_to_play_it(
    run: Callable[..., RunResult], recipe: Path, settings: Settings, state: StateDir, tmp_path: Path
) -> None:
    result = run(settings={"fast_health": "false (ini)", "timeout": "90.0 (command line)", "mode": "cold (default)"})
    made = write_bundle(settings, state, result.run_id, tmp_path / "run.tar.zst", folder=None)
    assert (tmp_path / "run.tar.zst").stat().st_mode & 0o077 == 0
    assert made.left_out == ("away: it is no file, or leads out of the folder",)
    assert made.replaced == ("recipe.toml", "test_notes.py")
    (tmp_path / "into").mkdir()
    replay = open_bundle(tmp_path / "run.tar.zst", tmp_path / "into")
    assert (replay.result.run_id, replay.bundle.images) == (result.run_id, made.images)
    head, base = result.head, result.base
    assert head is not None
    assert base is not None
    assert replay.words == (
        *("--cold", f"--ccci-ref={head.commit}", "--ccci-base=1.1.0+1", "--ccci-promote=false"),
        *("--ccci-fast-health=false", "--ccci-timeout=90.0"),
    )
    assert replay.targets == (str(replay.folder),)
    assert sorted(path.name for path in replay.folder.rglob("*")) == ["recipe.toml", "test_notes.py"]
    played = load_spec(replay.folder)
    assert played.env == load_spec(recipe).env
    mirror = open_mirror(played, cache=tmp_path / "cache")
    assert mirror.tip.commit == head.commit
    assert [release.tag for release in mirror.releases()] == ["1.0.0+1", "1.1.0+1"]
    assert mirror.resolve("1.1.0+1").commit == base.commit
    given = played.given_secrets(None)["db_password"]
    assert given != GIVEN
    assert len(given) == len(GIVEN)
    assert f"PASSWORD = '{given}'" in (replay.folder / "test_notes.py").read_text("utf-8")


def test_part_of_a_run_is_played_as_that_part(
    run: Callable[..., RunResult], settings: Settings, state: StateDir, tmp_path: Path
) -> None:
    test = made_result().custom[0].model_copy(update={"nodeid": "r/notes/test_notes.py::test_it[a::b]"})
    result = run(asked=("upgrade", "settle"), custom=(test,), base=None, mode="quick", requested_mode="quick")
    write_bundle(settings, state, result.run_id, tmp_path / "x", folder=None)
    (tmp_path / "into").mkdir()
    replay = open_bundle(tmp_path / "x", tmp_path / "into")
    names = [target.removeprefix(f"{replay.folder}/") for target in replay.targets]
    assert names == ["recipe.toml::upgrade", "recipe.toml::settle", "test_notes.py::test_it[a::b]"]
    assert not any(word.startswith("--ccci-base") for word in replay.words)
    assert any("quick" in note for note in replay.notes)


def test_every_secret_that_the_state_directory_knows_is_cut_out_of_logs_and_refused_elsewhere(
    run: Callable[..., RunResult], recipe: Path, settings: Settings, state: StateDir, tmp_path: Path
) -> None:
    places = {
        state.infra("keycloak") / "secrets.json": "InfraSecret11aaBB",
        state.root / "canonical/notes/snapshots/s1/secrets.json": "SnapshotSecret22cc",
        state.root / "infra/keycloak/store/snapshots/s1/secrets.json": "StoreSecret33ddEE",
    }
    for path, value in places.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"a": value}), "utf-8")
    kind = "PRIVATE KEY"
    key = f"-----BEGIN {kind}-----\nMIIEvQIBADANBgkqh9w0BAQEF\n-----END {kind}-----\n"
    state.ca.mkdir()
    (state.ca / "ca.key").write_text(key, "utf-8")
    settings = settings._replace(alert_urls="ntfy://AlertSecret55gg@example.org")
    planted = [*places.values(), "MIIEvQIBADANBgkqh9w0BAQEF", "ntfy://AlertSecret55gg@example.org", GIVEN]
    result = run(evidence=tuple(Evidence(title="log", text=f"it says {value}") for value in planted))
    (state.run(result.run_id) / "journal.jsonl").write_text("\n".join(planted), "utf-8")
    (recipe / "notes.txt").write_text("\n".join(planted), "utf-8")
    path = tmp_path / "x"
    write_bundle(settings, state, result.run_id, path, folder=None)
    found = members(path)
    assert {"bundle.json", "results.json", "journal.jsonl", "commits.bundle", "recipe/notes.txt"} <= {
        member.name for member, _ in found
    }
    for value in planted:
        assert [member.name for member, data in found if value.encode() in data] == []
    (recipe / "picture.bin").write_bytes(b"\xff\xfe" + places[state.infra("keycloak") / "secrets.json"].encode())
    with pytest.raises(UsageError, match=r"recipe/picture\.bin"):
        write_bundle(settings, state, result.run_id, tmp_path / "y", folder=None)
    assert not (tmp_path / "y").exists()


@pytest.mark.parametrize("where", ["file", "name"])
def test_a_secret_in_a_commit_is_refused_and_not_named(
    recipe: Path, settings: Settings, state: StateDir, tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    path = state.infra("traefik") / "secrets.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"a": PLANTED}), "utf-8")
    file = recipe / "releases" / "1-1.0.0+1" / (PLANTED if where == "name" else "config.ini")
    file.write_text(PLANTED if where == "file" else "x", "utf-8")
    result = request.getfixturevalue("run")()
    with pytest.raises(UsageError, match="a secret of this machine would be in the bundle") as refused:
        write_bundle(settings, state, result.run_id, tmp_path / "x", folder=None)
    assert PLANTED not in str(refused.value)
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_bundled_is_told_with_the_way_out(
    run: Callable[..., RunResult], settings: Settings, state: StateDir, tmp_path: Path
) -> None:
    def refused(problem: str, run_id: str, folder: Path | None = None, path: Path = tmp_path / "x") -> None:
        with pytest.raises(UsageError, match=problem):
            write_bundle(settings, state, run_id, path, folder=folder)

    refused("there is no run", "20260101-000000-000000")
    refused("there is no run", "../runs")
    refused("does not say where the recipe was", run(folder="").run_id)
    refused("never knew what to test", run(head=None).run_id)
    refused("no commit dddddddddddd any more", run(head=RefFact(ref="x", commit="d" * 40, version="x")).run_id)
    refused("is of notes|was of other", run(recipe="other").run_id)
    (tmp_path / "there").write_text("mine", "utf-8")
    refused("there is a file already", run().run_id, path=tmp_path / "there")
    assert (tmp_path / "there").read_text("utf-8") == "mine"
    path = state.root / "canonical/notes/snapshots/s1/secrets.json"
    path.parent.mkdir(parents=True)
    path.write_text("[", "utf-8")
    with pytest.raises(StoreDamaged, match="nobody can tell"):
        learn_known_secrets(settings, state)


@pytest.fixture
def good(
    run: Callable[..., RunResult], settings: Settings, state: StateDir, tmp_path: Path
) -> list[tuple[tarfile.TarInfo, bytes]]:
    write_bundle(settings, state, run().run_id, tmp_path / "good", folder=None)
    return members(tmp_path / "good")


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 1, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size if kind == tarfile.REGTYPE else 0, link
    return made


def test_nothing_in_a_bundle_leads_out_of_its_folder_or_is_more_than_a_file(
    good: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LARGEST_FILE", 1 << 20)
    names = (
        *("/etc/x", "../x", "recipe/../../x", "recipe//x", "recipe/./x", "recipe/", "recipe", "x", "bundle.json"),
        *("recipe/.git/config", "recipe/a/.GIT/hooks/x", "recipe/a\nb", "recipe/a\\b", "recipe/\x1b[2J"),
        *("results.json", f"recipe/{'x' * 1000}", f"recipe/{'x' * 300}", "recipe/recipe.toml/x", "recipe/recipe.toml"),
        "recipe/\u202ex",
    )
    extras = [(member(name), b"x") for name in names]
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
    extras += [(member("recipe/x", kind, link="/etc/passwd"), b"") for kind in kinds]
    extras += [(member("recipe/large", size=(1 << 20) + 1), b"\0" * ((1 << 20) + 1))]
    for number, extra in enumerate(extras):
        path, into = tmp_path / f"{number}.tar.zst", tmp_path / "in" / str(number)
        path.write_bytes(packed([*good, extra]))
        into.mkdir(parents=True)
        with pytest.raises(ArchiveError, match="this is no bundle of a run") as refused:
            open_bundle(path, into)
        assert str(refused.value).isprintable() or "\n" in str(refused.value)
        assert "\x1b" not in str(refused.value)
        assert [found for found in into.rglob("*") if found.is_symlink()] == []
    assert {path.name for path in (tmp_path / "in").iterdir()} == {str(n) for n in range(len(extras))}
    assert not (tmp_path / "x").exists()


def test_what_is_damaged_or_another_is_told_as_such(good: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path) -> None:
    def changed(name: str, change: Callable[[bytes], bytes]) -> bytes:
        made = []
        for one, data in good:
            fresh = change(data) if one.name == name else data
            info = tarfile.TarInfo(one.name)
            info.size = len(fresh)
            made.append((info, fresh))
        return packed(made)

    whole = packed(good)
    bad = {
        "nothing": b"",
        "text": b"hello" * 100,
        "cut off": whole[:-50],
        "no head": packed(good[1:]),
        "no commits": packed([one for one in good if one[0].name != "commits.bundle"]),
        "no recipe": packed([one for one in good if one[0].name != "recipe/recipe.toml"]),
        "another version": changed("bundle.json", lambda data: data.replace(b'"version": 1', b'"version": 2')),
        "a name that leads away": changed("bundle.json", lambda data: data.replace(b'"notes"', b'"../notes"')),
        "another run": changed("bundle.json", lambda data: data.replace(b'"run_id": "2', b'"run_id": "3')),
        "no result": changed("results.json", lambda _: b"{}"),
        "no toml": changed("recipe/recipe.toml", lambda _: b"["),
        "two sources": changed("recipe/recipe.toml", lambda data: data.replace(b"[source]", b'[source]\npath="x"')),
        "no source": changed("recipe/recipe.toml", lambda data: data.replace(b"[source]", b"[sauce]")),
        "no git": changed("commits.bundle", lambda data: data[:200]),
    }
    for what, data in bad.items():
        path, into = tmp_path / "bad", tmp_path / what
        path.write_bytes(data)
        into.mkdir()
        with pytest.raises(ArchiveError, match="this is no bundle of a run"):
            open_bundle(path, into)


@pytest.mark.parametrize(
    "source",
    [
        '[source]\npath = "../x"',
        'source = {git = "https://x.test/a.git"}',
        'source.git = "x"',
        "[source] # a\n\"git\" = 'x'",
    ],
)
def test_only_the_source_of_a_recipe_is_changed(source: str, tmp_path: Path) -> None:
    text = f'canonical = true\n{source}\n[env]\nA = """\n[source]\npath = "kept"\n"""\n'
    made = module._with_source(text, tmp_path / 'a "b"')
    assert tomllib.loads(made) == {
        "canonical": True,
        "source": {"git": str(tmp_path / 'a "b"')},
        "env": {"A": '[source]\npath = "kept"\n'},
    }


def test_the_same_failure_is_told_from_another_and_what_moved_is_named(
    run: Callable[..., RunResult], settings: Settings, state: StateDir, tmp_path: Path
) -> None:
    then = run()
    made = write_bundle(settings, state, then.run_id, tmp_path / "x", folder=None)
    same = compare(made, then, then.model_copy(update={"seconds": 99.0, "settings": {"zone": "other"}}))
    assert (same.same, same.differs) == (True, ())
    assert same.then == same.now == "fail at upgrade: " + then.tiers[1].reason
    image = then.images[0].model_copy(update={"digest": "sha256:" + "9" * 64})
    now = made_result(2, recipe="notes", head=then.head, base=then.base, images=(image,), engine={"version": "28.0"})
    other = compare(made.model_copy(update={"made_by": {"pytest": "0.1"}}), then, now)
    assert not other.same
    assert other.now == "pass"
    told = "\n".join(other.differs)
    assert "images: lasuite/impress-backend:v2.9 moved: sha256:888888888888 → sha256:999999999999" in told
    assert "environment: engine version: 27.5.1 → 28.0" in told
    assert "pytest: 0.1 → " in told
