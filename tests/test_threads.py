"""Thread boundaries: order, bounds, errors handed on, everything joined."""

import threading
import time
from collections.abc import Iterator

import pytest

from videomatte.engine import Threads
from videomatte.errors import VideomatteError


def alive() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("videomatte")]


def test_items_arrive_once_in_order_through_nested_boundaries() -> None:
    with Threads() as threads:
        doubled = threads.boundary(2 * i for i in threads.boundary(range(1000), depth=3))
        assert list(doubled) == [2 * i for i in range(1000)]
    assert not alive()


@pytest.mark.parametrize("depth", [1, 4])
def test_producer_never_runs_further_ahead_than_depth(depth: int) -> None:
    made = 0

    def numbers() -> Iterator[int]:
        nonlocal made
        for i in range(50):
            made += 1
            yield i

    with Threads() as threads:
        for taken, _ in enumerate(threads.boundary(numbers(), depth=depth), start=1):
            time.sleep(0.002)  # long enough for the producer to overrun if nothing held it
            # the items waiting, plus the one the worker holds while it waits for room
            assert made <= taken + depth + 1


def test_error_arrives_after_the_items_before_it_and_keeps_its_traceback() -> None:
    def failing() -> Iterator[int]:
        yield from range(3)
        raise KeyError("seven")

    taken = []
    with pytest.raises(KeyError, match="seven") as caught, Threads() as threads:
        taken.extend(threads.boundary(failing()))
    # extend keeps what it got before the error only where it iterates item by item
    assert caught.traceback[-1].name == "failing"
    assert not alive()
    with Threads() as threads:
        items = threads.boundary(failing())
        assert [next(items), next(items), next(items)] == [0, 1, 2]
        with pytest.raises(KeyError):
            next(items)


def test_error_passes_through_two_boundaries() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("deep")

    with pytest.raises(ValueError, match="deep"), Threads() as threads:
        for _ in threads.boundary(i for i in threads.boundary(failing())):
            pass
    assert not alive()


@pytest.mark.parametrize("error", [RuntimeError("consumer"), KeyboardInterrupt()])
def test_consumer_death_stops_workers_that_wait_for_room_and_for_items(error: BaseException) -> None:
    closed = []

    def endless() -> Iterator[int]:
        try:
            i = 0
            while True:
                yield (i := i + 1)
        finally:
            closed.append(threading.current_thread().name)

    def fail_on_third(items: Iterator[int]) -> None:
        for i in items:
            if i == 3:
                raise error

    started = time.monotonic()
    with pytest.raises(type(error)), Threads() as threads:
        fail_on_third(threads.boundary(i for i in threads.boundary(endless(), depth=1)))
    assert not alive()
    assert closed == ["videomatte-boundary"], "a generator is closed in the thread that ran it"
    assert time.monotonic() - started < 5, "the promise to users: nothing waits on after a failure"


def test_worker_that_waits_for_a_stalled_upstream_is_released() -> None:
    release = threading.Event()

    def stalled() -> Iterator[int]:
        yield 1
        release.wait(30)
        yield 2

    def take_first() -> None:
        with Threads() as threads:
            items = threads.boundary(i for i in threads.boundary(stalled()))
            assert next(items) == 1
            threading.Timer(0.1, release.set).start()  # the stall ends; nobody asks for 2 any more
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        take_first()
    assert not alive()


@pytest.mark.parametrize("begins_later", [False, True])
def test_interrupt_while_a_worker_is_being_started_stays_an_interrupt(
    begins_later: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the request for a thread and its first step, where the thread cannot be joined yet."""
    began: list[threading.Thread] = []
    taken: list[int] = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        began.append(thread)
        raise KeyboardInterrupt

    def items() -> Iterator[int]:
        taken.append(1)
        yield 1

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), Threads() as threads:
        threads.boundary(items())
    monkeypatch.undo()
    if begins_later:
        start(began[0])
        began[0].join()
    assert not taken, "nobody reads from it any more"


def test_depth_below_one_is_refused() -> None:
    with Threads() as threads, pytest.raises(VideomatteError, match="depth"):
        threads.boundary([1], depth=0)


def test_who_waits_learns_whether_all_workers_have_come_to_their_end() -> None:
    go_on = threading.Event()

    def held() -> Iterator[int]:
        go_on.wait(30)
        yield 1

    with Threads() as threads:
        threads.boundary([1, 2], depth=2)
        assert threads.finished(patience=30)
        items = threads.boundary(held())
        assert not threads.finished(patience=0.05)
        go_on.set()
        assert threads.finished(patience=30)
        assert list(items) == [1], "what they made can still be had"
