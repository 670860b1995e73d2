from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_ccci import settings
from pytest_ccci.errors import OptionError
from pytest_ccci.settings import OPTIONS, Settings, default_state_dir, resolve

GOOD = {
    "mode": "quick",
    "ref": "3f2c1ab",
    "base": "1.0.0+1.9.9",
    "reseed": "true",
    "promote": "false",
    "keep": "failed",
    "run_id": "20261130-224451-3f2c1a",
    "reach": "main",
    "grant": "bind:/etc/localtime:ro 'device:a *:* rwm'",
    "state_dir": "/srv/ci",
    "zone": "ci.example.org",
    "zone_address": "192.0.2.1",
    "http_port": "8080",
    "https_port": "8443",
    "external_proxy": "yes",
    "zone_ca": "/srv/ca.pem",
    "fast_health": "off",
    "timeout": "1h30m",
    "lock_wait": "90",
    "infra_recipes": "/srv/infra",
    "alert_urls": "json://127.0.0.1 mailto://ops",
    "alert_again": "12h",
    "forge": "https://git.example.org",
    "forge_team": "coop/testers",
    "forge_bot": "ccci",
    "forge_recipes": "/srv/recipes notes=/srv/own/notes",
    "forge_token_file": "/etc/ccci/token",
    "forge_secret_file": "/etc/ccci/secret",
    "forge_listen": "0.0.0.0:8474",
    "forge_link": "https://ci.example.org/runs",
    "slots": "3",
    "realms": "10",
    "keep_runs": "7",
    "serve_at": "[::1]:8080",
    "keep_free": "7G",
}
BAD = {
    "mode": "warm",
    "reseed": "perhaps",
    "promote": "never",
    "keep": "green",
    "run_id": "../20261130-224451-3f2c1a",
    "http_port": "0",
    "https_port": "https",
    "external_proxy": "maybe",
    "fast_health": "2",
    "timeout": "soon",
    "lock_wait": "5 minutes",
    "alert_again": "daily",
    "slots": "0",
    "realms": "-1",
    "keep_runs": "many",
    "serve_at": "8642",
    "keep_free": "a lot",
}


def test_every_option_is_a_setting_and_every_setting_an_option() -> None:
    fields = set(Settings._fields) - {"sources", "environment"}
    assert fields == {option.name for option in OPTIONS}
    assert set(GOOD) >= fields, "a new option needs a good value here"


def test_the_defaults_can_be_read_and_say_that_they_are_defaults() -> None:
    effective = resolve({}, {}, {})
    assert (effective.mode, effective.ref, effective.timeout) == ("cold", "tip", 600)
    assert set(effective.sources.values()) == {"default"}
    assert effective.shown() == (
        ("mode", "cold", "default"),
        ("ref", "tip", "default"),
        ("fast_health", "true", "default"),
    )


def test_a_setting_that_holds_secrets_is_never_shown() -> None:
    effective = resolve({"alert_urls": "ntfy://hunter2@example.org"}, {}, {"SOME_KEY": "hunter2 of somebody"})
    assert ("alert_urls", "***", "command line") in effective.shown()
    assert "hunter2" not in repr(effective)
    assert "mode='cold'" in repr(effective)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_command_line_beats_the_environment_beats_the_ini_beats_the_default(option: settings.Option) -> None:
    good = GOOD[option.name]
    expected = option.parse(good)
    junk = "\0 no value of anything"
    ini, env, cli = {option.name: good}, {option.env: good}, {option.name: good}
    for sources, name in (
        (({}, ini, {}), "ini"),
        (({}, {option.name: junk}, env), option.env),
        ((cli, {option.name: junk}, {option.env: junk}), "command line"),
    ):
        effective = resolve(*sources)
        assert getattr(effective, option.name) == expected
        assert effective.sources[option.name] == name


@pytest.mark.parametrize("name", sorted(BAD))
@pytest.mark.parametrize("source", ["cli", "env", "ini"])
def test_a_value_that_cannot_be_read_names_where_it_was_given(name: str, source: str) -> None:
    option = next(option for option in OPTIONS if option.name == name)
    given = {
        "cli": ({name: BAD[name]}, {}, {}),
        "env": ({}, {}, {option.env: BAD[name]}),
        "ini": ({}, {name: BAD[name]}, {}),
    }
    where = {"cli": option.flag, "env": option.env, "ini": option.ini}
    with pytest.raises(OptionError) as caught:
        resolve(*given[source])
    assert caught.value.where == where[source]
    assert repr(BAD[name]) in caught.value.what
    assert caught.value.advice == option.help


def test_an_empty_value_in_the_environment_or_ini_is_none_given() -> None:
    assert resolve({}, {"mode": ""}, {"CCCI_MODE": ""}).sources["mode"] == "default"


def test_an_empty_value_on_the_command_line_is_a_mistake_not_a_default() -> None:
    with pytest.raises(OptionError, match="--ccci-mode"):
        resolve({"mode": ""}, {}, {"CCCI_MODE": "quick"})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("90s", 90), ("5m", 300), ("1h", 3600), ("1h30m", 5400), ("1m30s", 90)],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert resolve({"timeout": text}, {}, {}).timeout == seconds


@pytest.mark.parametrize("text", ["", "m", "5 m", "-5", "5d", "1h-30m", "5m x", "1,5h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(OptionError):
        resolve({"timeout": text}, {}, {})


def test_names_follow_one_pattern_everywhere() -> None:
    for option in OPTIONS:
        assert option.flag == "--ccci-" + option.name.replace("_", "-")
        assert option.ini == f"ccci_{option.name}"
        assert option.env == f"CCCI_{option.name.upper()}"
        assert option.help
        assert not option.help.endswith(".")


def test_the_state_directory_of_root_and_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_state_dir() == Path("/var/lib/ci-warm")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere/state")
    assert default_state_dir() == Path("/somewhere/state/ci-warm")
    monkeypatch.setenv("HOME", "/somewhere")
    for not_to_be_used in ("", "relative/state"):
        monkeypatch.setenv("XDG_STATE_HOME", not_to_be_used)
        assert default_state_dir() == Path("/somewhere/.local/state/ci-warm")


def test_what_is_not_default_is_shown_with_its_source() -> None:
    shown = resolve({"zone": "ci.example.org"}, {"slots": "3"}, {"CCCI_MODE": "quick"}).shown()
    assert ("zone", "ci.example.org", "command line") in shown
    assert ("slots", "3", "ini") in shown
    assert ("mode", "quick", "CCCI_MODE") in shown


def test_what_changes_how_an_app_is_tested_is_always_shown_and_nothing_else_that_is_default() -> None:
    assert resolve({}, {}, {}).shown() == (
        ("mode", "cold", "default"),
        ("ref", "tip", "default"),
        ("fast_health", "true", "default"),
    )
    assert ("fast_health", "false", "ini") in resolve({}, {"fast_health": "off"}, {}).shown()


def test_the_environment_is_kept_but_never_shown() -> None:
    effective = resolve({}, {}, {"AWS_SECRET": "hunter2"})
    assert effective.environment["AWS_SECRET"] == "hunter2"
    assert "hunter2" not in repr(effective)


@pytest.mark.parametrize(
    ("cores", "gib", "slots"),
    [(1, 0.5, 1), (1, 2, 1), (1, 3.8, 2), (2, 8, 2), (4, 4, 2), (4, 7.7, 4), (8, 16, 8), (8, 6, 4), (64, 256, 16)],
)
def test_slots_are_by_cores_as_far_as_there_is_memory(cores: int, gib: float, slots: int) -> None:
    assert settings.slots_for(cores, int(gib * 2**30)) == slots


def test_slots_are_found_out_unless_they_are_said() -> None:
    assert resolve({}, {}, {}).slots >= 1
    assert resolve({"slots": "auto"}, {}, {}).slots == resolve({}, {}, {}).slots
