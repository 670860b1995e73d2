"""Router rules as Traefik 3 reads them: which it would refuse, and why; and which hosts a rule lets in."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["confined_to", "rule_problem"]

_ARGUMENTS = {
    "Host": (1, 1),
    "HostRegexp": (1, 1),
    "Path": (1, 1),
    "PathPrefix": (1, 1),
    "PathRegexp": (1, 1),
    "Method": (1, 1),
    "ClientIP": (1, 1),
    "Header": (2, 2),
    "HeaderRegexp": (2, 2),
    "Query": (1, 2),
    "QueryRegexp": (1, 2),
}
_TCP = {"HostSNI": (1, 1), "HostSNIRegexp": (1, 1), "ClientIP": (1, 1), "ALPN": (1, 1)}
"""Matchers with how many arguments they take at least and at most."""
_OF_2 = {"Headers": "Header", "HeadersRegexp": "HeaderRegexp", "HostHeader": "Host"}
_TOKEN = re.compile(r"\s*(?:(?P<op>&&|\|\||[!(),])|(?P<word>[A-Za-z_]\w*)|(?P<text>`[^`]*`|\"(?:[^\"\\]|\\.)*\"))")
_HOST_NAME = re.compile(r"[^\s/,:`]+")
_DEPTH = 50


class _WrongRule(Exception):
    """Why a rule cannot be read."""


def rule_problem(rule: str, *, tcp: bool = False) -> str:
    """Why Traefik 3 refuses ``rule``, or why it never matches; empty where it is fine."""
    if not rule.strip():
        return "it is empty"
    try:
        _parse(rule, tcp=tcp)
    except _WrongRule as error:
        return str(error)
    return ""


def confined_to(rule: str, own: Callable[[str], bool], *, tcp: bool = False) -> bool:
    """Whether ``rule`` can only match requests for hosts that are ``own``; never of one that cannot be read.

    Each alternative must name such a host by ``Host`` (``HostSNI``); a pattern or a negation confines nothing.
    """
    try:
        return _parse(rule, tcp=tcp, own=own)
    except _WrongRule:
        return False


def _parse(rule: str, *, tcp: bool, own: Callable[[str], bool] = lambda _host: False) -> bool:
    parser = _Parser(_tokens(rule), _TCP if tcp else _ARGUMENTS, own)
    confined = parser.either(0)
    parser.end()
    return confined


def _tokens(rule: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while rule[at:].strip():
        token = _TOKEN.match(rule, at)
        if token is None:
            rest = rule[at:].strip()
            if rest[0] in "'`\"":
                raise _WrongRule(f"the text {rest[:20]} stands in no backticks or double quotes")
            raise _WrongRule(f"{rest[:20]} cannot be read")
        kind = str(token.lastgroup)
        found.append((kind, token[kind]))
        at = token.end()
    return found


class _Parser:
    """Matchers joined by ``&&``, ``||`` and ``!``, in parentheses or not; tells whether only ``own`` hosts match."""

    def __init__(
        self, tokens: list[tuple[str, str]], known: dict[str, tuple[int, int]], own: Callable[[str], bool]
    ) -> None:
        self.tokens = tokens
        self.known = known
        self.own = own
        self.at = 0

    def either(self, depth: int) -> bool:
        if depth > _DEPTH:
            raise _WrongRule("it has too many parentheses")
        before = True
        confined = self._one(depth)
        while True:
            if self._take("&&"):
                confined = self._one(depth) or confined
            elif self._take("||"):
                before, confined = before and confined, self._one(depth)
            else:
                return before and confined

    def end(self) -> None:
        if self.at < len(self.tokens):
            raise _WrongRule(f"{self.tokens[self.at][1]} stands where && or || should")

    def _one(self, depth: int) -> bool:
        negated = False
        while self._take("!"):
            negated = True
        if self._take("("):
            confined = self.either(depth + 1)
            self._want(")")
            return confined and not negated
        kind, name = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        if kind != "word":
            raise _WrongRule(f"{name or 'its end'} stands where a matcher such as Host(`…`) should")
        self.at += 1
        self._want("(")
        given: list[str] = []
        while not self._take(")"):
            if given:
                self._want(",")
            given.append(self._text(name))
        self._check(name, given)
        return name.lower() in {"host", "hostsni"} and self.own(given[0]) and not negated

    def _text(self, name: str) -> str:
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("", "its end")
        if kind != "text":
            raise _WrongRule(f"{text} stands in {name}() where a text in backticks should")
        self.at += 1
        return text[1:-1]

    def _check(self, name: str, given: list[str]) -> None:
        spelt = {each for known in self.known for each in (known, known.lower(), known.upper(), known.capitalize())}
        if name not in spelt:
            now = f"; in Traefik 3 it is {_OF_2[name]}" if name in _OF_2 else f"; there are {', '.join(self.known)}"
            raise _WrongRule(f"{name}() is no matcher{now}")
        plain = next(known for known in self.known if known.lower() == name.lower())
        least, most = self.known[plain]
        if not least <= len(given) <= most:
            takes = f"{least}" if least == most else f"{least} or {most}"
            again = f": write {plain}(`a`) || {plain}(`b`)" if len(given) > most and most == 1 else ""
            raise _WrongRule(f"{plain}() has {len(given)} arguments and takes {takes}{again}")
        if plain in {"Host", "HostSNI"} and not _HOST_NAME.fullmatch(given[0]):
            raise _WrongRule(f"{given[0]!r} in {plain}() is no host name")

    def _take(self, op: str) -> bool:
        if self.at < len(self.tokens) and self.tokens[self.at] == ("op", op):
            self.at += 1
            return True
        return False

    def _want(self, op: str) -> None:
        if not self._take(op):
            seen = self.tokens[self.at][1] if self.at < len(self.tokens) else "its end"
            raise _WrongRule(f"{seen} stands where {op} should")
