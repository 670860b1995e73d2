"""What lint can find: each kind with its code, how bad it is, why it matters and how to mend it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["KINDS", "Finding", "Kind", "Level"]


class Level(enum.StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARN = "warning"


@dataclass(frozen=True)
class Kind:
    """A kind of finding. ``fatal``: a run refuses the version before it deploys it."""

    level: Level
    why: str
    mend: str
    fatal: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: ``code`` is stable, ``where`` a service, file or name.

    ``file`` is a path within the recipe and ``line`` counts from 1; empty and 0 where it stands in no file.
    """

    level: Level
    code: str
    where: str
    text: str
    file: str = ""
    line: int = 0

    @property
    def fatal(self) -> bool:
        """Whether the deploy would fail."""
        return self.level is Level.ERROR and self.code in KINDS and KINDS[self.code].fatal

    @property
    def why(self) -> str:
        """Why it matters."""
        return KINDS[self.code].why if self.code in KINDS else ""

    @property
    def mend(self) -> str:
        """What to do."""
        return KINDS[self.code].mend if self.code in KINDS else ""


def _fatal(why: str, mend: str) -> Kind:
    return Kind(Level.ERROR, why, mend, fatal=True)


def _error(why: str, mend: str) -> Kind:
    return Kind(Level.ERROR, why, mend)


def _warning(why: str, mend: str) -> Kind:
    return Kind(Level.WARN, why, mend)


KINDS: Mapping[str, Kind] = {
    "not-yaml": _error("a compose file cannot be read", "mend the line that is named; blanks indent, tabs do not"),
    "duplicate-key": _error("a key is there twice, which Docker refuses", "remove one of the two"),
    "bad-interpolation": _error(
        "Docker reads only `$X`, `${X}`, `${X:-default}` and `${X:?words}`", "write one of these, or `$$` for a dollar"
    ),
    "required-variable": _error(
        "a variable that must be given (`${X:?words}`) is set nowhere", "set it in .env.sample or in [env]"
    ),
    "old-version": _fatal(
        "compose 3.0 to 3.2 knows no configs, in which a run brings its CA", 'write version: "3.8" in each compose file'
    ),
    "no-image": _fatal("no compose file says the service's image", "give it an image"),
    "bad-image": _fatal(
        "Docker cannot read the name of an image: its name, tag or digest is missing or misspelt",
        "write name:tag, and set the variables in it",
    ),
    "config-not-bumped": _fatal(
        "a config has other content under its old name, which Swarm cannot change", "bump its version in abra.sh"
    ),
    "secret-not-bumped": _fatal(
        "a file's secret has other content under its old name, which Swarm cannot change",
        "bump its version in abra.sh",
    ),
    "missing-file": _fatal("a config or secret is made of a file that is not there", "add the file, or mend its path"),
    "empty-version": _fatal(
        "a version variable is empty or not set, so that a name ends in `_`",
        "set it: in abra.sh for a config, in .env.sample for a secret",
    ),
    "undeclared": _fatal("a secret or config is used and not declared", "declare it at the end of the compose file"),
    "start-first-volume": _error(
        "start-first runs two tasks at once on the same data", "order: stop-first; a run does so already"
    ),
    "start-first-port": _error(
        "start-first never gets the host port that the old task holds", "order: stop-first; a run does so already"
    ),
    "label-name-variable": _error(
        "Docker fills in no variable in a label's name where labels are a mapping, so that all apps have one router",
        "write the labels as a list",
    ),
    "shared-alias": _warning(
        "an alias on a network that other apps share takes the place of theirs",
        "an alias on a network of the stack's own",
    ),
    "bad-rule": _error(
        "Traefik 3 refuses a router's rule, so that nothing reaches the service", "write it as Traefik 3 reads it"
    ),
    "off-proxy": _warning(
        "a router's service is not on the network proxy, so that Traefik does not reach it",
        "add proxy to the service's networks",
    ),
    "unknown-entrypoint": _warning(
        "a router waits on an entry point that our Traefik does not have", "web or web-secure, or none for both"
    ),
    "unknown-network": _warning(
        "an external network is none that the host provides; Docker refuses the deploy where it is not there",
        "proxy, or a network of the stack's own",
    ),
    "unset-variable": _warning(
        "a variable is used and set nowhere, and silently becomes empty", "set it in .env.sample, or give a default"
    ),
    "no-healthcheck": _warning(
        "without a health check of the recipe or the image only that it runs can be seen", "add a healthcheck"
    ),
    "slow-healthcheck": _warning(
        "Swarm gives no traffic, or sees no death, for minutes; a run's faster checks hide it",
        "a shorter interval, fewer retries",
    ),
    "moving-image": _warning("what an image without a version is changes by itself", "pin a version"),
    "no-app": _warning("abra does not list an app without a service app", "call the service app"),
    "no-version-label": _warning(
        "abra cannot tell what is deployed", "label app: coop-cloud.${STACK_NAME}.version, under deploy"
    ),
    "version-label-key": _warning(
        "a label looks like the version label and is not read",
        "write it as a list item under deploy.labels: coop-cloud.${STACK_NAME}.version=…",
    ),
    "version-not-tag": _warning("the version label is not the release's tag", "make both the same, at each release"),
    "uncovered": _warning(
        "data in no snapshot: a canonical is impossible", "a named volume, or [[disposable]] with a reason"
    ),
    "backup-volume": _warning("a backup label names a volume that no service of the stack mounts", "mend the name"),
    "backup-label": _warning(
        "a backup label does nothing: its name is unknown, its value neither true nor false, or another service says "
        "otherwise for the whole stack",
        "mend it as its words say",
    ),
    "duration-variable": _warning("Docker may accept a duration from a variable, abra does not", "write it out"),
    "unknown-charset": _warning("an unknown charset is read as default", "one that abra knows"),
    "lightweight-tag": _warning("abra's lint (R014) wants annotated tags", "git tag -a"),
    "odd-tag": _warning(
        "a tag that is no <recipe version>+<app version> is silently no release", "tag releases like 1.0.0+2.3.4"
    ),
    "names-nothing": _warning("recipe.toml names what this version does not have", "mend the name, or remove it"),
    "recipe-toml": _error("recipe.toml cannot be used", "mend the line that is named"),
    "template": _warning("a value of recipe.toml could not be filled in without a run", "look at the name in {{ … }}"),
    "no-recipe": _error("what is there cannot be deployed at all", "see the words"),
}
"""Every code; it stays, since results and scripts name it."""
