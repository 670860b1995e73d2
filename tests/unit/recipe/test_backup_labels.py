"""Backup labels of a whole stack, as the published specification means them, and the older label with paths."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_ccci.recipe.backup_labels import BackupPlan, Place, VolumeBackup, backup_plan, idle_labels
from pytest_ccci.recipe.compose_facts import compose_facts
from pytest_ccci.recipe.coverage import not_backed_up

TRUE = "backupbot.backup=true"


def service(*labels: str, volumes: tuple[str, ...] = (), form: str = "list", **more: Any) -> dict[str, Any]:
    """A service with deploy labels as a list or a mapping, and mounts in their short form."""
    pairs = {key: value for key, _, value in (label.partition("=") for label in labels)}
    return {"volumes": list(volumes), "deploy": {"labels": list(labels) if form == "list" else pairs}, **more}


def plan_of(**services: dict[str, Any]) -> BackupPlan:
    return backup_plan(compose_facts({"services": services}))


def kept(plan: BackupPlan) -> dict[str, tuple[str, ...]]:
    """The volumes that are backed up, each with the paths that narrow it."""
    return {volume.volume: volume.paths for volume in plan.volumes}


@pytest.mark.parametrize("form", ["list", "mapping"])
def test_one_label_is_for_all_volumes_of_the_stack_and_each_is_backed_up_once(form: str) -> None:
    plan = plan_of(
        worker=service(volumes=("media:/srv/media", "queue:/queue"), form=form),
        app=service(TRUE, volumes=("media:/media",), form=form),
        db=service(volumes=("pg:/var/lib/postgresql/data", "/host:/host", "/anonymous"), form=form),
    )
    assert plan == BackupPlan(
        enabled=True,
        volumes=(
            VolumeBackup("media", (Place("app", "/media"), Place("worker", "/srv/media"))),
            VolumeBackup("pg", (Place("db", "/var/lib/postgresql/data"),)),
            VolumeBackup("queue", (Place("worker", "/queue"),)),
        ),
    )


def test_recipes_that_label_each_service_mean_the_same() -> None:
    once = plan_of(app=service(TRUE, volumes=("a:/a",)), db=service(volumes=("b:/b",)))
    each = plan_of(app=service(TRUE, volumes=("a:/a",)), db=service(TRUE, volumes=("b:/b",)))
    assert once == each
    assert kept(once) == {"a": (), "b": ()}


@pytest.mark.parametrize("value", ["false", "", "no", "${ENABLE_BACKUPS}"])
def test_a_stack_in_which_no_service_says_true_has_no_backup(value: str) -> None:
    plan = plan_of(
        app=service(f"backupbot.backup={value}", "backupbot.backup.pre-hook=dump", volumes=("data:/data",)),
        db=service("backupbot.backup.path=/x", volumes=("pg:/pg",)),
    )
    assert plan == BackupPlan()


@pytest.mark.parametrize("form", ["list", "mapping"])
def test_an_exclusion_counts_whichever_service_says_it(form: str) -> None:
    plan = plan_of(
        app=service(TRUE, "backupbot.backup.volumes.cache=false", volumes=("data:/data",), form=form),
        redis=service(volumes=("cache:/cache",), form=form),
        db=service(
            "backupbot.backup.volumes.pg=False", "backupbot.backup.volumes.pg.path=x", volumes=("pg:/pg",), form=form
        ),
    )
    assert kept(plan) == {"data": ()}
    assert plan.excluded == {"cache": "a label of service app excludes it", "pg": "a label of service db excludes it"}


def test_no_service_takes_its_volumes_out_by_saying_false_where_another_says_true() -> None:
    plan = plan_of(
        app=service(TRUE, volumes=("data:/data",)), db=service("backupbot.backup=false", volumes=("pg:/pg",))
    )
    assert kept(plan) == {"data": (), "pg": ()}


def test_labels_of_the_container_are_read_and_those_of_the_service_win() -> None:
    plan = plan_of(
        app={
            "labels": {"backupbot.backup": "true", "backupbot.backup.volumes.data": "false"},
            "deploy": {"labels": ["backupbot.backup.volumes.data=true"]},
            "volumes": ["data:/data"],
        }
    )
    assert kept(plan) == {"data": ()}


@pytest.mark.parametrize(
    ("said", "paths"),
    [
        ("backup.sql", ("backup.sql",)),
        ("a, b/c,", ("a", "b/c")),
        ("/dumps/a,./b//c/", ("b/c", "dumps/a")),
        ("a,a/b,ab", ("a", "ab")),
        ("../../etc", ("etc",)),
        ("/", ()),
        (".,a", ()),
        ("", ()),
    ],
)
def test_paths_narrow_a_volume_and_never_leave_it(said: str, paths: tuple[str, ...]) -> None:
    plan = plan_of(app=service(TRUE, f"backupbot.backup.volumes.data.path={said}", volumes=("data:/data",)))
    assert kept(plan) == {"data": paths}


def test_paths_of_one_volume_add_up_over_the_services_that_name_them() -> None:
    plan = plan_of(
        app=service(TRUE, "backupbot.backup.volumes.data.path=b", volumes=("data:/data",)),
        helper=service("backupbot.backup.volumes.data.path=a"),
    )
    assert kept(plan) == {"data": ("a", "b")}


@pytest.mark.parametrize("form", ["list", "mapping"])
def test_hooks_run_on_any_service_in_the_order_of_their_names(form: str) -> None:
    plan = plan_of(
        web=service("backupbot.backup.pre-hook=on", "backupbot.backup.post-hook=off", form=form),
        db=service("backupbot.restore.pre-hook=stop", "backupbot.restore.post-hook=load", form=form),
        app=service(TRUE, volumes=("data:/data",), form=form),
    )
    assert [(each.service, each.pre_hook, each.post_hook) for each in plan.services] == [
        ("db", "", ""),
        ("web", "on", "off"),
    ]
    assert (plan.services[0].restore_pre, plan.services[0].restore_post) == ("stop", "load")


def test_a_volume_is_written_where_it_can_be_and_never_holds_what_is_mounted_inside_of_it() -> None:
    plan = plan_of(
        app=service(TRUE, volumes=("data:/data:ro",)),
        worker=service(volumes=("data:/data", "cache:/data/cache", "/host:/data/etc/host", "other:/database")),
    )
    (data,) = (each for each in plan.volumes if each.volume == "data")
    assert data.places == (
        Place("worker", "/data", inside=("/data/cache", "/data/etc/host")),
        Place("app", "/data", read_only=True),
    )


# --- the older label, backupbot.backup.path


def test_an_older_path_narrows_the_volume_in_which_it_lies() -> None:
    plan = plan_of(
        db=service(TRUE, "backupbot.backup.path=/var/lib/pg/dump.sql,/var/lib/pg/x", volumes=("pg:/var/lib/pg",))
    )
    assert kept(plan) == {"pg": ("dump.sql", "x")}
    assert plan.paths == ()


def test_an_older_path_outside_of_all_volumes_is_read_from_its_service() -> None:
    plan = plan_of(db=service(TRUE, "backupbot.backup.path=/tmp/dump.sql", volumes=("pg:/var/lib/pg",)))
    assert plan.paths == (Place("db", "/tmp/dump.sql"),)
    assert kept(plan) == {}
    assert plan.excluded == {"pg": "backupbot.backup.path of service db names other places"}


def test_an_older_path_adds_no_directory_of_services_that_are_not_labelled() -> None:
    plan = plan_of(
        app=service(TRUE, "backupbot.backup.path=/data", volumes=("data:/data", "cache:/cache")),
        db=service(volumes=("pg:/pg",)),
        off=service("backupbot.backup=false", volumes=("off:/off",)),
        named=service("backupbot.backup.volumes.dumps.path=a", volumes=("dumps:/dumps",)),
        web=service(TRUE, volumes=("media:/media",)),
    )
    assert kept(plan) == {"data": (), "dumps": ("a",), "media": ()}
    assert plan.excluded == {
        "cache": "backupbot.backup.path of service app names other places",
        "off": "service off is not labelled, and service app has the older backupbot.backup.path",
        "pg": "service db is not labelled, and service app has the older backupbot.backup.path",
    }


def test_an_older_path_above_volumes_takes_them_whole_each_once() -> None:
    plan = plan_of(app=service(TRUE, "backupbot.backup.path=/srv", volumes=("a:/srv/a", "b:/srv/b", "c:/c")))
    assert kept(plan) == {"a": (), "b": ()}
    assert plan.paths == (Place("app", "/srv", inside=("/srv/a", "/srv/b")),)


@pytest.mark.parametrize("path", ["/srv/x", "/srv/x/", "/srv/./x"])
def test_an_older_path_that_is_itself_a_mount_is_read_with_what_is_there(path: str) -> None:
    plan = plan_of(app=service(TRUE, f"backupbot.backup.path={path}", volumes=("/host:/srv/x", "/more:/srv/x/y")))
    assert plan.paths == (Place("app", "/srv/x", inside=("/srv/x/y",)),)


def test_an_older_path_is_of_the_nearest_mount_around_it() -> None:
    mounts = ("outer:/srv", "inner:/srv/a", "/host:/srv/b")
    plan = plan_of(app=service(TRUE, "backupbot.backup.path=/srv/a/x,/srv/b/y", volumes=mounts))
    assert (kept(plan), plan.paths) == ({"inner": ("x",)}, (Place("app", "/srv/b/y"),))


def test_an_exclusion_holds_against_an_older_path() -> None:
    plan = plan_of(
        app=service(TRUE, "backupbot.backup.path=/data/x", volumes=("data:/data",)),
        web=service("backupbot.backup.volumes.data=false"),
    )
    assert (kept(plan), plan.paths) == ({}, ())


# --- labels that do nothing


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("backupbot.backup.pre_hook=x", "did you mean backupbot.backup.pre-hook?"),
        ("backupbot.bakup=true", "did you mean backupbot.backup?"),
        ("backupbot.backups=true", "did you mean backupbot.backup?"),
        ("backupbot.restore.posthook=x", "did you mean backupbot.restore.post-hook?"),
        ("backupbot.backup.volume.data=false", "did you mean backupbot.backup.volumes.data?"),
        ("backupbot.backup.volumes=false", "is unknown and does nothing"),
        ("backupbot.enable=true", "is unknown and does nothing"),
        ("backup-bot.backup=true", "did you mean backupbot.backup?"),
        ("Backupbot.Backup=true", "did you mean backupbot.backup?"),
        ("backupbot.backup=ture", "'ture' is neither true nor false"),
        ("backupbot.backup.volumes.data=off!", "'off!' is neither true nor false"),
        ("backupbot.backup.volumes.gone=false", "no service of the stack mounts a volume gone"),
        ("backupbot.backup.volumes.data.paths=x", "no service of the stack mounts a volume data.paths"),
        ("backupbot.backup=false", "excludes nothing, since service other says true for the whole stack"),
    ],
)
@pytest.mark.parametrize("form", ["list", "mapping"])
def test_a_label_that_does_nothing_is_told(label: str, words: str, form: str) -> None:
    facts = compose_facts(
        {"services": {"app": service(label, volumes=("data:/data",), form=form), "other": service(TRUE)}}
    )
    (idle,) = idle_labels(facts)
    assert (idle.service, idle.label) == ("app", label.partition("=")[0])
    assert words in idle.text


def test_labels_that_do_what_they_say_are_not_told() -> None:
    facts = compose_facts(
        {
            "services": {
                "app": service(
                    TRUE,
                    "backupbot.backup.pre-hook=a",
                    "backupbot.backup.post-hook=b",
                    "backupbot.restore.pre-hook=c",
                    "backupbot.restore.post-hook=d",
                    "backupbot.backup.path=/x",
                    "backupbot.backup.volumes.pg.path=x",
                    "backupbot.backup.volumes.media=true",
                    "backup.enable=true",
                    "traefik.http.routers.backupbot.rule=x",
                ),
                "db": service(TRUE, volumes=("pg:/pg", "media:/media")),
                "off": service("backupbot.backup=", "backupbot.backup.volumes.pg="),
            }
        }
    )
    assert idle_labels(facts) == ()


def test_a_stack_whose_backups_are_off_by_a_variable_is_not_told_so() -> None:
    facts = compose_facts({"services": {"app": service("backupbot.backup=false"), "db": service(TRUE[:-4] + "false")}})
    assert idle_labels(facts) == ()


# --- what is in no backup


def test_what_is_not_backed_up_is_what_the_plan_leaves_out() -> None:
    facts = compose_facts(
        {
            "services": {
                "app": service(
                    TRUE, "backupbot.backup.volumes.cache=false", volumes=("data:/data", "/srv/x:/x", "/etc/y:/y:ro")
                ),
                "redis": service(volumes=("cache:/cache", "/anonymous"), tmpfs="/run"),
            }
        }
    )
    assert not_backed_up(facts, backup_plan(facts)) == {
        "/srv/x": "it is a path of the host, and backups hold volumes only",
        "cache": "a label of service app excludes it",
    }


def test_all_is_not_backed_up_where_nothing_is_labelled() -> None:
    facts = compose_facts({"services": {"app": service(volumes=("data:/data",))}})
    assert not_backed_up(facts, backup_plan(facts)) == {"data": "no service says backupbot.backup=true"}
