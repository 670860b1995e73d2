"""What a scene of a proof showed: claims that hold or not, each with what was seen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pytest_ccci.errors import CcciError
from pytest_ccci.waiting import Stopwatch

_LOG = logging.getLogger(__name__)

__all__ = ["Claim", "Shown"]


@dataclass(frozen=True)
class Claim:
    """Something that must be so, and what was seen."""

    what: str
    held: bool
    seen: str = ""


@dataclass
class Shown:
    """What a scene showed: claims, each told as soon as it is known, and numbers for people."""

    name: str
    claims: list[Claim] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def claim(self, what: str, held: object, seen: object = "") -> None:
        """Note a claim."""
        self.claims.append(Claim(what, bool(held), str(seen)))
        _LOG.info(f"{'holds' if held else 'BROKEN'}: {what}")

    @contextmanager
    def played(self) -> Iterator[None]:
        """Time what is played; an error of ours in it breaks the scene, and not the ones after it."""
        watch = Stopwatch()
        try:
            yield
        except CcciError as error:
            self.claim("it was played to its end", held=False, seen=error)
        finally:
            self.seconds = watch.seconds

    @property
    def held(self) -> bool:
        """Whether all that it claims is so, and it claims something."""
        return bool(self.claims) and all(one.held for one in self.claims)
