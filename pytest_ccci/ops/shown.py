"""What a scene of a proof showed: claims that hold or not, each with what was seen."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Claim", "Shown"]


@dataclass(frozen=True)
class Claim:
    """Something that must be so, and what was seen."""

    what: str
    held: bool
    seen: str = ""


@dataclass
class Shown:
    """What a scene showed: claims, and numbers for people."""

    name: str
    claims: list[Claim] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def claim(self, what: str, held: object, seen: object = "") -> None:
        """Note a claim."""
        self.claims.append(Claim(what, bool(held), str(seen)))

    @property
    def held(self) -> bool:
        """Whether all that it claims is so, and it claims something."""
        return bool(self.claims) and all(one.held for one in self.claims)
