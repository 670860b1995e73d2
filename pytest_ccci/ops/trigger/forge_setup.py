"""Is a forge set up for a trigger? One check per thing that goes wrong in practice, with what to do. Only reads."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from pytest_ccci.errors import CcciError, UsageError
from pytest_ccci.ops.doctor import Check
from pytest_ccci.ops.trigger.gitea import Account, Gitea, Hook, RepositoryFacts, TagProtection
from pytest_ccci.results.forge import CONTEXT

__all__ = ["EVENTS", "ForgeSetup", "inspect_forge", "unprotected_tags"]

EVENTS = ("issue_comment", "pull_request_comment")
"""Events of which a webhook must tell. Forges send a comment on a pull request by the second, and name it the first."""
_MOVED = "pull_request_sync"
_SKEW = 5.0
"""Seconds between two clocks that a poll does not mind."""
_FEW = 20
"""Fewer entries a page make a poll of an organisation slow."""
_RELEASES = ("0.1.0+1.0.0", "12.34.56+v7.8.9-rc1")
"""Names that releases of recipes have."""
_NEEDED = (
    ("write:issue", "repos/{repository}/issues", "answers are comments"),
    ("write:repository", "repos/{repository}/statuses/{zeros}", "verdicts are statuses of commits"),
)
_TOO_MUCH = (("write:organization", "orgs"), ("write:user", "user/keys"))


@dataclass(frozen=True)
class ForgeSetup:
    """What a trigger is told of its forge.

    ``repositories``: names of those to look at; empty for all of the organisation. ``hook``: where deliveries go to.
    """

    organisation: str
    team: str
    bot: str
    repositories: tuple[str, ...] = ()
    hook: str = ""


def inspect_forge(
    forge: Gitea, setup: ForgeSetup, *, admin: Gitea | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> tuple[Check, ...]:
    """All checks, in the order in which things are needed. Nothing of the forge is changed.

    Args:
        forge: asked with the bot's token.
        setup: what is meant to be there.
        admin: asked with the token of an administrator of the repositories, who alone sees hooks and protected tags.
        now: our clock.
    """
    try:
        account = _account(forge.account(), setup)
        checks = [Check("forge", "ok", f"version {forge.version()} at {forge.forge}"), account]
    except CcciError as error:
        return (Check("forge", "bad", " ".join(part for part in (error.what, error.seen) if part), error.advice),)
    checks += [*_clock(forge, now), *_pages(forge), _membership(forge, setup)]
    found, unseen = _repositories(forge, setup)
    for name in unseen:
        checks.append(Check("repository", "bad", f"{name} is not there, or the bot does not see it", "mind its name"))
    if not found:
        return (*checks, Check("repository", "bad", "the bot sees none", f"give a team of {setup.bot} some"))
    checks += [*_scopes(forge, found), *_rights(found), *_branches(forge, found)]
    return (*checks, *_tags(admin, setup, found), *_hooks(admin, setup, found))


def _account(account: Account | None, setup: ForgeSetup) -> Check:
    if account is None:
        return Check("account", "ok", f"{setup.bot}, as it is said here: the token may not read its own account")
    if account.login.lower() != setup.bot.lower():
        seen = f"the token is of {account.login}, not of {setup.bot}: comments of its own would be taken for commands"
        return Check("account", "bad", seen, f"give --bot {account.login}, or a token of {setup.bot}")
    if account.is_admin:
        seen = f"{account.login} administers the whole forge, and so would whoever gets hold of the token"
        return Check("account", "bad", seen, "use an account of its own, that is no administrator")
    return Check("account", "ok", account.login)


def _clock(forge: Gitea, now: Callable[[], datetime]) -> Iterator[Check]:
    before = now()
    theirs = forge.clock()
    if theirs is None:
        yield Check("clock", "note", "the forge does not tell its time")
        return
    off = (theirs - before).total_seconds()
    seen = f"the forge's is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} ours"
    if abs(off) > _SKEW:
        yield Check("clock", "note", seen, "synchronise both (NTP): times in answers and logs do not fit together")
    else:
        yield Check("clock", "ok", seen)


def _pages(forge: Gitea) -> Iterator[Check]:
    sizes = forge.page_sizes()
    if sizes is None:
        yield Check("page sizes", "note", "the forge does not tell how many entries a list has at most")
        return
    seen = f"{sizes.max_response_items} entries at most, {sizes.default_paging_num} by default"
    if sizes.max_response_items < _FEW:
        yield Check("page sizes", "note", seen, "raise [api] MAX_RESPONSE_ITEMS: each poll asks for many pages")
    else:
        yield Check("page sizes", "ok", seen)


def _membership(forge: Gitea, setup: ForgeSetup) -> Check:
    team = f"{setup.organisation}/{setup.team}"
    try:
        known = forge.is_member(setup.organisation, setup.team, setup.bot)
    except CcciError as error:
        advice = f"take {setup.bot} into {team}; the token needs the scope read:organization"
        return Check("team", "bad", " ".join(part for part in (error.what, error.seen) if part), advice)
    if known is None:
        return Check("team", "bad", f"who is in {team} may not be known to the bot", f"take {setup.bot} into {team}")
    return Check("team", "ok", f"who is in {team} is known to the bot")


def _repositories(forge: Gitea, setup: ForgeSetup) -> tuple[tuple[RepositoryFacts, ...], tuple[str, ...]]:
    """The repositories to look at, and names of those that are not seen."""
    if not setup.repositories:
        try:
            return tuple(each for each in forge.repositories(setup.organisation) if not each.archived), ()
        except CcciError:  # the missing scope was told by the check of the team
            return (), ()
    found = {name: forge.repository(name) for name in setup.repositories}
    return tuple(each for each in found.values() if each), tuple(name for name, each in found.items() if not each)


def _scopes(forge: Gitea, found: tuple[RepositoryFacts, ...]) -> Iterator[Check]:
    writable = next((each for each in found if each.permissions.push), None)
    for scope, path, why in _NEEDED:
        if writable is None:
            break
        let = forge.would_be_let(path.format(repository=writable.full_name, zeros="0" * 40))
        if let is None:
            yield Check("scopes", "note", f"{scope} could not be tried")
        elif not let:
            yield Check("scopes", "bad", f"{scope} is missing: {why}", "make a token that has it")
        else:
            yield Check("scopes", "ok", scope)
    more = [scope for scope, path in _TOO_MUCH if forge.would_be_let(path)]
    if more:
        seen = f"the token also has {', '.join(more)}, which nothing needs"
        yield Check("scopes", "note", seen, "make one with write:issue, write:repository and read:organization only")


def _rights(found: tuple[RepositoryFacts, ...]) -> Iterator[Check]:
    mute = [each.full_name for each in found if not each.permissions.push]
    rulers = [each.full_name for each in found if each.permissions.admin]
    if mute:
        seen = f"the bot may not write to {_named(mute)}: it can post no status there"
        yield Check("rights", "bad", seen, "a team of the bot with write permission for code")
    if rulers:
        seen = f"the bot administers {_named(rulers)}: no protection holds it"
        yield Check("rights", "bad", seen, "write permission is all that it needs")
    if not mute and not rulers:
        yield Check("rights", "ok", f"write, in {len(found)} repositories")


def _branches(forge: Gitea, found: tuple[RepositoryFacts, ...]) -> Iterator[Check]:
    branches = {each.full_name: forge.branch(each.full_name, each.default_branch) for each in found}
    known = {name: branch for name, branch in branches.items() if branch}
    loose = [name for name, branch in known.items() if branch.user_can_push or not branch.protected]
    if loose:
        seen = f"the bot may push to the default branch of {_named(loose)}"
        yield Check("branches", "bad", seen, "protect it, and do not list the bot among those who may push")
    else:
        yield Check("branches", "ok", f"the bot may push to no default branch of {len(known)} repositories")
    checked = {name: branch.status_check_contexts or [] for name, branch in known.items() if branch.enable_status_check}
    for_all = [name for name, contexts in checked.items() if not contexts]
    without = [name for name in known if name not in checked or (checked[name] and not _gates(checked[name]))]
    if for_all:
        seen = f"every status gates in {_named(for_all)}, whoever posts it: checks are enabled, and none is named"
        yield Check("required check", "note", seen, f"name {CONTEXT}")
    if without:
        seen = (
            f"{CONTEXT} is no required check in {_named(without)}: a red run does not keep a pull request from merging"
        )
        yield Check("required check", "note", seen, f"enable status checks in the branch's protection: {CONTEXT}")
    if not for_all and not without:
        yield Check("required check", "ok", CONTEXT)


def _gates(contexts: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(CONTEXT, context) for context in contexts)


def _tags(admin: Gitea | None, setup: ForgeSetup, found: tuple[RepositoryFacts, ...]) -> Iterator[Check]:
    publishes = "a tag is a release that is offered to everybody"
    unseen = []
    loose: dict[str, list[str]] = {}
    for each in found:
        rules = admin.tag_protections(each.full_name) if admin else None
        if admin is None or rules is None:
            unseen.append(each.full_name)
            continue
        why = unprotected_tags(rules, lambda rule: _lets(rule, admin, setup))
        if why:
            loose.setdefault(why, []).append(each.full_name)
    if unseen:
        seen = f"whether the bot may make tags in {_named(unseen)} is not known: {publishes}"
        advice = "--admin-token-file with a token of an administrator of the repositories (read:repository) tells"
        yield Check("tags", "bad", seen, advice)
    for why, names in loose.items():
        advice = "protect tags by the pattern * and list only the people who release"
        yield Check("tags", "bad", f"the bot may make a tag in {_named(names)}: {why}; {publishes}", advice)
    if not unseen and not loose:
        yield Check("tags", "ok", f"the bot may make none in {len(found)} repositories")


def unprotected_tags(rules: Iterable[TagProtection], lets: Callable[[TagProtection], bool]) -> str:
    """Why somebody whom a rule ``lets`` pass may make a tag of a release; empty where nobody of the kind may.

    One rule that lets somebody pass is enough for a forge, whatever another one says.
    """
    rules = tuple(rules)
    open_to = [rule.name_pattern for rule in rules if lets(rule)]
    if open_to:
        return f"the protection of {_named(open_to)} lets it"
    missed = [name for name in _RELEASES if not any(_covers(rule.name_pattern, name) for rule in rules)]
    if missed:
        return f"no protection covers one such as {missed[0]}"
    return ""


def _covers(pattern: str, name: str) -> bool:
    """Whether a rule is about a tag. A pattern that we read otherwise than the forge may covers nothing."""
    if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/"):
        try:
            return re.search(pattern[1:-1], name) is not None
        except re.error:
            return False
    return not set(pattern) & set("{}\\!^") and fnmatch.fnmatchcase(name, pattern)


def _lets(rule: TagProtection, admin: Gitea, setup: ForgeSetup) -> bool:
    """Whether a rule lets the bot pass; also where that cannot be told."""
    if setup.bot.lower() in {name.lower() for name in rule.whitelist_usernames or ()}:
        return True
    for team in rule.whitelist_teams or ():
        try:
            if admin.is_member(setup.organisation, team, setup.bot) is not False:
                return True
        except UsageError:
            return True
    return False


def _hooks(admin: Gitea | None, setup: ForgeSetup, found: tuple[RepositoryFacts, ...]) -> Iterator[Check]:
    if setup.hook and _is_near(setup.hook):
        seen = f"{setup.hook} is on the forge's own machine or network, to which Gitea sends nothing by default"
        advice = "in the forge's app.ini: [webhook] ALLOWED_HOST_LIST = loopback (or private, or the address)"
        yield Check("hook address", "note", seen, advice)
    if admin is None:
        seen = "not known: only an administrator sees them"
        yield Check("hooks", "note", seen, "--admin-token-file; scopes read:repository and read:organization")
        return
    everywhere = admin.hooks(f"orgs/{setup.organisation}") or ()
    problems: dict[str, list[str]] = {}
    for each in found:
        own = () if _working(everywhere, setup.hook) else admin.hooks(f"repos/{each.full_name}") or ()
        why = _hook_problem((*everywhere, *own), setup.hook)
        if why:
            problems.setdefault(why, []).append(each.full_name)
    for why, names in problems.items():
        level = "note" if why == _NO_HOOK else "bad"
        advice = f"a webhook of the organisation with a secret, as JSON, for {', '.join(EVENTS)} and {_MOVED}"
        yield Check("hooks", "note" if level == "note" else "bad", f"{_named(names)}: {why}", advice)
    if not problems:
        yield Check("hooks", "ok", f"comments of {len(found)} repositories are delivered")


_NO_HOOK = "no webhook: commands are found by the poll, some time later"


def _working(hooks: Iterable[Hook], address: str) -> bool:
    return not _hook_problem(hooks, address)


def _hook_problem(hooks: Iterable[Hook], address: str) -> str:
    """Why no hook delivers comments to ``address``, or anywhere where it is empty; empty where one does."""
    meant = [hook for hook in hooks if not address or hook.config.get("url", "").rstrip("/") == address.rstrip("/")]
    if not meant:
        return _NO_HOOK
    seen = ""
    for hook in meant:
        events = set(hook.events or ())
        lacking = [event for event in EVENTS if event not in events]
        if not hook.active:
            seen = seen or "its webhook is not active"
        elif hook.config.get("content_type") != "json":
            seen = seen or "its webhook sends forms, not JSON"
        elif lacking:
            seen = seen or f"its webhook does not tell of {', '.join(lacking)}, so that no command arrives"
        elif _MOVED not in events:
            seen = seen or f"its webhook does not tell of {_MOVED}: what is queued for a head that moved runs in vain"
        else:
            return ""
    return seen


def _is_near(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or "." not in host
    return found.is_private or found.is_loopback


def _named(names: list[str]) -> str:
    few = ", ".join(names[:5])
    return f"{few} and {len(names) - 5} more" if len(names) > 5 else few  # noqa: PLR2004  as many as are named
