"""`ccci doctor --forge` on a real Gitea: each thing that is wrong is planted, and must be told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from realforge import EVENTS, Forge, Person

from pytest_ccci.cli import main
from pytest_ccci.ops.doctor import Check
from pytest_ccci.ops.trigger.forge_setup import ForgeSetup, inspect_forge
from pytest_ccci.ops.trigger.gitea import Gitea

HOOK = "https://ccci.example.org/hook"
SCOPES = ("write:issue", "write:repository", "read:organization")


@dataclass
class Ground:
    """An organisation of its own that is set up as it should be: one repository, a bot, a team."""

    forge: Forge
    organisation: str
    team: int
    bot: Person
    admin: Person
    repository: str
    hook: int

    def checks(self, *, bot: Person | None = None, with_admin: bool = True, **more: Any) -> dict[str, list[Check]]:
        now = more.pop("now", lambda: datetime.now(UTC))
        setup = ForgeSetup(self.organisation, "testers", "doctored", **{"hook": HOOK, **more})
        admin = Gitea(self.forge.url, self.admin.token) if with_admin else None
        found: dict[str, list[Check]] = {}
        for check in inspect_forge(Gitea(self.forge.url, (bot or self.bot).token), setup, admin=admin, now=now):
            found.setdefault(check.name, []).append(check)
        return found

    def told(self, name: str, level: str, words: str, **more: Any) -> Check:
        """The one check of this name and level, which says ``words`` and what to do."""
        found = self.checks(**more)
        (check,) = [each for each in found[name] if each.level == level]
        assert words in check.seen
        assert check.advice
        return check


@pytest.fixture
def premises(forge: Forge) -> Ground:
    name = f"org-{next(forge.numbers)}"
    forge.boss.post("orgs", {"username": name})
    repository = forge.repository(organisation=name)
    bot = forge.person("doctored")
    team = forge.team("testers", "doctored", permission="write", organisation=name)
    rule = {"rule_name": "main", "enable_push": False, "enable_status_check": True}
    forge.boss.post(f"repos/{repository}/branch_protections", {**rule, "status_check_contexts": ["ccci/cold"]})
    forge.boss.post(f"repos/{repository}/tag_protections", {"name_pattern": "*", "whitelist_usernames": ["boss"]})
    hook = forge.hook(name, HOOK)
    admin = forge.boss.with_scopes("read:repository", "read:organization")
    return Ground(forge, name, team, bot.with_scopes(*SCOPES), admin, repository, hook)


def test_a_forge_that_is_set_up_well_has_nothing_to_be_told(premises: Ground) -> None:
    found = premises.checks()
    assert {check for checks in found.values() for check in checks if check.level != "ok"} == set()
    assert set(found) == {
        *("forge", "account", "clock", "page sizes", "team", "scopes", "rights"),
        *("branches", "required check", "tags", "hooks"),
    }


def test_a_token_that_is_none(premises: Ground) -> None:
    nobody = Person(premises.forge.url, "doctored", "0" * 40)
    premises.told("forge", "bad", "does not know the token", bot=nobody)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_that_is_missing(premises: Ground, scope: str) -> None:
    poor = premises.forge.person("doctored").with_scopes(
        *(each if each != scope else each.replace("write", "read") for each in SCOPES if each != "read:organization"),
        *(["read:organization"] if scope != "read:organization" else []),
    )
    if scope == "read:organization":
        check = premises.told("team", "bad", "there is no team", bot=poor, repositories=(premises.repository,))
        assert "read:organization" in check.advice
    else:
        premises.told("scopes", "bad", f"{scope} is missing", bot=poor)


def test_a_token_that_may_do_all(premises: Ground) -> None:
    premises.told("scopes", "note", "write:organization, write:user", bot=premises.forge.person("doctored"))


def test_a_bot_that_is_the_administrator_of_the_forge(premises: Ground) -> None:
    found = premises.checks(bot=premises.forge.boss)
    assert [check.level for check in found["account"]] == ["bad"]
    assert "boss, not of doctored" in found["account"][0].seen
    assert [check.level for check in found["rights"]] == ["bad"]


def test_a_bot_outside_of_the_team(premises: Ground) -> None:
    boss = premises.forge.boss
    premises.forge.team("others", "doctored", permission="write", organisation=premises.organisation)
    assert boss.status("DELETE", f"teams/{premises.team}/members/doctored") == 204
    premises.told("team", "bad", "may not be known to the bot")


def test_a_bot_that_may_only_read(premises: Ground) -> None:
    units = dict.fromkeys(("repo.code", "repo.issues", "repo.pulls"), "read")
    wanted = {"name": "testers", "permission": "read", "units_map": units}
    assert premises.forge.boss.status("PATCH", f"teams/{premises.team}", wanted) == 200
    premises.told("rights", "bad", "can post no status there")


def test_a_branch_that_is_not_protected(premises: Ground) -> None:
    other = premises.forge.repository(organisation=premises.organisation)
    assert other in premises.told("branches", "bad", "may push to the default branch").seen
    found = premises.checks()
    assert [other in check.seen for check in found["tags"]] == [True]
    assert "no protection covers one such as" in found["tags"][0].seen


def test_a_branch_to_which_the_bot_may_push_by_name(premises: Ground) -> None:
    rule = {"enable_push": True, "enable_push_whitelist": True, "push_whitelist_usernames": ["doctored"]}
    place = f"repos/{premises.repository}/branch_protections/main"
    assert premises.forge.boss.status("PATCH", place, rule) == 200
    premises.told("branches", "bad", premises.repository)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"name_pattern": "v*", "whitelist_usernames": ["boss"]}, "no protection covers"),
        ({"name_pattern": "*", "whitelist_usernames": ["doctored"]}, "the protection of * lets it"),
        ({"name_pattern": "*", "whitelist_teams": ["testers"]}, "the protection of * lets it"),
    ],
)
def test_tags_that_the_bot_could_make(premises: Ground, rule: dict[str, Any], words: str) -> None:
    place = f"repos/{premises.repository}/tag_protections"
    for each in premises.forge.boss.get(place):
        assert premises.forge.boss.status("DELETE", f"{place}/{each['id']}") == 204
    premises.forge.boss.post(place, rule)
    premises.told("tags", "bad", words)


def test_tags_that_nobody_can_tell_of_without_an_administrator(premises: Ground) -> None:
    assert "--admin-token-file" in premises.told("tags", "bad", "is not known", with_admin=False).advice
    premises.told("hooks", "note", "only an administrator sees them", with_admin=False)


@pytest.mark.parametrize(
    ("events", "active", "level", "words"),
    [
        (("issue_comment", "pull_request_sync"), True, "bad", "does not tell of pull_request_comment"),
        (EVENTS[:2], True, "bad", "does not tell of pull_request_sync"),
        (EVENTS, False, "bad", "not active"),
    ],
)
def test_a_webhook_that_tells_too_little(
    premises: Ground, events: tuple[str, ...], active: bool, level: str, words: str
) -> None:
    place = f"orgs/{premises.organisation}/hooks/{premises.hook}"
    assert premises.forge.boss.status("PATCH", place, {"events": list(events), "active": active}) == 200
    premises.told("hooks", level, words)


def test_no_webhook_is_a_note_since_there_is_the_poll(premises: Ground) -> None:
    assert premises.forge.boss.status("DELETE", f"orgs/{premises.organisation}/hooks/{premises.hook}") == 204
    premises.told("hooks", "note", "found by the poll")
    premises.forge.hook(premises.repository, HOOK)
    assert [check.level for check in premises.checks()["hooks"]] == ["ok"]


def test_an_address_to_which_a_forge_sends_nothing_by_default(premises: Ground) -> None:
    near = "http://127.0.0.1:8080/hook"
    premises.forge.hook(premises.organisation, near)
    assert "ALLOWED_HOST_LIST" in premises.told("hook address", "note", near, hook=near).advice


def test_every_status_gates_where_no_check_is_named(premises: Ground) -> None:
    place = f"repos/{premises.repository}/branch_protections/main"
    assert premises.forge.boss.status("PATCH", place, {"status_check_contexts": []}) == 200
    premises.told("required check", "note", "every status gates")
    assert premises.forge.boss.status("PATCH", place, {"enable_status_check": False}) == 200
    premises.told("required check", "note", "no required check")


@pytest.mark.parametrize(("off", "words"), [(90, "behind ours"), (-90, "ahead of ours")])
def test_a_clock_that_is_off(premises: Ground, off: int, words: str) -> None:
    premises.told("clock", "note", words, now=lambda: datetime.now(UTC) + timedelta(seconds=off))


def test_a_repository_that_is_not_there(premises: Ground) -> None:
    premises.told("repository", "bad", "no/where", repositories=("no/where", premises.repository))


@pytest.fixture
def files(tmp_path: Path, premises: Ground) -> tuple[str, ...]:
    for name, person in (("token", premises.bot), ("admin", premises.admin)):
        (tmp_path / name).write_text(f"{person.token}\n", encoding="utf-8")
    asked = ("--forge", premises.forge.url, "--team", f"{premises.organisation}/testers", "--bot", "doctored")
    return ("doctor", *asked, "--token-file", str(tmp_path / "token"), "--admin-token-file", str(tmp_path / "admin"))


def test_the_command_tells_it_and_ends_with_1_where_a_bot_could_publish(
    premises: Ground, files: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    state = ("--ccci-state-dir", str(tmp_path / "state"))
    assert main([*files, *state]) == 0
    assert "the bot may make none in 1 repositories" in capsys.readouterr().out
    premises.forge.repository(organisation=premises.organisation)
    assert main([*files, *state, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in told if each["level"] == "bad"} == {"branches", "tags"}
