"""Cuts secrets out of whatever leaves this process: the terminal, results, journals, reports, alerts, relayed lines.

Whoever makes or reads a secret calls ``SECRETS.learn`` before it is used; whoever writes text for people calls
``SECRETS.scrub`` on it, or ``SECRETS.scrub_all`` on a value before that is serialised. One redactor serves the process,
so that a run does not show the secrets of the run before it either.

What is hidden, by the kind of value:

| value                                                              | hidden                               |
|--------------------------------------------------------------------|--------------------------------------|
| under 4 characters, under 6 digits, or a word such as ``admin``    | never: it is in every log            |
| under 8 characters, or under 12 letters of one case                | as a whole word, and within base64   |
| anything else                                                      | wherever it stands, in any encoding  |
| a line of 8 characters or more of a value that has several lines   | as a value of its own                |
| at least 6 characters of a longer value, at a ``...``              | as what is left of a shortened value |
| at least 12 characters of a random value (of two character kinds)  | as what is left of a wrapped value   |
"""

from __future__ import annotations

import base64
import binascii
import html.entities
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

__all__ = ["MARK", "SECRETS", "Redactor", "harmless", "printable", "without_secrets"]

MARK = "[secret]"

_NEVER_BELOW = 4
_DIGITS_BELOW = 6
_WEAK_BELOW = 8
_WORD_BELOW = 12
_LINE = 8
_STUB = 6
_WINDOW = 12
_WINDOWS_OF = 4096
_BASE64_CORE = 10

# No secrets, whatever they are used for: hiding them would make every report unreadable and hide nothing.
_WORDS = """
    admin administrator backup changeme cold custom database debug default demo development disabled dummy enabled error
    example fail false guest info install keycloak localhost mariadb minio mongo mysql nginx none null pass passwd
    password postgres postgresql production quick redis restore root secret secrets settle skip staging test testing
    tests traefik true unverified upgrade user username warning
"""
_ORDINARY = frozenset(_WORDS.split())
_ARMOUR = re.compile(r"-----(BEGIN|END) [A-Z0-9 ]+-----")
_IN_URL = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")
_OPAQUE = re.compile(rf"[^\s\"'<>]{{{_WINDOW},}}")
# Two of: a small letter, a capital, two digits.
_SMALL, _CAPITAL, _DIGITS = "(?=.*[a-z])", "(?=.*[A-Z])", "(?=.*[0-9].*[0-9])"
_RANDOM = re.compile(rf"(?:{_SMALL}{_CAPITAL}|{_SMALL}{_DIGITS}|{_CAPITAL}{_DIGITS})[^\s\"'<>]+")
_ELLIPSIS = re.compile(r"\.\.\.|…")
_BLOB = re.compile(r"[A-Za-z0-9+/_-]{6,}")
_ALNUM = re.compile(r"[A-Za-z0-9]+")
# A weak value begins after no word character; the end of an escape (%3A, \n) is none.
_BEGIN = r"(?:(?<![A-Za-z0-9_])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrtbf]))"
_END = r"(?![A-Za-z0-9_])"
# Backslashes double with each time that a text is quoted; a bound keeps a text of nothing else from being a trap.
_NESTED = 16
_SLASHES = rf"(?:\\{{1,{_NESTED}}})"
_LETTERS = {"\n": "n", "\r": "r", "\t": "t", "\f": "f", "\b": "b", "\v": "v"}
_NAMES: dict[int, list[str]] = {}
for _name, _point in html.entities.name2codepoint.items():
    _NAMES.setdefault(_point, []).append(_name)
_NAMES.setdefault(ord("'"), []).append("apos")


def printable(text: str, longest: int = 0) -> str:
    """``text`` of a stranger as one line in which nothing steers a terminal or turns the direction of reading.

    Line ends, control and invisible characters are written as Python escapes; cut to ``longest`` characters, if given.
    """
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
    return shown if not longest or len(shown) <= longest else f"{shown[: longest - 1]}…"


# All but colours and what moves within a few lines or erases one, as live displays do; and what nobody sees.
_STEERS = re.compile(
    r"\x1b(?!\[[0-9;]*[A-GKm])|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u2069\ufeff]"
)


def harmless(text: str) -> str:
    """``text`` with lines and colours, of which nothing else steers a terminal or turns the direction of reading.

    That is written as Python escapes.
    """
    return _STEERS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


_SECRETS_NAME = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|PWD|SECRET|TOKEN|CREDENTIAL|(?:API|PRIVATE|ACCESS|SIGNING|ENCRYPTION)_?KEY",
    re.IGNORECASE,
)
_NO_SECRETS_NAME = re.compile(r"_(?:VERSION|FILE|PATH|URL|LENGTH|NAME)$", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]*:[^/\s@]*(?=@)")


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables in order of their names, to be shown: secret is a value by its variable's name, or as one in a URL.

    A variable that tells where a secret is, or which version of it, tells none.
    """
    return {
        name: MARK
        if value and _SECRETS_NAME.search(name) and not _NO_SECRETS_NAME.search(name)
        else _CREDENTIALS.sub(MARK, value)
        for name, value in sorted(environment.items())
    }


class Redactor:
    """Remembers secret values, and cuts them out of text in every form in which text usually carries them."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._known: frozenset[str] = frozenset()
        self._forms: tuple[_Form, ...] = ()
        self._stubs: tuple[str, ...] = ()
        self._parts: frozenset[str] = frozenset()
        self._windows: frozenset[str] = frozenset()
        self._weak: tuple[_Form, ...] = ()
        self.learn(*values)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._known)} values>"

    def __bool__(self) -> bool:
        return bool(self._known)

    def learn(self, *values: str) -> None:
        """Add secret values; they are cut out of everything from now on."""
        with self._lock:
            fresh = {piece for value in values for piece in _pieces(value)} - self._known
            if not fresh:
                return
            strong = [piece for piece in fresh if not _is_weak(piece)]
            weak = [_Form(piece, f"{_BEGIN}{_spelled(piece)}{_END}") for piece in fresh if _is_weak(piece)]
            encoded = {piece: _cores(piece) for piece in strong}
            forms = [*weak, *(form for piece in strong for form in _forms(piece, encoded[piece]))]
            # The longest first: a secret that contains another is cut as a whole.
            self._forms = tuple(sorted((*self._forms, *forms), key=lambda form: (-len(form.text), form.text)))
            self._weak = (*self._weak, *weak)
            stubs = [*strong, *(core for cores in encoded.values() for core in cores)]
            self._parts |= {one[n : n + _STUB] for one in stubs for n in range(len(one) - _STUB + 1)}
            self._stubs = (*self._stubs, *stubs)
            self._windows |= {one for piece in strong for one in _windows((piece, *encoded[piece]))}
            self._known |= fresh

    def scrub(self, text: str) -> str:
        """``text`` with ``[secret]`` in the place of every secret."""
        for form in self._forms:
            text = form.cut(text)
        if self._weak:
            text = _BLOB.sub(self._without_weak, text)
        if self._stubs:
            text = self._without_stubs(text)
        return self._without_windows(text) if self._windows else text

    def scrub_all(self, value: Any, *, but: frozenset[str] = frozenset()) -> Any:
        """A copy of ``value`` with every string in it scrubbed, so that it can be serialised.

        Mappings, lists, tuples and sets are gone through, keys of mappings too; other objects stay as they are.
        ``but``: keys of mappings whose values stay, as they are chosen from a fixed set of words.
        """
        if isinstance(value, str):
            return self.scrub(value) if type(value) is str else value  # a StrEnum is one of a fixed set of words
        if isinstance(value, Mapping):
            return {
                self.scrub_all(key): part if key in but else self.scrub_all(part, but=but)
                for key, part in value.items()
            }
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(self.scrub_all(part, but=but) for part in value))
        for kind in (list, tuple, set, frozenset):
            if isinstance(value, kind):  # of a subclass too: how that is made nobody knows
                return kind(self.scrub_all(part, but=but) for part in value)
        return value

    def finds(self, text: str) -> bool:
        """Whether ``text`` holds a secret."""
        return self.scrub(text) != text

    def _without_weak(self, blob: re.Match[str]) -> str:
        text = blob[0].replace("-", "+").replace("_", "/")
        for start in range(min(4, len(text))):
            part = text[start:]
            part = part[: len(part) - (len(part) % 4 == 1)]
            try:
                plain = base64.b64decode(part + "=" * (-len(part) % 4)).decode("latin-1")
            except binascii.Error:
                continue
            if any(form.cut(plain) != plain for form in self._weak):
                return MARK
        return blob[0]

    def _without_stubs(self, text: str) -> str:
        spans = []
        for dots in _ELLIPSIS.finditer(text):
            start, end = dots.span()
            if text[max(start - _STUB, 0) : start] in self._parts:
                long = max(_head(text, start, secret) for secret in self._stubs)
                spans += [(start - long, start)] if long else []
            if text[end : end + _STUB] in self._parts:
                long = max(_tail(text, end, secret) for secret in self._stubs)
                spans += [(end, end + long)] if long else []
        return _marked(text, spans)

    def _without_windows(self, text: str) -> str:
        spans = [
            (start, start + _WINDOW)
            for run in _OPAQUE.finditer(text)
            for start in range(run.start(), run.end() - _WINDOW + 1)
            if text[start : start + _WINDOW] in self._windows
        ]
        return _marked(text, spans)


class _Form:
    """One spelling of a secret: literal ``text``, or a pattern for it that is compiled when it is first needed."""

    def __init__(self, text: str, pattern: str = "") -> None:
        self.text = text
        self._source = pattern
        # In each spelling of a secret its letters and digits stand for themselves: without the longest run of them
        # in a text, there is nothing to look for.
        self._anchor = max(_ALNUM.findall(text), key=len, default="")

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self._source)

    def cut(self, text: str) -> str:
        """``text`` without this spelling."""
        if self._anchor not in text:
            return text
        return self._pattern.sub(MARK, text) if self._source else text.replace(self.text, MARK)


def _pieces(value: str) -> Iterator[str]:
    """What of ``value`` is a secret: itself, each of its lines, and the password of an address."""
    whole = value.strip()
    lines = [line.strip() for line in whole.splitlines()]
    several = len(lines) > 1
    passwords = _IN_URL.findall(whole)
    for piece in (whole, *(lines if several else ()), *passwords):
        if several and piece in lines and (len(piece) < _LINE or _ARMOUR.fullmatch(piece)):
            continue
        ordinary = piece.casefold() in _ORDINARY or (piece.isdecimal() and len(piece) < _DIGITS_BELOW)
        if len(piece) >= _NEVER_BELOW and not ordinary:
            yield piece


def _is_weak(piece: str) -> bool:
    word = piece.isalpha() and (piece.islower() or piece.isupper())
    return len(piece) < _WEAK_BELOW or (word and len(piece) < _WORD_BELOW)


def _forms(piece: str, cores: Iterable[str]) -> Iterator[_Form]:
    plain = piece.isascii() and piece.isalnum()
    yield _Form(piece) if plain else _Form(piece, _spelled(piece))
    digits = piece.encode("utf-8", "surrogatepass").hex()
    yield _Form(digits)
    yield _Form(digits.upper())
    for core in cores:
        yield _Form(core) if core.isalnum() else _Form(core, _spelled(core, same={"+": "-", "/": "_"}))


def _cores(piece: str) -> tuple[str, ...]:
    """What is the same in every base64 text that holds ``piece``, for each place it may begin at within three bytes."""
    raw = piece.encode("utf-8", "surrogatepass")
    found = []
    for before in range(3):
        coded = base64.b64encode(bytes(before) + raw).decode("ascii")
        core = coded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        if len(core) >= _BASE64_CORE:
            found.append(core)
    return tuple(found)


def _windows(texts: Iterable[str]) -> Iterator[str]:
    """Every ``_WINDOW`` characters of ``texts`` that look random, in both alphabets of base64."""
    for text in texts:
        for one in {text, text.replace("+", "-").replace("/", "_")}:
            for start in range(min(len(one), _WINDOWS_OF) - _WINDOW + 1):
                window = one[start : start + _WINDOW]
                if _RANDOM.fullmatch(window):
                    yield window


def _spelled(text: str, *, same: Mapping[str, str] | None = None) -> str:
    """A pattern for ``text`` in which each special character may be quoted, escaped or encoded in any usual way.

    ``same``: other characters that stand for one.
    """
    parts = []
    for run in re.finditer(r"\\+|\s+|[A-Za-z0-9]+|.", text, re.DOTALL):
        found, one = run[0], run[0][0]
        if found.isascii() and found.isalnum():
            parts.append(found)
        elif one == "\\":
            parts.append(rf"(?:\\{{{len(found)},{len(found) * _NESTED}}}|(?:{_encoded(one)}){{{len(found)}}})")
        elif one.isspace():
            parts.append(_blank(found))
        else:
            twins = "".join(f"|{_encoded(twin)}" for twin in (same or {}).get(one, ""))
            parts.append(f"(?:{_encoded(one)}{twins})")
    return "".join(parts)


def _blank(found: str) -> str:
    """White space, which may be folded into a line's end (with pytest's margin, between quotes) or encoded."""
    exact = "".join(f"(?:{_encoded(one)})" for one in found)
    return rf"(?:{exact}|['\"]?\s*\n[\sE+|>-]*['\"]?|\s+|\++)"


def _encoded(one: str) -> str:
    """One special character: itself, behind backslashes, percent-encoded, as an escape, or as an entity of HTML."""
    point, raw = ord(one), one.encode("utf-8", "surrogatepass")
    units = one.encode("utf-16-be", "surrogatepass")
    escapes = [
        "".join(rf"{_SLASHES}u{_hex(units[n : n + 2].hex())}" for n in range(0, len(units), 2)),
        rf"{_SLASHES}U{_hex(f'{point:08x}')}",
        "".join(rf"{_SLASHES}x{_hex(f'{byte:02x}')}" for byte in raw),
        *([rf"{_SLASHES}x{_hex(f'{point:02x}')}"] if point < 256 else []),  # noqa: PLR2004  \x has two digits
        *([rf"{_SLASHES}{_LETTERS[one]}"] if one in _LETTERS else []),
    ]
    names = "".join(f"|{name}" for name in _NAMES.get(point, ()))
    ways = [
        "".join(f"%(?:25)*{_hex(f'{byte:02x}')}" for byte in raw),
        f"&(?:amp;)*(?:#0*{point}|#[xX]0*{_hex(f'{point:x}')}{names});",
        *escapes,
    ]
    if one == "'":
        ways.append(r"""'(?:"'"|\\')'""")  # as a shell is told of it
    if one != "\\":
        ways.append(rf"{_SLASHES}?{re.escape(one)}")
    return "|".join(ways)


def _hex(digits: str) -> str:
    return "".join(f"[{digit.lower()}{digit.upper()}]" if digit.isalpha() else digit for digit in digits)


def _head(text: str, end: int, secret: str) -> int:
    """How many characters before ``end`` are the beginning of ``secret``."""
    return next((n for n in range(len(secret), _STUB - 1, -1) if text.endswith(secret[:n], 0, end)), 0)


def _tail(text: str, start: int, secret: str) -> int:
    """How many characters from ``start`` on are the end of ``secret``."""
    return next((n for n in range(len(secret), _STUB - 1, -1) if text.startswith(secret[-n:], start)), 0)


def _marked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """``text`` with ``MARK`` in the place of each of ``spans``; those that meet become one."""
    done: list[str] = []
    end = 0
    for start, stop in sorted(spans):
        if start > end or not done:
            done += [text[end:start], MARK]
        end = max(end, stop)
    return "".join([*done, text[end:]])


SECRETS = Redactor()
"""The redactor of this process."""
