"""Keeps registered secrets out of any text we show or store."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

__all__ = ["MARK", "SECRETS", "Redactor"]

MARK = "[secret]"

# Shorter values are words of ordinary text; cutting them out would make reports unreadable and hide nothing.
_SHORTEST = 5


class Redactor:
    """Remembers secret values and cuts them, and their usual encodings, out of text."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._forms: tuple[str, ...] = ()
        self.register(*values)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._forms)} forms>"

    def __bool__(self) -> bool:
        return bool(self._forms)

    def register(self, *values: str) -> None:
        """Add secret values. Values shorter than five characters are no secrets."""
        forms = set(self._forms)
        for value in values:
            if len(value) >= _SHORTEST:
                forms |= _encodings(value)
        # The longest first: a secret that contains another is cut as a whole.
        self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))

    def scrub(self, text: str) -> str:
        """``text`` with every registered secret replaced by ``[secret]``."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MARK)
        return text

    def finds(self, text: str) -> bool:
        """Whether ``text`` holds a registered secret."""
        return any(form in text for form in self._forms)


def _encodings(value: str) -> set[str]:
    raw = value.encode()
    forms = {value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1], repr(value)[1:-1]}
    return forms | {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode().rstrip("=")}


# The secrets of this process: whoever makes or reads one registers it here, before it is used.
SECRETS = Redactor()
