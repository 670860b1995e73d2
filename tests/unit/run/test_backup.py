from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.errors import BackupFailed, DeadlineExceeded
from pytest_ccci.recipe.backup_labels import BackupPlan, ServiceBackup, VolumeBackup
from pytest_ccci.run import backup
from pytest_ccci.run.backup import archived_paths, take_backup, write_back


@pytest.mark.parametrize(
    ("service", "paths"),
    [
        (
            ServiceBackup("db", volumes=(VolumeBackup("data", "/var/lib/postgresql/data"),)),
            ("/var/lib/postgresql/data",),
        ),
        (ServiceBackup("db", volumes=(VolumeBackup("data", "/data", paths=("backup.sql",)),)), ("/data/backup.sql",)),
        (ServiceBackup("db", volumes=(VolumeBackup("data", "/data", paths=("a", "b/c")),)), ("/data/a", "/data/b/c")),
        (ServiceBackup("db", volumes=(VolumeBackup("cache", "/cache", included=False),)), ()),
        (
            ServiceBackup(
                "app",
                volumes=(VolumeBackup("media", "/media"), VolumeBackup("tmp", "/tmp", included=False, paths=("x",))),
                paths=("/etc/app.ini",),
            ),
            ("/media", "/etc/app.ini"),
        ),
        (ServiceBackup("app"), ()),
    ],
    ids=["whole volume", "one path", "several paths", "excluded", "mixed with legacy", "hooks only"],
)
def test_included_volumes_are_archived_whole_or_narrowed(service: ServiceBackup, paths: tuple[str, ...]) -> None:
    assert archived_paths(service) == paths


class FakeApi:
    """Containers that hold a file with its own path in it below every path, and take them back."""

    def __init__(self, *, empty: tuple[str, ...] = ()) -> None:
        self.restored: dict[tuple[str, str], bytes] = {}
        self.empty = empty

    def get_archive(self, container: str, path: str) -> tuple[Iterator[bytes], dict[str, str]]:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            data = b"" if path in self.empty else f"{container} {path}".encode()
            member = tarfile.TarInfo(PurePosixPath(path).name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        return iter([buffer.getvalue()]), {}

    def put_archive(self, container: str, folder: str, source: Any) -> bool:
        with tarfile.open(fileobj=source) as archive:
            for member in archive:
                content = archive.extractfile(member)
                assert content is not None
                self.restored[container, str(PurePosixPath(folder, member.name))] = content.read()
        return True


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, services: dict[str, tuple[str, ...]]
) -> None:
    api = FakeApi()
    app: Any = SimpleNamespace(stack="s", engine=SimpleNamespace(client=SimpleNamespace(api=api)))
    monkeypatch.setattr(backup, "container_of", lambda _engine, _stack, service: service)
    plan = BackupPlan(tuple(ServiceBackup(name, paths=paths) for name, paths in services.items()))
    archives = take_backup(app, plan, tmp_path / "backup")
    write_back(app, plan, archives)
    every = [(name, path) for name, paths in services.items() for path in paths]
    assert api.restored == {(name, path): f"{name} {path}".encode() for name, path in every}
    assert len({archive.tar for archive in archives}) == len(every)


def test_an_empty_volume_is_backed_up_and_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi(empty=("/uploads",))
    app: Any = SimpleNamespace(stack="s", engine=SimpleNamespace(client=SimpleNamespace(api=api)))
    monkeypatch.setattr(backup, "container_of", lambda _engine, _stack, service: service)
    plan = BackupPlan((ServiceBackup("app", paths=("/data", "/uploads")), ServiceBackup("idle", paths=("/uploads",))))
    archives = take_backup(app, plan, tmp_path)
    write_back(app, plan, archives)
    assert [(archive.service, archive.size > 0) for archive in archives] == [
        ("app", True),
        ("app", False),
        ("idle", False),
    ]
    assert api.restored["idle", "/uploads"] == b""


def test_a_hook_that_leaves_nothing_to_back_up_is_the_recipes_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = FakeApi(empty=("/dump",))
    app: Any = SimpleNamespace(stack="s", engine=SimpleNamespace(client=SimpleNamespace(api=api)))
    monkeypatch.setattr(backup, "container_of", lambda _engine, _stack, service: service)
    monkeypatch.setattr(backup, "exec_in", lambda *_, **__: SimpleNamespace(rc=0, stdout="", stderr=""))
    full, bare = (
        ServiceBackup("web", "true", paths=("/data", "/dump")),
        ServiceBackup("db", "pg_dump", paths=("/dump",)),
    )
    assert len(take_backup(app, BackupPlan((full,)), tmp_path / "full")) == 2
    with pytest.raises(BackupFailed, match="the backup of /dump of service db is empty after its hook") as caught:
        take_backup(app, BackupPlan((full, bare)), tmp_path / "bare")
    assert caught.value.advice == "the hook is: pg_dump"


def test_a_hook_that_hangs_is_the_recipes_fault_and_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def hang(*_: object, **__: object) -> None:
        raise DeadlineExceeded("sh in db said nothing for 600 s")

    monkeypatch.setattr(backup, "exec_in", hang)
    app: Any = SimpleNamespace(stack="s", engine=None)
    plan = BackupPlan((ServiceBackup("db", pre_hook="pg_dump", paths=("/x",)),))
    with pytest.raises(BackupFailed, match="backup pre-hook of service db does not end") as caught:
        take_backup(app, plan, tmp_path)
    assert caught.value.advice == "the hook is: pg_dump"
