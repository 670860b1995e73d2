"""What is installed to sweep each day: told from what is called, and good for systemd where that is here to ask."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci import process
from pytest_ccci.cli import main
from pytest_ccci.cli import sweep as command
from pytest_ccci.errors import InfrastructureFault, UsageError
from pytest_ccci.ops import timer
from pytest_ccci.ops.timer import (
    Kind,
    Schedule,
    cron_line,
    install,
    kind_here,
    passed_environment,
    program,
    units,
    verify,
)

HOME = Path("/srv/op")


def schedule(*words: str, clock: str = "03:00", **environment: str) -> Schedule:
    return Schedule(("/opt/ccci/bin/ccci", "sweep", *words), Path("/srv/my recipes"), environment, clock=clock)


@pytest.mark.parametrize(
    ("systemd", "root", "kind"),
    [(True, True, "system"), (True, False, "user"), (False, True, "cron"), (False, False, "cron")],
)
def test_what_the_machine_has_is_used(tmp_path: Path, systemd: bool, root: bool, kind: Kind) -> None:
    assert kind_here(running=tmp_path if systemd else tmp_path / "none", root=root) == kind


def test_the_service_has_an_explicit_environment_and_ends_as_its_runs_end() -> None:
    service, _ = units(schedule("/srv/my recipes", CCCI_ZONE="ci.test", HOME="/root"), "system", home=HOME)
    rows = service.text.splitlines()
    assert str(service.path) == "/etc/systemd/system/ccci-sweep.service"
    for row in (
        "Type=oneshot",
        "TimeoutStartSec=infinity",
        "KillMode=mixed",
        'Environment="CCCI_ZONE=ci.test"',
        "WorkingDirectory=/srv/my recipes",
        'ExecStart="/opt/ccci/bin/ccci" "sweep" "/srv/my recipes"',
        "EnvironmentFile=-/etc/ccci-sweep.env",
    ):
        assert row in rows


def test_the_timer_catches_up_and_has_one_small_delay_for_ever() -> None:
    _, found = units(schedule(clock="4:30"), "user", home=HOME)
    assert str(found.path) == "/srv/op/.config/systemd/user/ccci-sweep.timer"
    wanted = {"OnCalendar=*-*-* 4:30", "Persistent=true", "FixedRandomDelay=true", "RandomizedDelaySec=10min"}
    assert wanted | {"AccuracySec=1min", "WantedBy=timers.target"} <= set(found.text.splitlines())


def test_nothing_in_a_word_is_read_by_systemd() -> None:
    service, _ = units(schedule('a"b', "50%", "$HOME", "c\\d", X='1"%i$'), "system", home=HOME)
    assert '"a\\"b" "50%%" "$$HOME" "c\\\\d"' in service.text
    assert 'Environment="X=1\\"%%i$"' in service.text


def test_nothing_in_a_word_is_read_by_cron_or_its_shell() -> None:
    line = cron_line(schedule("50%", "a b;c"), user="root")
    assert line.startswith("0 3 * * * root cd '/srv/my recipes' && /opt/ccci/bin/ccci sweep 50\\% 'a b;c' >>")
    assert cron_line(schedule(clock="23:05", CCCI_ZONE="x y")) == (
        "5 23 * * * cd '/srv/my recipes' && CCCI_ZONE='x y' /opt/ccci/bin/ccci sweep"
    )


@pytest.mark.parametrize(
    ("clock", "word"), [("24:00", "x"), ("3", "x"), ("3:00 ; reboot", "x"), ("03:00", "x\nReboot=1")]
)
def test_what_cannot_stand_in_a_unit_is_refused(clock: str, word: str) -> None:
    with pytest.raises(UsageError):
        schedule(word, clock=clock)


def test_settings_and_the_way_to_engine_and_network_are_passed_on_and_no_secret_is() -> None:
    given = {"PATH": "/bin", "CCCI_ZONE": "x", "CCCI_ALERT_URLS": "json://u:pw@h", "https_proxy": "p", "TERM": "x"}
    assert passed_environment({**given, "DOCKER_HOST": ""}) == {"PATH": "/bin", "CCCI_ZONE": "x", "https_proxy": "p"}


@pytest.mark.skipif(process.which("systemd-analyze") is None, reason="there is no systemd-analyze to ask")
def test_systemd_finds_the_units_good_and_says_what_is_not(tmp_path: Path) -> None:
    called = Schedule(("/bin/true", "50%", 'a"b$c'), tmp_path, {"PATH": "/bin"})
    service, timed = units(called, "system", home=HOME)
    assert verify((service, timed)) == ""
    broken = timer.Unit(timed.path, timed.text.replace("*-*-* 03:00", "sometime"))
    assert "ccci-sweep.timer" in verify((service, broken))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What programs were started; none really is."""
    ran: list[list[str]] = []

    def run(argv: list[Any], **_: object) -> Any:
        ran.append([str(word) for word in argv])
        return SimpleNamespace(rc=0, stdout="", stderr="")

    monkeypatch.setattr(process, "run", run)
    monkeypatch.setattr(process, "which", lambda _: None)
    return ran


def test_it_is_written_then_switched_on_and_again_is_replaced(tmp_path: Path, written: list[list[str]]) -> None:
    files = units(schedule(), "user", home=tmp_path)
    first, second = install(files, "user"), install(files, "user")
    assert files[1].path.read_text() == files[1].text
    assert (first[0].split()[0], second[0].split()[0]) == ("wrote", "replaced")
    assert written[:2] == [
        ["systemctl", "--user", "daemon-reload"],
        ["systemctl", "--user", "enable", "--now", "ccci-sweep.timer"],
    ]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, written: list[list[str]]) -> None:
    (tmp_path / ".config").write_text("a file")
    with pytest.raises(InfrastructureFault, match="cannot be installed"):
        install(units(schedule(), "user", home=tmp_path), "user")
    assert written == []


def test_an_installation_without_its_command_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not installed beside its Python"):
        program(str(tmp_path / "python"))


def test_a_dry_run_prints_what_would_be_written_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], written: list[list[str]]
) -> None:
    monkeypatch.setattr(command, "kind_here", lambda: "user")
    monkeypatch.setattr(command, "program", lambda: "/opt/ccci")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    words = ["--only=notes", "--max-tests=5", "--at=01:15", "--ccci-zone=ci.example"]
    assert main(["sweep", str(tmp_path / "r"), "--install-timer", "--dry-run", *words]) == 0
    said = capsys.readouterr().out
    assert 'ExecStart="/opt/ccci" "sweep"' in said
    for word in ('"--only=notes"', '"--max-tests=5"', '"--ccci-zone=ci.example"', "OnCalendar=*-*-* 01:15"):
        assert word in said
    assert not (tmp_path / ".config").exists()
    assert written == []
