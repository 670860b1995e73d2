from __future__ import annotations

import base64
import html
import json
import shlex
import string
import textwrap
import urllib.parse
import warnings
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_ccci.errors import Verdict
from pytest_ccci.redact import MARK, Redactor, harmless, without_secrets

SECRET = 'p4ss "wörd"/+'

# Values as they are made (abra's alphabets, token_urlsafe), and as people give them.
MADE = st.text(string.ascii_letters + string.digits + "!@#%^&*_-+=", min_size=14, max_size=64)
GIVEN = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), include_characters=" \"'\\&<>/+%$"),
    min_size=12,
    max_size=40,
).filter(lambda text: text == text.strip() and len(set(text)) > 6 and any(c.isalnum() for c in text))
SECRETS = MADE.filter(lambda text: len(set(text)) > 6) | GIVEN
AROUND = st.text(string.ascii_letters + string.digits + " :@=,.", max_size=9)


ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "quote": lambda text: quote(text, safe=""),
    "quote but slashes": quote,
    "quote_plus": quote_plus,
    "quoted twice": lambda text: quote(quote(text, safe=""), safe=""),
    "quoted in lower case": lambda text: "".join(
        c if c.isascii() and c.isalnum() else "".join(f"%{byte:02x}" for byte in c.encode()) for c in text
    ),
    "json": lambda text: json.dumps(text)[1:-1],
    "json in utf-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "json in json": lambda text: json.dumps(json.dumps({"a": text})),
    "html": html.escape,
    "html by number": lambda text: "".join(c if c.isascii() and c.isalnum() else f"&#{ord(c)};" for c in text),
    "html by hex number": lambda text: "".join(c if c.isascii() and c.isalnum() else f"&#x{ord(c):X};" for c in text),
    "shell": shlex.quote,
    "shell by backslash": lambda text: "".join(c if c.isalnum() else f"\\{c}" for c in text),
    "repr": repr,
    "repr of bytes": lambda text: repr(text.encode()),
    "ascii": ascii,
    "repr of repr": lambda text: repr(repr(text)),
    "hex": lambda text: text.encode().hex(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 without padding": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "urlsafe base64": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "basic, one before": lambda text: base64.b64encode(f":{text}".encode()).decode(),
    "basic, two before": lambda text: base64.b64encode(f"u:{text}".encode()).decode(),
    "basic, three before": lambda text: base64.b64encode(f"me:{text}:more".encode()).decode(),
    "base64, quoted": lambda text: quote(base64.b64encode(f"me:{text}".encode()), safe=""),
}


@pytest.mark.parametrize("name", ENCODINGS)
@settings(deadline=None, max_examples=25)
@given(secret=SECRETS, before=AROUND, after=AROUND)
def test_a_secret_is_cut_out_in_every_usual_encoding(name: str, secret: str, before: str, after: str) -> None:
    shown = f"{before} {ENCODINGS[name](secret)} {after}"
    scrubbed = Redactor([secret]).scrub(shown)
    assert MARK in scrubbed
    assert not _tells(scrubbed, secret)
    assert not Redactor([secret]).finds(scrubbed)


@pytest.mark.parametrize("name", ENCODINGS)
@settings(deadline=None, max_examples=25)
@given(secret=MADE.filter(lambda text: len(set(text)) > 6))
def test_without_a_redactor_each_encoding_tells_the_secret(name: str, secret: str) -> None:
    """The falsification of the test above: what it looks for is there when nothing is hidden."""
    nothing = Redactor()
    assert _tells(nothing.scrub(ENCODINGS[name](secret)), secret)


@settings(deadline=None, max_examples=25)
@given(secret=SECRETS, text=st.text(string.printable, max_size=60))
def test_what_holds_no_secret_stays_as_it_is(secret: str, text: str) -> None:
    assume(not any(secret[n : n + 6] in text for n in range(len(secret) - 5)))
    assert Redactor([secret]).scrub(text) == text


@settings(deadline=None, max_examples=25)
@given(secrets=st.lists(SECRETS, min_size=1, max_size=4))
def test_scrubbing_twice_changes_nothing_more(secrets: list[str]) -> None:
    redactor = Redactor(secrets)
    once = redactor.scrub(" ".join(secrets))
    assert redactor.scrub(once) == once


def _unescaped(text: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python does not know
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape", "replace")


def _tells(text: str, secret: str) -> bool:
    """Whether somebody who reads ``text`` learns ``secret``: decoded by other means than the redactor's own."""
    layers = [text]
    for decode in (
        urllib.parse.unquote,
        urllib.parse.unquote_plus,
        html.unescape,
        lambda t: t.replace("'\"'\"'", "'"),
        _unescaped,
        lambda t: t.replace("\\", ""),
    ):
        layers += [decode(layer) for layer in tuple(layers)]
    if any(secret in layer for layer in layers):
        return True
    raw = secret.encode()
    for word in urllib.parse.unquote(text).split():
        for start in range(4):
            plain = word[start:].rstrip("=").replace("-", "+").replace("_", "/")
            try:
                if raw in base64.b64decode(plain[: len(plain) // 4 * 4] + _rest(plain)):
                    return True
            except ValueError:
                continue
    return secret.encode().hex() in text


def _rest(text: str) -> str:
    over = len(text) % 4
    return text[-over:] + "=" * (4 - over) if over > 1 else ""


@pytest.mark.parametrize(
    "form",
    [SECRET, quote(SECRET, safe=""), json.dumps(SECRET)[1:-1], html.escape(SECRET), f"{SECRET!r}"[1:-1]],
)
def test_no_more_than_the_secret_is_cut_out(form: str) -> None:
    redactor = Redactor([SECRET])
    assert redactor.scrub(f"before {form} after") == "before [secret] after"
    assert redactor.finds(form)


def test_a_secret_that_contains_another_is_cut_as_a_whole() -> None:
    redactor = Redactor(["token-5", "token-5-and-more"])
    assert redactor.scrub("x token-5-and-more y token-5") == "x [secret] y [secret]"


def test_a_secret_that_is_learned_late_is_cut_from_then_on() -> None:
    redactor = Redactor()
    assert redactor.scrub("hunter2-hunter2") == "hunter2-hunter2"
    redactor.learn("hunter2-hunter2")
    assert redactor.scrub("hunter2-hunter2") == "[secret]"


@pytest.mark.parametrize("word", ["", "a", "abc", "admin", "Admin", "test", "postgres", "password", "5432"])
def test_words_that_every_log_has_are_no_secrets(word: str) -> None:
    redactor = Redactor([word])
    assert not redactor
    assert redactor.scrub(f"see {word} here") == f"see {word} here"


@pytest.mark.parametrize("value", ["demo1", "x9k2", "blog", "keyhole", "documents"])
def test_a_weak_secret_is_cut_as_a_whole_word_only(value: str) -> None:
    redactor = Redactor([value])
    assert redactor.scrub(f"un{value}ed {value}s {value}_x") == f"un{value}ed {value}s {value}_x"
    for shown in (value, f"'{value}'", f"://u:{value}@db", f"={value}&", f"%3A{value}%40", f"\\n{value}\\n"):
        assert redactor.scrub(shown) == shown.replace(value, MARK)


@pytest.mark.parametrize("user", ["a", "me", "you", "root"])
def test_a_weak_secret_is_found_in_a_basic_authorization(user: str) -> None:
    header = base64.b64encode(f"{user}:x9k2".encode()).decode()
    assert Redactor(["x9k2"]).scrub(f"Authorization: Basic {header}") in {
        f"Authorization: Basic {MARK}{pad}" for pad in ("", "=", "==")
    }


def test_each_line_of_a_secret_of_several_lines_is_a_secret_but_not_its_armour() -> None:
    lines = [f"-----{'BEGIN'} PRIVATE KEY-----", "MIIBVgIBADANBgkqhkiG9w0", "x}", "-----END PRIVATE KEY-----"]
    redactor = Redactor(["\n".join(lines) + "\n"])
    assert redactor.scrub("got MIIBVgIBADANBgkqhkiG9w0 x} END") == "got [secret] x} END"
    assert redactor.scrub(lines[0]) == lines[0]
    assert redactor.scrub(json.dumps("\n".join(lines))) == '"[secret]"'


def test_the_password_of_an_address_is_a_secret_too() -> None:
    assert Redactor(["postgres://app:s3cr3t-x9@db/app"]).scrub("for app: s3cr3t-x9") == "for app: [secret]"


LONG = "Vx7pQ2mW9zKc4RtY8bNs3LfH6jDg1aEu"


@pytest.mark.parametrize("cut", range(6, 31, 4))
def test_what_is_left_of_a_shortened_secret_is_cut(cut: int) -> None:
    redactor = Redactor([LONG])
    for dots in ("...", "…"):
        assert redactor.scrub(f"see {LONG[:cut]}{dots}") == f"see [secret]{dots}"
        assert redactor.scrub(f"{dots}{LONG[-cut:]}'") == f"{dots}[secret]'"


def test_what_is_left_of_a_wrapped_secret_is_cut() -> None:
    redactor = Redactor([LONG])
    assert redactor.scrub("\n".join(textwrap.wrap(LONG, 16))) == "[secret]\n[secret]"
    blob = base64.encodebytes(f"{'x' * 41}{LONG}".encode()).decode()
    scrubbed = redactor.scrub(blob)
    assert LONG[:12] in base64.b64decode(blob.split()[0]).decode()
    assert scrubbed.count(MARK) == 2
    assert len(scrubbed) < len(blob) - len(LONG) + 8


def test_a_passphrase_that_was_folded_is_cut() -> None:
    phrase = "seven wordy horses graze by the river"
    folded = textwrap.fill(phrase, 16, subsequent_indent="E     ")
    assert Redactor([phrase]).scrub(folded) == MARK


def test_structures_are_scrubbed_string_by_string_and_stay_what_they_are() -> None:
    redactor = Redactor(["pass5", LONG])
    value = {"a": [LONG, 1, None, (f"x {LONG}",)], LONG: True, "verdict": "pass5", "kind": Verdict.PASS}
    assert redactor.scrub_all(value, but=frozenset({"verdict"})) == {
        "a": [MARK, 1, None, (f"x {MARK}",)],
        MARK: True,
        "verdict": "pass5",
        "kind": Verdict.PASS,
    }
    assert value["a"][0] == LONG  # type: ignore[index]  # what was given is as it was


def test_a_redactor_does_not_show_what_it_hides() -> None:
    assert "hunter" not in repr(Redactor(["hunter2-hunter2"]))


def test_many_backslashes_are_no_trap() -> None:
    redactor = Redactor(["\\" * 30 + "ab" + "\\" * 30, "'\"\\" * 10 + "xy9"])
    assert redactor.scrub("\\" * 50_000 + "ab xy9") == "\\" * 50_000 + "ab xy9"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("LANGUAGE", "fr", "fr"),
        ("SECRET_DB_PASSWORD_VERSION", "v1", "v1"),
        ("DB_PASSWORD_FILE", "/run/secrets/db_password", "/run/secrets/db_password"),
        ("TOKEN_URL", "https://id.ci.test/token", "https://id.ci.test/token"),
        ("SMTP_PASSWORD", "hunter2", MARK),
        ("smtp_pwd", "hunter2", MARK),
        ("SECRET_KEY", "k", MARK),
        ("S3_ACCESS_KEY", "k", MARK),
        ("APIKEY", "k", MARK),
        ("GITHUB_TOKEN", "k", MARK),
        ("KEYBOARD", "fr", "fr"),
        ("EMPTY_SECRET", "", ""),
        ("DATABASE_URL", "postgres://u:hunter2@db:5432/x", f"postgres://{MARK}@db:5432/x"),
        ("BROKER", "amqp://:hunter2@mq", f"amqp://{MARK}@mq"),
        ("HOME_PAGE", "https://ci.test/@me:too", "https://ci.test/@me:too"),
    ],
)
def test_an_environment_is_shown_without_what_its_names_say_is_secret(name: str, value: str, shown: str) -> None:
    assert without_secrets({name: value}) == {name: shown}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tand a tab\r", "two\nlines\tand a tab\r"),
        ("\x1b[1;31mred\x1b[0m \x1b[2K\x1b[1A", "\x1b[1;31mred\x1b[0m \x1b[2K\x1b[1A"),
        ("grüße 日本語 🙂", "grüße 日本語 🙂"),
        ("\x1b[2J\x1b[H\x1bc", "\\x1b[2J\\x1b[H\\x1bc"),
        ("\x1b]0;owned\x07\x1bPq\x1b\\", "\\x1b]0;owned\\x07\\x1bPq\\x1b\\"),
        ("\x9b2J\x08\x7f\0", "\\x9b2J\\x08\\x7f\\x00"),
        ("a\u202eb\u2066\u200b\ufeff\xad", "a\\u202eb\\u2066\\u200b\\ufeff\\xad"),
    ],
)
def test_of_a_text_only_colours_and_lines_are_obeyed(text: str, shown: str) -> None:
    assert harmless(text) == shown
