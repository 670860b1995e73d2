from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pytest_ccci import process
from pytest_ccci.errors import InfrastructureFault, RecipeInvalid, RefError
from pytest_ccci.recipe.repository import address_of, open_mirror
from pytest_ccci.recipe.spec import BundledSource, GitSource, PathSource, RecipeSpec, Source

Write = Callable[[Path, Mapping[str, str]], None]


def spec(folder: Path, source: Source) -> RecipeSpec:
    return RecipeSpec(name="notes", folder=folder, source=source)


def files(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in found}


@pytest.fixture
def upstream(repository: Any) -> Any:
    repository.commit({"compose.yml": "one"}, tag="1.0.0+1.0")
    repository.commit({"compose.yml": "two"}, tag="1.1.0+1.0")
    repository.git("tag", "not-a-release")
    repository.commit({"compose.yml": "three"})
    repository.git("branch", "pr/good")
    return repository


@pytest.fixture
def git_spec(upstream: Any, tmp_path: Path) -> RecipeSpec:
    return spec(tmp_path, GitSource(f"file://{upstream.folder}"))


def test_every_kind_of_ref_means_one_full_commit(upstream: Any, git_spec: RecipeSpec, tmp_path: Path) -> None:
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    newest, tip = upstream.git("rev-parse", "1.1.0+1.0^{commit}"), upstream.git("rev-parse", "main")
    assert mirror.resolve("latest").commit == newest
    assert mirror.resolve("1.1.0+1.0").commit == newest
    assert mirror.resolve("refs/tags/1.1.0+1.0").commit == newest
    for ref in ("tip", "", "main", "refs/heads/main", "pr/good", tip, tip[:7], tip[:12].upper()):
        assert mirror.resolve(ref).commit == tip, ref
    assert mirror.is_ancestor(newest, mirror.tip)
    assert not mirror.is_ancestor(mirror.tip, newest)


def test_a_tagged_commit_has_the_releases_version_and_another_its_short_commit(
    upstream: Any, git_spec: RecipeSpec, tmp_path: Path
) -> None:
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    newest = upstream.git("rev-parse", "1.1.0+1.0^{commit}")
    assert mirror.resolve(newest).version == "1.1.0+1.0"
    assert mirror.resolve("latest").ref == "latest"
    assert mirror.resolve("main").version == mirror.tip.commit[:8]
    assert mirror.resolve("main").branch == "main"
    assert mirror.tip.release is None
    assert [each.tag for each in mirror.releases()] == ["1.0.0+1.0", "1.1.0+1.0"]
    assert mirror.odd_tags() == ("not-a-release",)


def test_a_ref_that_is_not_in_this_recipe_names_close_ones_and_the_newest_releases(
    git_spec: RecipeSpec, tmp_path: Path
) -> None:
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    with pytest.raises(RefError) as caught:
        mirror.resolve("pr/god")
    assert "pr/good" in str(caught.value)
    assert "1.1.0+1.0, 1.0.0+1.0" in str(caught.value)


@pytest.mark.parametrize(
    "ref",
    [
        "0" * 40,
        "abcdef1",
        "--all",
        "-x",
        "main~1",
        "main^",
        "HEAD",
        "@",
        "main:compose.yml",
        "../x",
        "refs/ccci/tip",
        " ",
    ],
)
def test_nothing_but_names_and_ids_of_this_recipe_is_a_ref(git_spec: RecipeSpec, tmp_path: Path, ref: str) -> None:
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    with pytest.raises(RefError):
        mirror.resolve(ref)


def test_a_name_that_means_two_commits_is_refused(upstream: Any, git_spec: RecipeSpec, tmp_path: Path) -> None:
    upstream.git("tag", "-a", "-m", "x", "pr/good", "1.0.0+1.0^{commit}")
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    with pytest.raises(RefError, match="ambiguous"):
        mirror.resolve("pr/good")
    assert mirror.resolve("refs/heads/pr/good").commit == mirror.tip.commit


def test_a_branch_called_like_a_commit_is_not_taken_for_it(upstream: Any, git_spec: RecipeSpec, tmp_path: Path) -> None:
    first, tip = upstream.git("rev-parse", "1.0.0+1.0^{commit}"), upstream.git("rev-parse", "main")
    upstream.git("branch", first[:8], tip)
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    with pytest.raises(RefError, match="ambiguous"):
        mirror.resolve(first[:8])
    assert mirror.resolve(first).commit == first


def _colliding(tree: str) -> tuple[bytes, bytes]:
    """Two commits whose ids begin with the same four digits."""
    seen: dict[str, bytes] = {}
    for number in range(100_000):
        body = f"tree {tree}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n{number}\n".encode()
        digest = hashlib.sha1(b"commit %d\0" % len(body) + body, usedforsecurity=False).hexdigest()[:4]
        if digest in seen:
            return seen[digest], body
        seen[digest] = body
    raise AssertionError("no collision")


def test_a_short_id_that_fits_two_commits_is_refused(upstream: Any, git_spec: RecipeSpec, tmp_path: Path) -> None:
    one, two = _colliding(upstream.git("rev-parse", "HEAD^{tree}"))
    for name, body in (("one", one), ("two", two)):
        argv = ["git", "hash-object", "-t", "commit", "-w", "--stdin"]
        sha = process.run(argv, timeout=30, cwd=upstream.folder, stdin=body).stdout.strip()
        upstream.git("branch", name, sha)
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    with pytest.raises(RefError, match="ambiguous"):
        mirror.resolve(sha[:4])
    assert mirror.resolve(sha).commit == sha


def test_no_release_at_all_is_told_when_latest_is_asked_for(repository: Any, tmp_path: Path) -> None:
    repository.commit({"compose.yml": "x"}, tag="v1")
    mirror = open_mirror(spec(tmp_path, GitSource(str(repository.folder))), cache=tmp_path / "cache")
    with pytest.raises(RefError, match="no release") as caught:
        mirror.resolve("latest")
    assert "v1" in str(caught.value)


def test_what_moves_upstream_is_seen_at_the_next_opening_only(
    upstream: Any, git_spec: RecipeSpec, tmp_path: Path
) -> None:
    before = open_mirror(git_spec, cache=tmp_path / "cache")
    upstream.commit({"compose.yml": "four"}, tag="2.0.0+1.0")
    upstream.git("branch", "-D", "pr/good")
    after = open_mirror(git_spec, cache=tmp_path / "cache")
    stale = open_mirror(git_spec, cache=tmp_path / "cache", refresh=False)
    assert after.resolve("latest").version == "2.0.0+1.0" == stale.resolve("latest").version
    assert before.resolve("latest").version == "1.1.0+1.0"
    assert "pr/good" in before.branches()
    assert "pr/good" not in after.branches()


def test_a_pull_requests_head_is_found_by_its_full_id(upstream: Any, git_spec: RecipeSpec, tmp_path: Path) -> None:
    sha = upstream.git("commit-tree", "-p", "HEAD", "-m", "proposed", "HEAD^{tree}")
    upstream.git("update-ref", "refs/pull/7/head", sha)
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    assert mirror.resolve(sha).commit == sha
    assert mirror.resolve("pull/7/head").commit == sha


def test_each_checkout_is_a_tree_of_its_own_by_full_commit(git_spec: RecipeSpec, tmp_path: Path) -> None:
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    old = mirror.checkout(mirror.resolve("1.0.0+1.0"), tmp_path / "run1")
    new = mirror.checkout(mirror.resolve("tip"), tmp_path / "run2")
    (old.path / "compose.yml").write_text("scribbled", encoding="utf-8")
    assert files(new.path) == {"compose.yml": "three"}
    assert files(mirror.checkout(mirror.resolve("1.0.0+1.0"), tmp_path / "run3").path) == {"compose.yml": "one"}


def test_files_that_an_archive_would_leave_out_are_there(upstream: Any, git_spec: RecipeSpec, tmp_path: Path) -> None:
    upstream.commit(
        {".gitattributes": "abra.sh export-ignore\nx export-subst", "abra.sh": "export A=1", "x": "$Format:%H$"}
    )
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    tree = mirror.checkout(mirror.tip, tmp_path / "run")
    assert tree.abra_sh == "export A=1"
    assert tree.read("x") == "$Format:%H$"


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret", "sub/deep/../../../x", "loop"])
def test_a_link_that_leaves_the_recipe_is_refused(
    upstream: Any, git_spec: RecipeSpec, tmp_path: Path, target: str
) -> None:
    (upstream.folder / "loop").symlink_to(target)
    upstream.commit({"sub/deep/file": "x"})
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    with pytest.raises(RecipeInvalid, match="leaves the recipe"):
        mirror.checkout(mirror.tip, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_link_that_leaves_through_another_link_is_refused(
    upstream: Any, git_spec: RecipeSpec, tmp_path: Path
) -> None:
    upstream.write({"a/b/c/file": "x"})
    (upstream.folder / "a/b/c/up").symlink_to("../../../a")
    (upstream.folder / "out").symlink_to("a/b/c/up/../..")
    upstream.commit({})
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    with pytest.raises(RecipeInvalid, match="link out leaves"):
        mirror.checkout(mirror.tip, tmp_path / "run")


def test_a_link_inside_the_recipe_is_fine(upstream: Any, git_spec: RecipeSpec, tmp_path: Path) -> None:
    (upstream.folder / "alias.yml").symlink_to("compose.yml")
    upstream.commit({})
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    assert mirror.checkout(mirror.tip, tmp_path / "run").read("alias.yml") == "three"


def test_submodules_are_refused(upstream: Any, git_spec: RecipeSpec, tmp_path: Path) -> None:
    upstream.git("update-index", "--add", "--cacheinfo", f"160000,{upstream.git('rev-parse', 'HEAD')},vendored")
    upstream.git("commit", "-q", "-m", "submodule")
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    with pytest.raises(RecipeInvalid, match="submodules are not supported: vendored"):
        mirror.checkout(mirror.tip, tmp_path / "run")


def test_a_recipe_without_compose_file_is_refused(repository: Any, tmp_path: Path) -> None:
    repository.commit({"README.md": "x"})
    mirror = open_mirror(spec(tmp_path, GitSource(str(repository.folder))), cache=tmp_path / "cache")
    with pytest.raises(RecipeInvalid, match="no compose"):
        mirror.checkout(mirror.tip, tmp_path / "run")


def test_a_lightweight_tag_counts_and_is_told(repository: Any, tmp_path: Path) -> None:
    repository.commit({"compose.yml": "x"}, tag="1.0.0+1.0", lightweight=True)
    mirror = open_mirror(spec(tmp_path, GitSource(str(repository.folder))), cache=tmp_path / "cache")
    assert mirror.resolve("latest").lightweight


def test_a_source_out_of_reach_is_not_the_recipes_fault_and_hides_credentials(tmp_path: Path) -> None:
    source = GitSource("http://ada:hunter2@127.0.0.1:9/notes.git")
    with pytest.raises(InfrastructureFault) as caught:
        open_mirror(spec(tmp_path, source), cache=tmp_path / "cache")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str(caught.value.__cause__)
    assert "127.0.0.1:9" in str(caught.value)
    assert not list((tmp_path / "cache").glob("*.git"))


def test_a_remote_helper_that_runs_a_command_is_refused(tmp_path: Path) -> None:
    source = GitSource(f"ext::sh -c touch% {tmp_path}/pwned")
    with pytest.raises(InfrastructureFault):
        open_mirror(spec(tmp_path, source), cache=tmp_path / "cache")
    assert not (tmp_path / "pwned").exists()


def test_an_empty_repository_is_told(repository: Any, tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid, match="no commits"):
        open_mirror(spec(tmp_path, GitSource(str(repository.folder))), cache=tmp_path / "cache")


# --- work trees and plain directories


def test_a_clean_work_tree_is_its_commit(upstream: Any, tmp_path: Path) -> None:
    mirror = open_mirror(spec(tmp_path, PathSource(upstream.folder)), cache=tmp_path / "cache")
    assert mirror.tip.commit == upstream.git("rev-parse", "HEAD")
    assert (mirror.tip.dirty, mirror.tip.branch) == (False, "main")


def test_a_tagged_clean_work_tree_is_the_release(upstream: Any, tmp_path: Path) -> None:
    upstream.git("checkout", "-q", "1.1.0+1.0")
    mirror = open_mirror(spec(tmp_path, PathSource(upstream.folder)), cache=tmp_path / "cache")
    assert (mirror.tip.version, mirror.tip.branch) == ("1.1.0+1.0", None)


def test_a_dirty_work_tree_is_taken_as_it_is_and_marked(upstream: Any, tmp_path: Path) -> None:
    upstream.commit({".gitignore": "*.log\nkept.log\n"})
    upstream.write({"kept.log": "tracked"})
    upstream.git("add", "-f", "kept.log")
    upstream.git("commit", "-q", "-m", "tracked though ignored")
    upstream.write({"compose.yml": "changed", "new": "untracked", "noise.log": "ignored", "kept.log": "also changed"})
    before = upstream.git("status", "--porcelain")
    mirror = open_mirror(spec(tmp_path, PathSource(upstream.folder)), cache=tmp_path / "cache")
    assert mirror.tip.dirty
    assert mirror.tip.version == mirror.tip.commit[:8] + "+U"
    tree = mirror.checkout(mirror.tip, tmp_path / "run")
    assert files(tree.path) == {
        ".gitignore": "*.log\nkept.log\n",
        "compose.yml": "changed",
        "new": "untracked",
        "kept.log": "also changed",
    }
    assert upstream.git("status", "--porcelain") == before
    assert mirror.is_ancestor(upstream.git("rev-parse", "HEAD"), mirror.tip)


def test_a_dirty_state_stays_dirty_when_it_is_asked_for_by_its_id(upstream: Any, tmp_path: Path) -> None:
    upstream.write({"new": "x"})
    source = spec(tmp_path, PathSource(upstream.folder))
    dirty = open_mirror(source, cache=tmp_path / "cache").tip
    (upstream.folder / "new").unlink()
    mirror = open_mirror(source, cache=tmp_path / "cache")
    assert not mirror.tip.dirty
    assert mirror.resolve(dirty.commit).dirty


def test_a_removed_file_makes_a_work_tree_dirty(upstream: Any, tmp_path: Path) -> None:
    upstream.commit({"extra": "x"})
    (upstream.folder / "extra").unlink()
    mirror = open_mirror(spec(tmp_path, PathSource(upstream.folder)), cache=tmp_path / "cache")
    assert mirror.tip.dirty
    assert "extra" not in files(mirror.checkout(mirror.tip, tmp_path / "run").path)


def test_a_work_tree_of_its_own_git_file_and_a_shallow_clone_are_read(upstream: Any, tmp_path: Path) -> None:
    upstream.git("worktree", "add", "-q", str(tmp_path / "linked"), "pr/good")
    linked = open_mirror(spec(tmp_path, PathSource(tmp_path / "linked")), cache=tmp_path / "cache")
    assert (linked.tip.branch, linked.tip.dirty) == ("pr/good", False)
    upstream.git("clone", "-q", "--depth", "1", f"file://{upstream.folder}", str(tmp_path / "shallow"))
    shallow = open_mirror(spec(tmp_path, PathSource(tmp_path / "shallow")), cache=tmp_path / "cache")
    assert shallow.tip.commit == upstream.git("rev-parse", "HEAD")


def test_nothing_of_a_work_trees_own_configuration_is_run(upstream: Any, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\n", encoding="utf-8")
    trap.chmod(0o755)
    for key in ("core.fsmonitor", "filter.x.clean", "filter.x.smudge", "uploadpack.packObjectsHook"):
        upstream.git("config", key, str(trap))
    upstream.write({".gitattributes": "* filter=x", "new": "x"})
    mirror = open_mirror(spec(tmp_path, PathSource(upstream.folder)), cache=tmp_path / "cache")
    mirror.checkout(mirror.tip, tmp_path / "run")
    assert not (tmp_path / "pwned").exists()


def test_a_plain_directory_has_its_content_as_version(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "plain", {"compose.yml": "x"})
    source = spec(tmp_path, PathSource(tmp_path / "plain"))
    one = open_mirror(source, cache=tmp_path / "cache").tip
    again = open_mirror(source, cache=tmp_path / "other").tip
    write(tmp_path / "plain", {"compose.yml": "y"})
    two = open_mirror(source, cache=tmp_path / "cache").tip
    assert one == again
    assert one.version != two.version
    assert (one.version, one.dirty, one.release) == (one.commit[:8], False, None)


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid, match="no such directory"):
        open_mirror(spec(tmp_path, PathSource(tmp_path / "gone")), cache=tmp_path / "cache")


# --- bundled releases

BUNDLE = {
    "1-1.0.0+1.0/compose.yml": "one",
    "1-1.0.0+1.0/old/file": "x",
    "1-1.0.0+1.0/abra.sh": "export A=v1",
    "2-1.1.0+1.1/compose.yml": "two",
    "2-1.1.0+1.1/.removed": "old\n",
    "10-2.0.0+2.0/abra.sh": "export A=v2",
    "tip/next": "x",
    "pr/good/compose.yml": "proposed",
    "pr/late/compose.yml": "from an old base",
    "pr/late/.base": "1.0.0+1.0\n",
}


@pytest.fixture
def bundle(tmp_path: Path, write: Write) -> RecipeSpec:
    write(tmp_path / "notes/releases", BUNDLE)
    return spec(tmp_path / "notes", BundledSource(tmp_path / "notes/releases"))


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("1.0.0+1.0", {"compose.yml": "one", "old/file": "x", "abra.sh": "export A=v1"}),
        ("1.1.0+1.1", {"compose.yml": "two", "abra.sh": "export A=v1"}),
        ("latest", {"compose.yml": "two", "abra.sh": "export A=v2"}),
        ("tip", {"compose.yml": "two", "abra.sh": "export A=v2", "next": "x"}),
        ("pr/good", {"compose.yml": "proposed", "abra.sh": "export A=v2", "next": "x"}),
        ("pr/late", {"compose.yml": "from an old base", "old/file": "x", "abra.sh": "export A=v1"}),
    ],
)
def test_bundled_releases_are_overlays(bundle: RecipeSpec, tmp_path: Path, ref: str, expected: dict[str, str]) -> None:
    mirror = open_mirror(bundle, cache=tmp_path / "cache")
    assert files(mirror.checkout(mirror.resolve(ref), tmp_path / "run").path) == expected


def test_bundled_releases_have_history_annotated_tags_and_a_tip_ahead_of_the_latest(
    bundle: RecipeSpec, tmp_path: Path
) -> None:
    mirror = open_mirror(bundle, cache=tmp_path / "cache")
    assert [each.tag for each in mirror.releases()] == ["1.0.0+1.0", "1.1.0+1.1", "2.0.0+2.0"]
    assert not any(mirror.resolve(each.tag).lightweight for each in mirror.releases())
    assert mirror.is_ancestor(mirror.resolve("1.0.0+1.0"), mirror.resolve("latest"))
    assert mirror.is_ancestor(mirror.resolve("latest"), mirror.tip)
    assert mirror.is_ancestor(mirror.tip, mirror.resolve("pr/good"))
    assert not mirror.is_ancestor(mirror.tip, mirror.resolve("pr/late"))
    assert (mirror.tip.branch, mirror.tip.release) == ("main", None)


def test_the_same_bundle_has_the_same_commits_on_every_machine(bundle: RecipeSpec, tmp_path: Path) -> None:
    one = open_mirror(bundle, cache=tmp_path / "cache")
    shutil.copytree(tmp_path / "notes", tmp_path / "elsewhere/notes")
    other = spec(tmp_path / "elsewhere/notes", BundledSource(tmp_path / "elsewhere/notes/releases"))
    two = open_mirror(other, cache=tmp_path / "other")
    assert one.branches() == two.branches()
    assert one.git.tags() == two.git.tags()
    # A guard against a change of the import that would silently rename every bundled commit.
    assert one.resolve("1.0.0+1.0").commit == "e679a523686897aab9d64e6b62c9b1602368fa79"


def test_a_changed_bundle_is_imported_again_and_an_unchanged_one_is_not(
    bundle: RecipeSpec, tmp_path: Path, write: Write
) -> None:
    first = open_mirror(bundle, cache=tmp_path / "cache")
    again = open_mirror(bundle, cache=tmp_path / "cache")
    write(tmp_path / "notes/releases", {"tip/next": "y"})
    changed = open_mirror(bundle, cache=tmp_path / "cache")
    assert first.git.folder == again.git.folder != changed.git.folder
    assert changed.tip.commit != first.tip.commit
    assert changed.resolve("latest").commit == first.resolve("latest").commit


def test_a_broken_import_leaves_nothing(bundle: RecipeSpec, tmp_path: Path, write: Write) -> None:
    write(tmp_path / "notes/releases", {"pr/late/.base": "9.9.9+9"})
    with pytest.raises(RecipeInvalid, match="no release here"):
        open_mirror(bundle, cache=tmp_path / "cache")
    left = {path.name for path in (tmp_path / "cache").iterdir() if path.suffix not in {".lock", ".turnstile"}}
    assert left == {".gate"}


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ({"1-9.9.9+9/x": "x"}, "two releases have the number 1"),
        ({"draft/x": "x"}, "the folder draft is no release"),
        ({"2-1.1.0+1.1/.removed": "../../x\n"}, "outside the recipe"),
        ({"3-a..b/x": "x"}, "cannot be the name of a tag"),
    ],
)
def test_a_bundle_that_makes_no_sense_is_refused(
    bundle: RecipeSpec, tmp_path: Path, write: Write, added: dict[str, str], says: str
) -> None:
    write(tmp_path / "notes/releases", added)
    with pytest.raises(RecipeInvalid, match=says):
        open_mirror(bundle, cache=tmp_path / "cache")


def test_the_machines_git_configuration_does_not_matter(
    bundle: RecipeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "gitconfig"
    config.write_text(
        "[init]\ndefaultBranch = trunk\n[tag]\ngpgSign = true\n[core]\nautocrlf = true\n", encoding="utf-8"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert open_mirror(bundle, cache=tmp_path / "cache").tip.branch == "main"


def test_git_sees_only_the_callers_variables(
    bundle: RecipeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCCI_SECRET", "hunter2")
    seen: list[Mapping[str, str]] = []
    real = process.run

    def spy(argv: Any, **kwargs: Any) -> process.Finished:
        seen.append(kwargs["env"])
        return real(argv, **kwargs)

    monkeypatch.setattr(process, "run", spy)
    open_mirror(bundle, cache=tmp_path / "cache", env={"https_proxy": "http://proxy:3128"})
    assert seen
    assert all(env["https_proxy"] == "http://proxy:3128" for env in seen)
    assert "hunter2" not in json.dumps([dict(env) for env in seen])


def test_runs_that_open_one_recipe_at_once_all_get_the_whole_repository(bundle: RecipeSpec, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = [pool.submit(open_mirror, bundle, cache=tmp_path / "cache") for _ in range(4)]
        tips = {each.result().tip for each in opened}
    assert len(tips) == 1
    assert len(list((tmp_path / "cache").glob("*.git"))) == 1


def test_a_commit_counts_as_the_release_that_it_became_part_of(
    upstream: Any, git_spec: RecipeSpec, tmp_path: Path
) -> None:
    between = upstream.git("rev-parse", "main")
    upstream.commit({"compose.yml": "four"}, tag="2.0.0+1.0")
    upstream.commit({"compose.yml": "five"}, tag="2.1.0+1.0")
    after = upstream.commit({"compose.yml": "six"})
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")

    def tag(ref: str) -> str:
        found = mirror.release_with(mirror.resolve(ref))
        return found.tag if found else "none yet"

    assert [tag(ref) for ref in ("1.0.0+1.0", "latest", between, "tip", after)] == [
        "1.0.0+1.0",
        "2.1.0+1.0",
        "2.0.0+1.0",
        "none yet",
        "none yet",
    ]


def test_a_changed_work_tree_is_in_no_release(upstream: Any, tmp_path: Path) -> None:
    upstream.git("checkout", "-q", "1.1.0+1.0")
    path_spec = spec(tmp_path, PathSource(upstream.folder))
    clean = open_mirror(path_spec, cache=tmp_path / "cache")
    found = clean.release_with(clean.tip)
    assert found is not None
    assert found.tag == "1.1.0+1.0"
    upstream.write({"compose.yml": "changed"})
    changed = open_mirror(path_spec, cache=tmp_path / "cache")
    assert changed.release_with(changed.tip) is None


def test_a_commit_that_no_branch_leads_to_any_more_is_fetched_by_its_full_id(
    upstream: Any, git_spec: RecipeSpec, tmp_path: Path
) -> None:
    mirror = open_mirror(git_spec, cache=tmp_path / "cache")
    upstream.git("checkout", "-q", "-b", "wip")
    away = upstream.commit({"compose.yml": "pushed away"})
    upstream.git("checkout", "-q", "main")
    upstream.git("branch", "-q", "-D", "wip")
    upstream.git("config", "uploadpack.allowAnySHA1InWant", "true")
    mirror.fetch_commit(str(upstream.folder), away)
    again = open_mirror(git_spec, cache=tmp_path / "cache")  # which fetches and prunes
    assert again.resolve(away).commit == away
    again.fetch_commit("/nowhere", away)  # it is there
    with pytest.raises(InfrastructureFault, match="could not be fetched"):
        again.fetch_commit(str(upstream.folder), "f" * 40)
    for bad in (away[:12], "--upload-pack=/bin/sh", ""):
        with pytest.raises(RefError, match="no full commit id"):
            again.fetch_commit(str(upstream.folder), bad)


def test_the_address_of_a_recipe_has_no_credentials_and_is_a_work_trees_origin(upstream: Any, tmp_path: Path) -> None:
    assert address_of(GitSource("https://me:hunter2x9@git.example.org/a/b.git")) == "https://git.example.org/a/b.git"
    assert address_of(BundledSource(tmp_path)) == ""
    assert address_of(PathSource(tmp_path / "none")) == ""
    assert address_of(PathSource(upstream.folder)) == ""
    upstream.git("remote", "add", "origin", "https://me:hunter2x9@git.example.org/a/b.git")
    assert address_of(PathSource(upstream.folder)) == "https://git.example.org/a/b.git"
