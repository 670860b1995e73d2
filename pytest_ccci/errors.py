"""The one tree of errors, each leaf with the verdict it stands for.

::

    CcciError
    ├── UsageError               what the operator or author gave us cannot be used; nothing was started
    │   ├── OptionError          an option, ini key or environment variable
    │   ├── RecipeTomlError      recipe.toml: file, line, key
    │   ├── RefError             no such ref in this recipe
    │   ├── StateDirError        the state directory cannot be used
    │   └── ArchiveError         an exported known-good is damaged, or is none
    ├── RecipeFault      fail    what the recipe did
    │   ├── RecipeInvalid        no compose.yml, compose rejected by Docker, names too long
    │   ├── SecretMissing        a secret that must be given was not
    │   ├── ImageMissing         the image does not exist
    │   ├── NotConverged         the deadline passed; says what was still in progress
    │   ├── CrashLoop            tasks keep dying
    │   ├── RolledBack           Swarm put the old spec back
    │   ├── NotServing           converged, but the app's own address does not answer as promised
    │   ├── DataLost             a sentinel is gone or changed
    │   ├── ProgramHangs         a program of the app, called by a test, did not end in time
    │   ├── LoginFailed          the app's own login does not let a person of the realm in
    │   ├── BackupFailed         a backup or restore hook failed, or its result is no backup
    │   └── LeftBehind           teardown left something
    ├── InfrastructureFault error  our own or the machine's fault
    │   ├── EngineUnavailable    no engine, or it went away
    │   ├── ImageUnavailable     registry out of reach, pull limit, local build failed
    │   ├── DiskFull             says how much is missing
    │   ├── LockBusy             says who holds it
    │   ├── KeycloakUnavailable
    │   ├── TraefikUnavailable
    │   ├── StoreDamaged         a snapshot or record does not match its manifest
    │   ├── StateDamaged         a file of ours in the state directory cannot be used; names it
    │   ├── ProgramFailed        a program of ours exited with an error
    │   │   └── NoRun            a pytest that ended before there was a run; with its own verdict
    │   ├── DeadlineExceeded     we waited, bounded, in vain
    │   ├── ForgeBusy            the forge asks to wait; says for how long
    │   └── Interrupted          somebody asked to stop
    ├── NotShown     unverified  it could be performed, but what it should show was not shown
    └── Refused          skip    not applicable, with a reason
        └── CanonicalRefused     the app cannot be kept as a canonical
"""

from __future__ import annotations

import enum
from typing import ClassVar

__all__ = [
    "ArchiveError",
    "BackupFailed",
    "CanonicalRefused",
    "CcciError",
    "CrashLoop",
    "DataLost",
    "DeadlineExceeded",
    "DiskFull",
    "EngineUnavailable",
    "ForgeBusy",
    "ImageMissing",
    "ImageUnavailable",
    "InfrastructureFault",
    "Interrupted",
    "KeycloakUnavailable",
    "LeftBehind",
    "LockBusy",
    "LoginFailed",
    "NoRun",
    "NotConverged",
    "NotServing",
    "NotShown",
    "OptionError",
    "ProgramFailed",
    "ProgramHangs",
    "RecipeFault",
    "RecipeInvalid",
    "RecipeTomlError",
    "RefError",
    "Refused",
    "RolledBack",
    "SecretMissing",
    "StateDamaged",
    "StateDirError",
    "StoreDamaged",
    "TraefikUnavailable",
    "UsageError",
    "Verdict",
]


class Verdict(enum.StrEnum):
    """What a tier or a run came to. Only ``PASS`` is green."""

    PASS = "pass"  # noqa: S105  a verdict, not a password
    FAIL = "fail"
    ERROR = "error"
    SKIP = "skip"
    UNVERIFIED = "unverified"


class CcciError(Exception):
    """What was attempted, where, what was seen last, and what to try.

    Survives pickling with its fields (xdist sends errors between processes).
    """

    verdict: ClassVar[Verdict] = Verdict.ERROR

    def __init__(self, what: str, *, where: str = "", seen: str = "", advice: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.seen = seen
        self.advice = advice

    def __str__(self) -> str:
        return "\n".join([f"{self.where}: {self.what}" if self.where else self.what, *self._rows()])

    def reason(self) -> str:
        """As text with the cause first and the place below, for lists that show how a line begins.

        pytest's short summary is one: it would say the stack's name, and be cut before the cause.
        """
        return "\n".join([self.what, *([f"  at:   {self.where}"] if self.where else []), *self._rows()])

    def _rows(self) -> list[str]:
        rows = {"  seen: ": self.seen, "  try:  ": self.advice}
        return [label + text for label, text in rows.items() if text]

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), dict(self.__dict__)))


def _rebuild(kind: type[CcciError], fields: dict[str, str]) -> CcciError:
    error = kind.__new__(kind)
    Exception.__init__(error, fields["what"])
    error.__dict__.update(fields)
    return error


class UsageError(CcciError):
    """What was given cannot be used; nothing was started."""


class OptionError(UsageError):
    """An option, ini key or environment variable has no usable value."""


class RecipeTomlError(UsageError):
    """recipe.toml cannot be used; names file, line and key."""


class RefError(UsageError):
    """No such ref in this recipe."""


class StateDirError(UsageError):
    """The state directory cannot be used."""


class ArchiveError(UsageError):
    """A file that should be an exported known-good is damaged, incomplete, or none."""


class RecipeFault(CcciError):
    """The recipe did it."""

    verdict = Verdict.FAIL


class RecipeInvalid(RecipeFault):
    """The recipe cannot be deployed as it is written."""


class SecretMissing(RecipeFault):
    """A secret that must be given was not given."""


class ImageMissing(RecipeFault):
    """The image does not exist where it is said to be."""


class NotConverged(RecipeFault):
    """The deadline passed before the app was up."""


class CrashLoop(RecipeFault):
    """Tasks of a service keep dying."""


class RolledBack(RecipeFault):
    """Swarm put the old version back."""


class NotServing(RecipeFault):
    """The app's own address does not answer as promised."""


class DataLost(RecipeFault):
    """A datum that was written before is gone or changed."""


class ProgramHangs(RecipeFault):
    """A program in a container of the app did not end in the time that it was given."""


class LoginFailed(RecipeFault):
    """A person of the realm is not let in by the app's own login."""


class BackupFailed(RecipeFault):
    """A backup or restore of the recipe's own did not do what it says."""


class LeftBehind(RecipeFault):
    """Teardown left something on the engine."""


class InfrastructureFault(CcciError):
    """Our own fault or the machine's; the recipe is not blamed."""


class EngineUnavailable(InfrastructureFault):
    """No Docker engine, or it went away."""


class ImageUnavailable(InfrastructureFault):
    """An image could not be had, for no fault of the recipe."""


class DiskFull(InfrastructureFault):
    """Not enough room; says how much is missing."""


class LockBusy(InfrastructureFault):
    """Somebody else holds the lock; says who."""


class KeycloakUnavailable(InfrastructureFault):
    """The warm Keycloak does not answer."""


class TraefikUnavailable(InfrastructureFault):
    """The warm Traefik does not answer."""


class StoreDamaged(InfrastructureFault):
    """A snapshot or record does not match what its manifest says."""


class StateDamaged(InfrastructureFault):
    """A file of ours in the state directory cannot be used; names it, and the way out."""


class ProgramFailed(InfrastructureFault):
    """A program of ours exited with an error.

    ``rc`` is its exit status, ``tail`` the end of what it printed.
    """

    def __init__(self, what: str, *, rc: int = -1, tail: str = "", where: str = "", advice: str = "") -> None:
        super().__init__(what, where=where, seen=tail, advice=advice)
        self.rc = rc
        self.tail = tail


class NoRun(ProgramFailed):
    """A pytest that ended before there was a run. ``said`` is the verdict that it gave; ``tail`` its reason.

    Whether the recipe is to blame is told by ``said`` alone: a head that reaches too far is refused before a run.
    """

    said: str = ""


class DeadlineExceeded(InfrastructureFault):
    """A bounded wait ended in vain."""


class ForgeBusy(InfrastructureFault):
    """The forge takes no more requests for now. ``seconds`` is how long it asks to wait."""

    def __init__(self, what: str, *, seconds: float = 0.0, where: str = "", seen: str = "", advice: str = "") -> None:
        super().__init__(what, where=where, seen=seen, advice=advice)
        self.seconds = seconds


class Interrupted(InfrastructureFault):
    """Somebody asked to stop: by Ctrl-C, by a signal, or from a test."""


class NotShown(CcciError):
    """What a tier should show was not shown; never green."""

    verdict = Verdict.UNVERIFIED


class Refused(CcciError):
    """Not applicable here, with a reason."""

    verdict = Verdict.SKIP


class CanonicalRefused(Refused):
    """The app cannot be kept as a canonical; says why."""
