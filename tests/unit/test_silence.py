from __future__ import annotations

import pytest
from silence import Silence


@pytest.mark.parametrize(
    ("answers", "total", "longest"),
    [
        ("", 0, 0),
        ("yyyy", 0, 0),
        ("yynnny", 4, 4),
        ("nnny", 3, 3),
        ("ynyny", 4, 2),
        ("yynnn", 4, 4),
        ("ynyynnny", 6, 4),
    ],
)
def test_silence_lasts_from_the_last_answer_to_the_next(answers: str, total: float, longest: float) -> None:
    heard = Silence()
    for second, answer in enumerate(answers):
        heard.note(second, answered=answer == "y")
    heard.end(len(answers))

    assert (heard.total, heard.longest, heard.asked) == (total, longest, len(answers) + (answers[-1:] == "n"))
