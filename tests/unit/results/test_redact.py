from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest

from pytest_ccci.results.redact import Redactor

SECRET = 'p4ss "wörd"/+'


@pytest.mark.parametrize(
    "form",
    [SECRET, quote(SECRET, safe=""), json.dumps(SECRET)[1:-1], base64.b64encode(SECRET.encode()).decode()],
)
def test_a_secret_is_cut_out_in_each_of_its_usual_forms(form: str) -> None:
    redactor = Redactor([SECRET])
    assert redactor.scrub(f"before {form} after") == "before [secret] after"
    assert redactor.finds(form)


def test_a_secret_that_contains_another_is_cut_as_a_whole() -> None:
    assert Redactor(["token", "token-and-more"]).scrub("x token-and-more y token") == "x [secret] y [secret]"


def test_words_too_short_to_be_secrets_stay() -> None:
    redactor = Redactor(["", "a", "pass"])
    assert not redactor
    assert redactor.scrub("a pass") == "a pass"


def test_a_redactor_does_not_show_what_it_hides() -> None:
    assert "hunter" not in repr(Redactor(["hunter2-hunter2"]))
