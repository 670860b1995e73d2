from __future__ import annotations

import pytest

from pytest_ccci.recipe.backup_labels import ServiceBackup, VolumeBackup
from pytest_ccci.run.backup import archived_paths


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
