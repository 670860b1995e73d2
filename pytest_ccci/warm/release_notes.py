"""Does a release note ask an operator to do something by hand? Read in clauses and words, never in substrings.

What makes a clause a marker:

- *manual* before what is done (migration, upgrade, step, …); *manually* with a verb of change; *by hand*
- *you* (operators, administrators) *must / need to / have to*, or *please*, with a verb of change
- a verb of change *before / prior to / after* upgrading or deploying (making a backup is none)
- *breaking change*, *action required*, *pg_upgrade*, *dump and restore*, *do not upgrade*, a migration guide to follow
- that something is *not* done automatically

A marker that is denied in its own clause (*no*, *not*, *nothing*, *without*, *no longer*, …) or that only tells what
people *can* do is none. A denial that holds only for some (*unless*, *except*, *if you*, *most users*, *normally*) is
no denial: whether it holds here is for a person to say.
"""

from __future__ import annotations

import re

__all__ = ["manual_steps"]

_CHANGE = (
    r"(?:re-?)?(?:run(?:ning)?|execut\w+|migrat\w+|upgrad\w+|updat\w+|edit\w*|renam\w+|remov\w+|delet\w+"
    r"|creat\w+|add(?:ing)?|insert\w*|generat\w+|set(?:ting)?|mov(?:e|ing)|chang\w+|convert\w*|adjust\w*|restor\w+|import\w*|export\w*"
    r"|dump\w*|index\w*|rotat\w+|appl(?:y|ying)|replac\w+|drop(?:ping)?|build\w*|copy(?:ing)?|stop\w*|purg\w+|alter\w*)"
)
_DONE = (
    r"(?:migrations?|upgrades?|updates?|steps?|actions?|interventions?|work|changes?|adjustments?|conversions?|procedures?"
    r"|tasks?|fix(?:es)?|cleanup|re-?index(?:ing)?|configuration)"
)
_DEPLOY = r"(?:upgrad\w+|updat\w+|deploy\w*|re-?deploy\w*|starting)"
_ACT = (
    r"(?:run|execute|migrate|edit|rename|remove|delete|create|insert|generate|set|move|change|convert|export|dump|rotate"
    r"|replace|drop|stop|recreate|reindex)"
)
_DUTY = r"(?:must|needs? to|have to|has to|are required to)\b"
_BY_HAND = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\bmanual\s+(?:[\w-]+\s+)?{_DONE}\b",
        rf"\b{_DONE}\b[^,]*\b(?:is|are|be|was|were)\s+manual\b",
        rf"\bmanually\b.*\b{_CHANGE}\b|\b{_CHANGE}\b.*\bmanually\b",
        r"\bby hand\b",
    )
)
"""Also said of what people can do in the app."""
_ASKED = tuple(
    re.compile(pattern)
    for pattern in (
        r"\bbreaking[ -]changes?\b|^breaking$",
        r"\baction (?:is )?(?:only )?(?:required|needed)\b|\brequires? (?:\w+ )?(?:action|attention|intervention)\b",
        rf"\b(?:you|operators?|admins?|administrators?)(?:'ll| will)? {_DUTY}(?: \w+)?(?: \w+)? {_CHANGE}\b",
        rf"\bplease(?: first| also)? {_CHANGE}\b",
        rf"\b(?:before|prior to|after)\b(?: \w+)? {_DEPLOY}\b.*\b{_ACT}\b",
        rf"\b{_ACT}\b.*\b(?:before|prior to|after)\b(?: \w+)? {_DEPLOY}\b",
        r"\bpg_upgrade\b|\bdump(?:ed)?(?: and |/| & )(?:restored?|re-?import(?:ed)?|reload(?:ed)?)\b",
        r"\b(?:follow|see|read|consult)\b.*\b(?:migration|upgrade|upgrading) (?:guide|instructions?|steps)\b",
    )
)
_WARNED = re.compile(
    r"\b(?:do not|don't|never) (?:upgrade|update|deploy)\b|\bnot automatic\b"
    rf"|(?:\b(?:not|never|cannot)\b|n't\b)(?: \w+){{0,2}} automatically\b|\bno automatic {_DONE}\b"
)
"""Here the denial is what makes it a marker."""
_FORGET = re.compile(r"\b(?:do not|don't) forget to\b|\bmust not forget to\b|\bnot optional\b")
_DENIED_BEFORE = re.compile(
    r"\b(?:no|not|none|nothing|never|without|neither|nor|cannot|zero)\b|n't\b|\bfree of\b|\binstead of\b"
    r"|\boptional(?:ly)?\b"
)
_DENIED_AFTER = re.compile(
    r"(?:\b(?:not|never|no longer)\b|n't\b)(?: \w+)? (?:needed|required|necessary)\b|\bunnecessary\b|\bobsolete\b"
    r"|\boptional\b|\bnow automatic\b|\bgone\b"
)
_CONDITION = re.compile(
    r"\bunless\b|\bexcept(?:ing|ions?)?\b|\bother than\b|\bapart from\b|\bif (?:you|your|the|it|this|that)\b"
    r"|\bonly (?:if|when|for|where|needed|required|necessary)\b|\b(?:most|many|typical) \w+\b|\bas long as\b"
    r"|\bprovided (?:that )?you\b|\b(?:normally|usually|generally|typically|probably|mostly)\b"
    r"|\bshould(?: \w+)? (?:be )?no\b"
)
"""What makes of a denial one for some only."""
_ABILITY = re.compile(
    r"\bcan(?: now| also)?\b|\ballows?\b|\ballowed\b|\bability\b|\bpossib\w+\b|\boption to\b|\bsupports?\b"
    r"|\bfix(?:ed|es)?\b|\bwhen (?:users?|someone|people)\b|\bautomates?\b"
)
_NONE_BELOW = re.compile(
    rf"\b(?:manual\s+{_DONE}|breaking[ -]changes?|action (?:required|needed)|{_DONE}\s+by hand)\W{{1,8}}"
    rf"(?:none|no|nope|nothing|n/a|not (?:needed|required|necessary|applicable))\b(?![^.\n]*(?:{_CONDITION.pattern}))",
    re.IGNORECASE,
)
_CLAUSES = re.compile(
    r"[.!?](?=\s|$)|[;:](?=\s)|\s[-\u2013\u2014]\s|,?\s(?:but(?! only)|however|although|though|yet)\b"
    r"|,(?=\s(?:you|please|operators?|admins?|so|then|first)\b)|\n",
    re.IGNORECASE,
)
_IF_YOU_LIKE = re.compile(r"\bif you (?:want|like|wish|prefer)\b[^.;\n]*", re.IGNORECASE)
_FIX = re.compile(r"^(?:fix|fixed|fixes|bugfix)(?:\([^)]*\))?:\s+", re.IGNORECASE)
_BREAKING_COMMIT = re.compile(r"^\w+(?:\([^)]*\))?!:\s+")
"""A commit message that says by its exclamation mark that it breaks something (Conventional Commits 1.0)."""
_NEW_LINE = re.compile(r"^\s*(?:[-*+•]|\d+[.)]|#+)\s+")


def manual_steps(text: str) -> tuple[str, ...]:
    """The clauses of ``text`` that ask for something by hand, as written but for blanks; empty when none does."""
    clauses = (
        clause.strip(" \t*_`#>-")
        for clause in _CLAUSES.split(_IF_YOU_LIKE.sub(" ", _NONE_BELOW.sub(" ", _joined(text))))
    )
    return tuple(clause for clause in clauses if clause and _is_marker(clause.lower()))


def _is_marker(clause: str) -> bool:
    if _WARNED.search(clause):
        return True
    said = _FORGET.sub("please", clause)
    return any(_stands(said, marker) for marker in _ASKED) or (
        _ABILITY.search(said) is None and any(_stands(said, marker) for marker in _BY_HAND)
    )


def _stands(clause: str, marker: re.Pattern[str]) -> bool:
    """Whether the clause says it, and neither denies it before nor calls it unneeded behind."""
    found = marker.search(clause)
    if found is None:
        return False
    denied = _DENIED_BEFORE.search(clause[: found.end()]) or _DENIED_AFTER.search(clause[found.start() :])
    return not denied or _CONDITION.search(clause) is not None


def _joined(text: str) -> str:
    """One line per paragraph, list entry or heading: a sentence may be wrapped anywhere."""
    lines: list[str] = []
    fresh = True
    for row in text.replace("\u2019", "'").replace("`", "").splitlines():
        begins = _NEW_LINE.match(row) is not None
        if not row.strip():
            fresh = True
            continue
        if fresh or begins or not lines:
            lines.append(row.strip())
        else:
            lines[-1] += f" {row.strip()}"
        fresh = row.lstrip().startswith("#")
    return "\n".join(_plain(_NEW_LINE.sub("", line)) for line in lines)


def _plain(line: str) -> str:
    return _BREAKING_COMMIT.sub("Breaking change\n", _FIX.sub("Fixes ", line))
