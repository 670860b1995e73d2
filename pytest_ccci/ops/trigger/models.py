"""What is read of a forge's JSON, in deliveries and answers alike: strictly, with bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "LARGEST",
    "Action",
    "Branch",
    "Comment",
    "FullName",
    "Issue",
    "Login",
    "Number",
    "Pull",
    "Repository",
    "Sha",
    "State",
    "Strict",
    "User",
]

LARGEST = 1024 * 1024
"""Bytes of a body; a comment on a small pull request has 18 kB."""


class Strict(BaseModel):
    """Whatever else a forge sends is ignored; what is read is of its type, with bounds."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


Number = Annotated[int, Field(gt=0, lt=2**63)]
Login = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(\[bot\])?$")]
FullName = Annotated[
    str, Field(max_length=255, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*/\.?[A-Za-z0-9_-][A-Za-z0-9_.-]*$")
]
Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Action = Literal["created", "edited", "deleted"]
State = Literal["open", "closed"]


class User(Strict):
    """An account."""

    login: Login


class Repository(Strict):
    """A repository."""

    full_name: FullName


class Comment(Strict):
    """A comment, its number unique in its forge."""

    id: Number
    user: User
    body: Annotated[str, Field(max_length=LARGEST)]


class Branch(Strict):
    """A branch of a pull request with the commit it leads to; its repository may be gone."""

    sha: Sha
    repo: Repository | None = None


class Pull(Strict):
    """A pull request with its head."""

    number: Number
    state: State
    head: Branch


class Issue(Strict):
    """A pull request, or an issue, without its head."""

    number: Number
    state: State
