"""A backup of a stack: every pre-hook, each volume once, every post-hook; and the way back."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.engine.inspect import ServiceState, StackFacts, TaskState
from pytest_ccci.errors import BackupFailed, DeadlineExceeded
from pytest_ccci.recipe.backup_labels import BackupPlan, Place, ServiceBackup, VolumeBackup
from pytest_ccci.run import backup
from pytest_ccci.run.backup import take_backup, write_back

Hook = Callable[[str, str], Any]


class FakeStack:
    """Containers, one a service, that hold a file with its own path in it below every path, and take files back.

    ``did`` is what happened, in order. ``files`` are more files by the path that is asked for.
    """

    def __init__(self, *services: str, empty: tuple[str, ...] = (), idle: tuple[str, ...] = ()) -> None:
        self.restored: dict[tuple[str, str], bytes] = {}
        self.did: list[str] = []
        self.empty = empty
        self.files: dict[str, tuple[str, ...]] = {}
        self.hook: Hook = lambda _service, _command: SimpleNamespace(rc=0, stdout="", stderr="")
        self.states = tuple(
            ServiceState(
                name=name,
                image="i",
                labels={},
                wanted=0 if name in idle else 1,
                job=False,
                update_state="",
                update_message="",
                tasks=() if name in idle else (TaskState("t", "running", "running", current=True, image="i"),),
            )
            for name in (*services, *idle)
        )

    @property
    def app(self) -> Any:
        return SimpleNamespace(stack="s", engine=SimpleNamespace(client=SimpleNamespace(api=self)))

    def get_archive(self, container: str, path: str) -> tuple[Iterator[bytes], dict[str, str]]:
        self.did.append(f"read {container}:{path}")
        buffer = io.BytesIO()
        top = PurePosixPath(path).name
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in (top, *(f"{top}/{each}" for each in self.files.get(path, ()))):
                data = b"" if path in self.empty else f"{container} {path}".encode()
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return iter([buffer.getvalue()]), {}

    def put_archive(self, container: str, folder: str, source: Any) -> bool:
        self.did.append(f"write {container}:{folder}")
        with tarfile.open(fileobj=source) as archive:
            for member in archive:
                content = archive.extractfile(member)
                assert content is not None
                self.restored[container, str(PurePosixPath(folder, member.name))] = content.read()
        return True

    def exec_in(self, _engine: object, _stack: str, service: str, argv: list[str], **_: object) -> Any:
        self.did.append(f"{service}: {argv[-1]}")
        return self.hook(service, argv[-1])


@pytest.fixture
def stack_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeStack]:
    def make(*services: str, **more: Any) -> FakeStack:
        stack = FakeStack(*services, **more)
        monkeypatch.setattr(backup, "container_of", lambda _engine, _stack, service: service)
        monkeypatch.setattr(backup, "inspect_stack", lambda _engine, name: StackFacts(name, stack.states))
        monkeypatch.setattr(backup, "exec_in", stack.exec_in)
        return stack

    return make


def volume(name: str, *places: tuple[str, str], paths: tuple[str, ...] = ()) -> VolumeBackup:
    return VolumeBackup(name, tuple(Place(*place) for place in places), paths)


HOOKS = tuple(ServiceBackup(name, f"pre {name}", f"post {name}", f"before {name}", f"after {name}") for name in "ab")


def test_all_hooks_run_around_the_volumes_which_are_archived_once_each(
    tmp_path: Path, stack_of: Callable[..., FakeStack]
) -> None:
    stack = stack_of("a", "b", "c")
    media = volume("media", ("a", "/media"), ("c", "/srv"))
    plan = BackupPlan(enabled=True, services=HOOKS, volumes=(media, volume("pg", ("c", "/pg"), paths=("x", "y/z"))))
    archives = take_backup(stack.app, plan, tmp_path)
    assert stack.did == [
        "a: pre a",
        "b: pre b",
        "read a:/media",
        "read c:/pg/x",
        "read c:/pg/y/z",
        "a: post a",
        "b: post b",
    ]
    stack.did.clear()
    write_back(stack.app, plan, archives)
    assert stack.did == [
        "a: before a",
        "b: before b",
        "write a:/",
        "write c:/pg",
        "write c:/pg/y",
        "a: after a",
        "b: after b",
    ]


@pytest.mark.parametrize("fails", ["pre a", "pre b", "read", "post a"])
def test_every_post_hook_runs_and_the_first_failure_is_the_reason(
    tmp_path: Path, stack_of: Callable[..., FakeStack], fails: str, caplog: pytest.LogCaptureFixture
) -> None:
    stack = stack_of("a", "b", empty=("/data",) if fails == "read" else ())
    stack.hook = lambda _service, command: SimpleNamespace(
        rc=int(command in {fails, "post b"}), stdout="", stderr=f"{command} broke"
    )
    plan = BackupPlan(enabled=True, services=HOOKS, volumes=(volume("data", ("a", "/data")),))
    with pytest.raises(BackupFailed) as caught:
        take_backup(stack.app, plan, tmp_path)
    assert stack.did[-2:] == ["a: post a", "b: post b"]
    assert ("is empty after its hook" if fails == "read" else f"{fails} broke") in caught.value.reason()
    assert "post b broke" in caplog.text


def test_no_hook_runs_after_a_restore_that_failed(tmp_path: Path, stack_of: Callable[..., FakeStack]) -> None:
    stack = stack_of("a", "b")
    plan = BackupPlan(enabled=True, services=HOOKS, volumes=(volume("data", ("a", "/data")),))
    archives = take_backup(stack.app, plan, tmp_path)
    stack.did.clear()
    stack.hook = lambda _service, command: SimpleNamespace(rc=int(command == "before b"), stdout="", stderr="")
    with pytest.raises(BackupFailed, match="restore pre-hook of service b"):
        write_back(stack.app, plan, archives)
    assert stack.did == ["a: before a", "b: before b"]


def test_what_is_mounted_inside_of_a_volume_is_not_in_its_archive(
    tmp_path: Path, stack_of: Callable[..., FakeStack]
) -> None:
    stack = stack_of("app")
    stack.files["/srv/data"] = ("a", "cache", "cache/b", "cached", "etc/host")
    data = VolumeBackup("data", (Place("app", "/srv/data", inside=("/srv/data/cache", "/srv/data/etc/host")),))
    (archive,) = take_backup(stack.app, BackupPlan(enabled=True, volumes=(data,)), tmp_path)
    with tarfile.open(archive.tar) as tar:
        assert tar.getnames() == ["data", "data/a", "data/cached"]
    assert archive.files == 3


@pytest.mark.parametrize("inside", [(), ("/pg/x",)])
def test_an_archive_that_ends_too_early_is_the_recipes_fault(
    tmp_path: Path, stack_of: Callable[..., FakeStack], monkeypatch: pytest.MonkeyPatch, inside: tuple[str, ...]
) -> None:
    stack = stack_of("db")
    whole = b"".join(stack.get_archive("c" * 2000, "/pg")[0])
    monkeypatch.setattr(stack, "get_archive", lambda *_: (iter([whole[:1024]]), {}))
    plan = BackupPlan(enabled=True, volumes=(VolumeBackup("pg", (Place("db", "/pg", inside=inside),)),))
    with pytest.raises(BackupFailed, match="/pg of service db changed while it was read"):
        take_backup(stack.app, plan, tmp_path)


def test_a_volume_is_read_where_something_runs(
    tmp_path: Path, stack_of: Callable[..., FakeStack], caplog: pytest.LogCaptureFixture
) -> None:
    stack = stack_of("web", idle=("job",))
    shared, only = volume("shared", ("job", "/j"), ("web", "/w")), volume("only", ("job", "/only"))
    archives = take_backup(stack.app, BackupPlan(enabled=True, volumes=(only, shared)), tmp_path)
    assert [(archive.service, archive.path) for archive in archives] == [("web", "/w")]
    assert "volume only is not backed up: no service that mounts it runs (job)" in caplog.text


def test_a_volume_that_nothing_may_write_to_is_left_as_it_is(
    tmp_path: Path, stack_of: Callable[..., FakeStack]
) -> None:
    stack = stack_of("app")
    plan = BackupPlan(enabled=True, volumes=(VolumeBackup("data", (Place("app", "/data", read_only=True),)),))
    write_back(stack.app, plan, take_backup(stack.app, plan, tmp_path))
    assert stack.did == ["read app:/data"]


@pytest.mark.parametrize(
    "services",
    [
        {"app": ("/srv/a_b", "/srv/a/b", "/srv/a__b", "/srv/a/_b")},
        {"app": ("/x_y",), "app_x": ("/y",)},
        {"app": ("/" + "/".join(["n" * 200] * 15), "/" + "n" * 200)},
        {"app": ("/srv/..data", "/srv/ with blanks", "/srv/ü")},
    ],
    ids=["underscores and slashes", "between services", "long", "odd"],
)
def test_each_path_has_an_archive_of_its_own_and_gets_its_own_data_back(
    tmp_path: Path, stack_of: Callable[..., FakeStack], services: dict[str, tuple[str, ...]]
) -> None:
    stack = stack_of(*services)
    every = [(name, path) for name, paths in services.items() for path in paths]
    plan = BackupPlan(enabled=True, paths=tuple(Place(*each) for each in every))
    archives = take_backup(stack.app, plan, tmp_path / "backup")
    write_back(stack.app, plan, archives)
    assert stack.restored == {(name, path): f"{name} {path}".encode() for name, path in every}
    assert len({archive.tar for archive in archives}) == len(every)


def test_each_volume_and_each_path_in_one_has_an_archive_of_its_own_and_gets_its_own_data_back(
    tmp_path: Path, stack_of: Callable[..., FakeStack]
) -> None:
    stack = stack_of("app", "app_srv")
    plan = BackupPlan(
        enabled=True,
        volumes=(
            volume("a", ("app", "/srv/a_b")),
            volume("b", ("app", "/srv/a/b")),
            volume("c", ("app_srv", "/a_b")),
            volume("d", ("app", "/d"), paths=("x_y", "x/y")),
        ),
        paths=(Place("app", "/srv_a_b"),),
    )
    archives = take_backup(stack.app, plan, tmp_path / "backup")
    write_back(stack.app, plan, archives)
    every = [*(("app", path) for path in ("/srv/a_b", "/srv/a/b", "/d/x_y", "/d/x/y", "/srv_a_b")), ("app_srv", "/a_b")]
    assert stack.restored == {(name, path): f"{name} {path}".encode() for name, path in every}
    assert len({archive.tar for archive in archives}) == len(every)


def test_an_empty_volume_is_backed_up_and_restored(tmp_path: Path, stack_of: Callable[..., FakeStack]) -> None:
    stack = stack_of("app", empty=("/uploads",))
    plan = BackupPlan(enabled=True, volumes=(volume("data", ("app", "/data")), volume("up", ("app", "/uploads"))))
    archives = take_backup(stack.app, plan, tmp_path)
    write_back(stack.app, plan, archives)
    assert [(archive.path, archive.size > 0) for archive in archives] == [("/data", True), ("/uploads", False)]
    assert stack.restored["app", "/uploads"] == b""


def test_a_hook_that_leaves_nothing_to_back_up_is_the_recipes_fault(
    tmp_path: Path, stack_of: Callable[..., FakeStack]
) -> None:
    stack = stack_of("db", "web", empty=("/dump",))
    web = ServiceBackup("web", "true")
    data, dump = volume("data", ("web", "/data")), volume("dump", ("db", "/dump"), ("web", "/dump"))
    assert len(take_backup(stack.app, BackupPlan(enabled=True, services=(web,), volumes=(data, dump)), tmp_path)) == 2
    both = BackupPlan(enabled=True, services=(ServiceBackup("db", "pg_dump"), web), volumes=(data, dump))
    with pytest.raises(BackupFailed, match="the backup of /dump of service db is empty after its hook") as caught:
        take_backup(stack.app, both, tmp_path / "bare")
    assert caught.value.advice == "the hook is: pg_dump"


def test_the_hook_of_a_service_without_a_volume_must_leave_something_anywhere(
    tmp_path: Path, stack_of: Callable[..., FakeStack]
) -> None:
    stack = stack_of("cron", "db", empty=("/dump",))
    plan = BackupPlan(
        enabled=True, services=(ServiceBackup("cron", "dump"),), volumes=(volume("dump", ("db", "/dump")),)
    )
    with pytest.raises(BackupFailed, match="the backup of /dump of service db is empty after the hook of service cron"):
        take_backup(stack.app, plan, tmp_path / "bare")
    filled = BackupPlan(enabled=True, services=plan.services, volumes=(*plan.volumes, volume("pg", ("db", "/pg"))))
    assert len(take_backup(stack.app, filled, tmp_path / "filled")) == 2


def test_labels_that_leave_nothing_to_back_up_are_refused(tmp_path: Path, stack_of: Callable[..., FakeStack]) -> None:
    with pytest.raises(BackupFailed, match="name nothing to back up"):
        take_backup(stack_of("app").app, BackupPlan(enabled=True), tmp_path)


def test_a_hook_that_hangs_is_the_recipes_fault_and_is_named(
    tmp_path: Path, stack_of: Callable[..., FakeStack]
) -> None:
    stack = stack_of("db")

    def hang(*_: object) -> None:
        raise DeadlineExceeded("sh in db said nothing for 600 s")

    stack.hook = hang
    plan = BackupPlan(
        enabled=True, services=(ServiceBackup("db", pre_hook="pg_dump"),), volumes=(volume("x", ("db", "/x")),)
    )
    with pytest.raises(BackupFailed, match="backup pre-hook of service db does not end") as caught:
        take_backup(stack.app, plan, tmp_path)
    assert caught.value.advice == "the hook is: pg_dump"
