"""Ctrl-C while laju trains: once, not inside critical sections, and back to the handler that was there."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from laju.lab.workers import interrupts
from laju.lab.workers.interrupts import Interrupts

pytestmark = pytest.mark.skipif(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="this process ignores Ctrl-C")


def press() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def pressed_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two signals are two presses, however soon they follow one another."""
    monkeypatch.setattr(interrupts, "SAME", 0)


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """The signals that a handler of the user's has heard."""
    found: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: found.append(number))
    yield found
    signal.signal(signal.SIGINT, before)


def interrupted(run: Callable[[Interrupts, list[str]], None]) -> list[str]:
    """The places that a function in an `Interrupts` block comes to, whose end is a KeyboardInterrupt."""
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as block:
        run(block, reached)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return reached


def test_ctrl_c_raises_at_once_outside_a_held_section_and_at_the_end_of_one() -> None:
    def outside(block: Interrupts, reached: list[str]) -> None:
        press()
        reached.append("not here")

    def inside(block: Interrupts, reached: list[str]) -> None:
        with block.held():
            press()
            reached.append("the end of the section")
        reached.append("not here")

    assert interrupted(outside) == []
    assert interrupted(inside) == ["the end of the section"]


def test_ctrl_c_in_a_section_that_fails_is_not_lost() -> None:
    def failing(block: Interrupts, reached: list[str]) -> None:
        with block.held():
            press()
            raise ValueError

    assert interrupted(failing) == []


def test_a_section_inside_a_section_does_not_end_the_outer_one() -> None:
    def nested(outer: Interrupts, reached: list[str]) -> None:
        with outer.held():
            with Interrupts() as inner, inner.held(), outer.held():
                press()
            reached.append("the end")

    assert interrupted(nested) == ["the end"]


@pytest.mark.usefixtures("pressed_slowly")
def test_a_second_ctrl_c_ends_a_section_and_a_cleanup_but_not_what_must_be_whole() -> None:
    def section(block: Interrupts, reached: list[str]) -> None:
        with block.held():
            press()
            reached.append("after the first")
            press()
            reached.append("not here")

    def whole(block: Interrupts, reached: list[str]) -> None:
        with block.held(whole=True):
            press()
            press()
            press()
            reached.append("the end")

    assert interrupted(section) == ["after the first"]
    assert interrupted(cleanup) == []
    assert interrupted(whole) == ["the end"]


def cleanup(block: Interrupts, reached: list[str]) -> None:
    try:
        press()
    finally:
        press()
        reached.append("the end of the cleanup")


def test_signals_that_follow_at_once_are_one_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "SAME", 3600)
    assert interrupted(cleanup) == ["the end of the cleanup"]  # `timeout` sends a signal twice


@pytest.mark.usefixtures("pressed_slowly")
def test_a_handler_of_the_users_hears_every_ctrl_c_and_is_there_again(heard: list[int]) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with Interrupts() as watch:
        press()
        assert len(heard) == 1
        with watch.held():
            press()
            assert len(heard) == 1
        assert len(heard) == 2
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("ignored", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it(ignored: Any) -> None:
    before = signal.signal(signal.SIGINT, ignored)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGINT) == ignored
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_changes_no_handler() -> None:
    found = []

    def run() -> None:
        with Interrupts() as watch, watch.held():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
