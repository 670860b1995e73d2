from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.engine.containers import exec_in_container
from pytest_ccci.errors import DeadlineExceeded

Frame = tuple[bytes | None, bytes | None]


class Stream:
    """What the SDK gives for an exec: it goes on until the program ends, or somebody closes it."""

    def __init__(self, *frames: Frame, ends: bool, chatty: bool = False) -> None:
        self._frames, self._ends, self._chatty = frames, ends, chatty
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        yield from self._frames
        while not self._ends and not self.closed.wait(0.01 if self._chatty else 20):
            if not self._chatty:
                raise AssertionError("nobody closed the stream")
            yield b"still at it\n", None

    def close(self) -> None:
        self.closed.set()


def engine_of(stream: Stream, *, rc: int = 0) -> Any:
    api = SimpleNamespace(
        exec_create=lambda *_args, **_options: {"Id": "x"},
        exec_start=lambda *_args, **_options: stream,
        exec_inspect=lambda _handle: {"ExitCode": rc},
        close=lambda: None,
    )
    return SimpleNamespace(new_api=lambda **_options: api)


def test_what_a_program_prints_and_how_it_ends_is_returned() -> None:
    stream = Stream((b"one\n", None), (None, b"two\xff\n"), (b"three\n", None), ends=True)
    done = exec_in_container(engine_of(stream, rc=3), "c", ["sh"])
    assert (done.rc, done.stdout, done.stderr) == (3, "one\nthree\n", "two\ufffd\n")
    assert stream.closed.is_set()


@pytest.mark.parametrize(("chatty", "said"), [(True, "still at it"), (False, "it printed nothing")])
def test_a_program_that_never_ends_is_given_up_whether_it_talks_or_not(chatty: bool, said: str) -> None:
    stream = Stream(ends=False, chatty=chatty)
    with pytest.raises(DeadlineExceeded, match=r"sh in db did not end within 0 s") as caught:
        exec_in_container(engine_of(stream), "c", ["sh"], timeout=0.2, where="db")
    assert caught.value.seen == said
