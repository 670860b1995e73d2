"""The result of a run as values. ``results.json`` is exactly a `RunResult`; its schema is in ``schema.json``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_ccci.errors import Verdict

__all__ = [
    "AT_REST",
    "COUNTED",
    "FEWER",
    "IMAGES_AGAIN",
    "KEPT_APP",
    "LEFT_OUT",
    "NOT_COUNTED",
    "ON_BASE",
    "SCHEMA_VERSION",
    "UNASKED",
    "CoveredPath",
    "CustomTest",
    "DisposablePlace",
    "Evidence",
    "ImageUse",
    "KnownGoodAction",
    "KnownGoodChange",
    "LintFinding",
    "RefFact",
    "RunResult",
    "StepResult",
    "TierResult",
]

SCHEMA_VERSION: Literal[1] = 1
LEFT_OUT = "left out"
"""The fact of a tier that says what of recipe.toml an older version was deployed without."""
IMAGES_AGAIN = "images again"
"""The fact of *install* that names images of the known-good which somebody else had removed from the engine."""
AT_REST = "at rest"
"""The fact of *install* that names tables which lost rows on the kept data although nothing was changed."""
COUNTED = "counted"
"""The fact of a tier that says how much the app kept before and after."""
FEWER = "fewer"
"""The fact of a tier that says what there is less of, where that is no loss."""
KEPT_APP = "kept app"
"""The fact of *settle* that says how to get at an app that stays deployed for somebody to look at."""
NOT_COUNTED = "not counted"
"""The fact of a tier that says what could not be counted, and why."""
ON_BASE = "on the base"
"""The fact of *install* that says what the author's tests came to on the version before."""
UNASKED = "not asked whether it serves"
"""The fact of *install* that says why nothing is asked of an app."""

KnownGoodAction = Literal["none", "unchanged", "promoted", "seeded", "restored-and-proved", "quarantined", "failed"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class RefFact(_Value):
    """One version of a recipe, resolved: the ref as asked for and the full commit it means."""

    ref: str
    commit: str
    version: str
    release: str | None = None
    dirty: bool = False


class StepResult(_Value):
    """One thing that was done, and how long it took in seconds."""

    name: str
    seconds: float


class Evidence(_Value):
    """A titled piece of text that backs a verdict: a task history, the end of a log."""

    title: str
    text: str


class TierResult(_Value):
    """What one tier came to. ``reason`` is one line; a verdict other than pass has one."""

    tier: str
    verdict: Verdict
    seconds: float = 0.0
    reason: str = ""
    facts: dict[str, str] = Field(default_factory=dict)
    steps: tuple[StepResult, ...] = ()
    evidence: tuple[Evidence, ...] = ()


class CustomTest(_Value):
    """What one of the author's own tests came to: the last of its attempts, where a plugin made several."""

    nodeid: str
    verdict: Verdict
    seconds: float = 0.0
    reason: str = ""
    attempts: int = 1


class KnownGoodChange(_Value):
    """What happened to the known-good: releases and snapshot ids before and after, re-read from the record."""

    before: str | None = None
    after: str | None = None
    action: KnownGoodAction = "none"
    reason: str = ""
    snapshot_before: str | None = None
    snapshot_after: str | None = None


class ImageUse(_Value):
    """An image as it ran. ``origin`` is ``present``, ``pulled`` or ``built``; ``size`` in bytes, 0 where not known."""

    ref: str
    image_id: str
    digest: str | None = None
    origin: str = "present"
    size: int = 0


class LintFinding(_Value):
    """Something wrong or risky in the tested version. ``code`` is stable; ``where`` a service, file or name.

    ``file`` is a path within the recipe, ``line`` counts from 1, and is 0 where it stands in no file;
    ``mend`` says what to do.
    """

    level: Literal["error", "warning"]
    code: str
    where: str
    text: str
    file: str = ""
    line: int = 0
    why: str = ""
    mend: str = ""


class DisposablePlace(_Value):
    """A place whose loss does not matter, as the author says: a volume, a path or a host outside, and why."""

    place: str
    reason: str


class CoveredPath(_Value):
    """One place where a service may keep state, and whether a snapshot covers it.

    ``target`` is a path in the container, or the variable that names a database outside; ``blocks``: no known-good can
    be made because of it.
    """

    service: str
    target: str
    kind: str
    source: str
    writable: bool
    covered: bool
    why: str
    blocks: bool = False


class RunResult(_Value):
    """One test of one recipe, complete: what was tested, how, what came of it, and how to do it again.

    ``asked`` are the tiers that were selected; *custom* is one of them where all of the author's tests were.
    ``infra`` has the release of each live-warm app that we keep; ``folder`` is where ``recipe.toml`` was, ``source``
    the address of the repository that the recipe's versions come from, without credentials, where it has one.
    ``environment`` is what head was interpolated with, without secrets.
    ``next_tag`` is the tag that head could get as it is, by its version label and its notes; nobody tags it for you.
    """

    schema_version: Literal[1] = 1
    run_id: str
    recipe: str
    stand_in: str | None = None
    requested_mode: str
    mode: str
    mode_reason: str = ""
    asked: tuple[str, ...] = ()
    verdict: Verdict
    base: RefFact | None = None
    head: RefFact | None = None
    domain: str = ""
    started: str
    seconds: float = 0.0
    tiers: tuple[TierResult, ...] = ()
    custom: tuple[CustomTest, ...] = ()
    known_good: KnownGoodChange = KnownGoodChange()
    coverage: tuple[CoveredPath, ...] = ()
    disposable: tuple[DisposablePlace, ...] = ()
    images: tuple[ImageUse, ...] = ()
    engine: dict[str, str] = Field(default_factory=dict)
    infra: dict[str, str] = Field(default_factory=dict)
    leftovers: tuple[str, ...] = ()
    findings: tuple[LintFinding, ...] = ()
    next_tag: str = ""
    environment: dict[str, str] = Field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    warnings: tuple[str, ...] = ()
    kept_work: str = ""
    reproduce: str = ""
    folder: str = ""
    source: str = ""
    settings: dict[str, str] = Field(default_factory=dict)
