"""A real Gitea for the whole session: built from the Go module proxy once, then taken from the cache."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from goprograms import GITEA, LONGEST, Built, built
from realforge import BOT, SECRET, TEAM, Forge, Person, Pull, Receiver, running

from pytest_ccci.ops.trigger.decision import CommentFacts, Decision, Known, decide
from pytest_ccci.ops.trigger.delivery import Delivery, read_delivery
from pytest_ccci.waiting import Deadline, until

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test here has two minutes; the first one that comes also waits for the build."""
    ours = [item for item in items if item.path.is_relative_to(FOLDER)]
    for item in ours:
        item.add_marker(pytest.mark.timeout(LONGEST if item is ours[0] else 120))


@pytest.fixture(scope="session")
def gitea() -> Built:
    """The program."""
    return built(GITEA)


@pytest.fixture(scope="session")
def forge(gitea: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """A forge with the organisation, its team of testers (ada, and the bot), a writer and a stranger."""
    with running(gitea, tmp_path_factory.mktemp("forge")) as forge:
        forge.boss.post("orgs", {"username": "coop"})
        for name in (BOT, "ada", "wim", "mallory"):
            forge.person(name)
        forge.team(TEAM, BOT, "ada")
        forge.team("bots", BOT, permission="write")
        forge.team("writers", "wim", permission="write")
        yield forge


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    """Where hooks deliver to."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@dataclass(frozen=True)
class Story:
    """A repository of its own with a pull request of a stranger's fork, and its hook's deliveries."""

    forge: Forge
    receiver: Receiver
    repository: str
    pull: Pull
    path: str

    @property
    def boss(self) -> Person:
        """The forge's administrator."""
        return self.forge.boss

    @property
    def ada(self) -> Person:
        """Of the team of testers; may only read the repository."""
        return self.forge.person("ada")

    @property
    def wim(self) -> Person:
        """May write to the repository, and is not in the team of testers."""
        return self.forge.person("wim")

    @property
    def mallory(self) -> Person:
        """A stranger: the author of the pull request."""
        return self.forge.person("mallory")

    @property
    def bot(self) -> Person:
        """The account that answers."""
        return self.forge.person(BOT)

    def delivered(self, comment: int, action: str = "created") -> Delivery:
        """The delivery of what happened to a comment."""

        def about_it(delivery: Delivery) -> bool:
            sent: dict[str, Any] = json.loads(delivery.body)
            return (sent.get("comment", {}).get("id"), sent["action"]) == (comment, action)

        return self.receiver.wait(self.path, about_it)[-1]

    def facts(self, comment: int, action: str = "created") -> CommentFacts:
        """What our code reads from it."""
        facts = read_delivery(self.delivered(comment, action), SECRET.encode())
        assert facts is not None
        return facts

    def next_second(self) -> None:
        """Wait until the forge's clock shows another second: it keeps times of comments in whole ones."""
        began = int(time.time())
        until(lambda: int(time.time()) > began, deadline=Deadline(5), what="the next second", every=0.02)

    def decided(self, facts: CommentFacts, *, head: str = "", member: bool = True) -> Decision:
        """What our code makes of it."""
        return decide(facts, Known(BOT, member=member, head_now=head or facts.head))


@pytest.fixture
def story(forge: Forge, receiver: Receiver) -> Story:
    """A story of its own."""
    repository = forge.repository()
    path = f"/{repository}"
    forge.hook(repository, receiver.address + path)
    mallory = forge.person("mallory")
    pull = forge.pull(repository, by=mallory, fork=forge.fork(repository, mallory))
    return Story(forge, receiver, repository, pull, path)
