"""Which kept known-good a quick run starts from: the newest, one that is named by its release, or each in turn."""

from __future__ import annotations

from dataclasses import replace

from pytest_ccci.errors import RefError, Refused
from pytest_ccci.recipe.repository import Head, Mirror
from pytest_ccci.run.plan import base_problem
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.record import CanonicalRecord, KnownGood, read_record

__all__ = ["ALL", "chosen", "kept_goods", "kept_releases", "one_of_all", "require_base"]

ALL = "all"


def kept_goods(state: StateDir, recipe: str) -> tuple[KnownGood, ...]:
    """The known-goods of ``recipe``, newest first, each release once: a look, for which no lock is held.

    Raises:
        StoreDamaged: there is a record that cannot be used.
    """
    record = read_record(state.canonical(recipe) / "canonical.json")
    found: dict[str, KnownGood] = {}
    for good in record.all_goods if record else ():
        found.setdefault(good.release, good)
    return tuple(found.values())


def chosen(record: CanonicalRecord | None, release: str) -> KnownGood | None:
    """The known-good of ``record``, or the kept one of ``release``; ``None`` where that is not kept."""
    goods = record.all_goods if record else ()
    return next((good for good in goods if release in {"", good.release}), None)


def kept_releases(settings: Settings, recipe: str) -> tuple[str, ...]:
    """Their releases, oldest first: the order in which a run from each is made."""
    goods = kept_goods(StateDir(settings.state_dir.absolute()), recipe)
    return tuple(good.release for good in reversed(goods))


def one_of_all(settings: Settings, release: str) -> Settings:
    """The settings of the run from ``release`` where one from each kept known-good was asked for."""
    return replace(settings, base=release, sources={**settings.sources, "base": ALL})


def require_base(recipe: str, settings: Settings, head: Head, mirror: Mirror, goods: tuple[KnownGood, ...]) -> None:
    """Refuse a base that is not kept, or that head cannot be upgraded to from.

    Raises:
        RefError: says what is kept, or why it cannot be.
        Refused: the same for one of several: the others can be.
    """
    kept = ", ".join(good.release for good in goods) or "none"
    if settings.base not in {good.release for good in goods}:
        raise RefError(
            "no known-good is kept that a run could start from"
            if settings.base == ALL
            else f"no known-good of release {settings.base} is kept",
            where=recipe,
            seen=f"kept: {kept}",
            advice="a green cold run of the latest release makes one, keep = 3 in recipe.toml lets earlier ones stay",
        )
    problems = {
        good.release: base_problem(good.release, good.commit, head, older=_older(mirror, head, good)) for good in goods
    }
    problem = problems[settings.base]
    if problem and settings.sources.get("base") == ALL and not all(problems.values()):
        raise Refused(problem)
    if problem:
        raise RefError(
            problem, where=recipe, seen=f"head: {head.version}; kept: {kept}", advice="name another base or ref"
        )


def _older(mirror: Mirror, head: Head, good: KnownGood) -> bool:
    return good.commit != head.commit and mirror.is_ancestor(head, good.commit)
