"""Who may do what on a real Gitea: whose words a comment has, who is in a team, what a token reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from realforge import BOT, ORG, TEAM

from pytest_ccci.errors import UsageError
from pytest_ccci.ops.trigger.decision import Known, decide
from pytest_ccci.ops.trigger.gitea import Gitea, comment_place, poll_comment

Story = Any  # of conftest, which a test module cannot import

READS = ("read:issue", "read:repository", "read:organization")
ALL = ("write:issue", "write:repository", "read:organization")


def test_09_a_writers_edit_of_a_members_comment_is_no_command(story: Story) -> None:
    number = story.pull.comment("looks fine", story.ada)
    story.next_second()
    for stranger in (story.mallory, story.forge.person("passer-by")):
        assert story.pull.edit(number, "!testme", stranger) == 403
    assert story.pull.edit(number, "!testme", story.wim) == 200
    asked = Gitea(story.forge.url, story.bot.with_scopes(*READS).token)
    facts, head = poll_comment(asked, comment_place(story.pull.link(number)), wait=lambda _: None)
    assert (facts.author, facts.text, facts.edited) == ("ada", "!testme", True)
    assert decide(facts, Known(BOT, member=True, head_now=head)).reason == "edited"


def test_10_membership_of_the_team_is_known_to_a_bot_in_it(story: Story) -> None:
    asked = Gitea(story.forge.url, story.bot.with_scopes(*READS).token)
    for name, member in (("ada", True), ("wim", False), ("mallory", False), ("nobody-at-all", False)):
        assert asked.is_member(ORG, TEAM, name) is member, name


def test_10_a_bot_outside_of_the_team_or_of_the_organisation_does_not_know(story: Story) -> None:
    outside = Gitea(story.forge.url, story.wim.with_scopes(*READS).token)
    assert outside.is_member(ORG, TEAM, "ada") is None
    stranger = Gitea(story.forge.url, story.mallory.with_scopes(*READS).token)
    with pytest.raises(UsageError, match="no team 'testers'"):
        stranger.is_member(ORG, TEAM, "ada")


def test_10_collaborators_and_members_of_the_organisation_are_the_wrong_question(story: Story) -> None:
    assert story.bot.status("GET", f"repos/{story.repository}/collaborators/ada") == 404
    assert story.bot.status("GET", f"repos/{story.repository}/collaborators/ada/permission") == 403
    assert story.bot.status("GET", f"orgs/{ORG}/members/ada") == 204
    assert story.mallory.status("GET", f"orgs/{ORG}/members/ada") == 404


@pytest.mark.parametrize(
    ("scope", "method", "path", "body", "well"),
    [
        ("write:issue", "POST", "{issue}/comments", {"body": "told"}, 201),
        ("read:repository", "GET", "{path}", None, 200),
        ("write:repository", "POST", "repos/{repository}/statuses/{base}", {"state": "error", "context": "x"}, 201),
        ("read:organization", "GET", f"orgs/{ORG}/teams", None, 200),
    ],
)
def test_11_each_thing_needs_its_own_scope(
    story: Story, scope: str, method: str, path: str, body: object, well: int
) -> None:
    base = story.boss.get(f"repos/{story.repository}/branches/main")["commit"]["id"]
    place = path.format(issue=story.pull.issue, path=story.pull.path, repository=story.repository, base=base)
    assert (
        story.bot.with_scopes(*(each for each in ALL if each != scope.replace("read:rep", "write:rep"))).status(
            method, place, body
        )
        == 403
    )
    assert story.bot.with_scopes(scope).status(method, place, body) == well


def test_11_who_may_post_a_status_may_publish_unless_branch_and_tags_are_protected(
    story: Story, tmp_path: Path
) -> None:
    bot = story.bot.with_scopes(*ALL)
    clone = story.forge.clone(story.repository, tmp_path / "clone", bot)
    clone.commit("main", "one")
    assert clone.push("main")
    clone.git("tag", "1.0.0+1.0.0")
    assert clone.push("1.0.0+1.0.0")
    story.boss.post(f"repos/{story.repository}/branch_protections", {"rule_name": "main", "enable_push": False})
    clone.commit("main", "two", onto="main")
    assert not clone.push("main")
    clone.git("tag", "1.1.0+1.0.0")
    assert clone.push("1.1.0+1.0.0")
    story.boss.post(f"repos/{story.repository}/tag_protections", {"name_pattern": "*", "whitelist_usernames": ["boss"]})
    clone.git("tag", "1.2.0+1.0.0")
    assert not clone.push("1.2.0+1.0.0")
    assert not clone.push("--delete", "1.1.0+1.0.0")
    made = {"tag_name": "1.2.0+1.0.0", "target": "main"}
    assert bot.status("POST", f"repos/{story.repository}/tags", made) in {405, 422}
    assert bot.status("POST", f"repos/{story.repository}/releases", {"tag_name": "1.2.0+1.0.0"}) in {403, 405, 422}
