"""The clock: own time per stage, waits and nested stages taken off."""

import time
from collections.abc import Iterable, Iterator

import pytest

from videomatte.engine import Clock, Threads


def slow(items: Iterable[int], seconds: float) -> Iterator[int]:
    for i in items:
        time.sleep(seconds)
        yield i


def test_nested_stages_count_their_own_time_alone() -> None:
    clock = Clock()
    line = clock.stage("outer", slow(clock.stage("inner", slow(range(5), 0.02)), 0.04))
    started = time.perf_counter()
    assert list(line) == list(range(5))
    elapsed = time.perf_counter() - started
    seconds = {s.name: s.seconds for s in clock.report()}
    # sleep never returns early, and what is counted twice adds up to more than the clock on the wall
    assert seconds["inner"] >= 0.1
    assert seconds["outer"] >= 0.2
    assert seconds["inner"] + seconds["outer"] <= elapsed
    assert sum(s.share for s in clock.report()) == pytest.approx(1)
    assert clock.items("inner") == clock.items("outer") == 5


def test_waiting_for_a_neighbour_counts_for_nobody() -> None:
    clock = Clock()
    with Threads() as threads, clock.span("encode"):
        items = threads.boundary(clock.stage("decode", slow(range(5), 0.04)))
        assert len(list(clock.stage(None, items))) == 5
    seconds = {s.name: s.seconds for s in clock.report()}
    assert seconds["decode"] >= 0.2
    assert seconds["encode"] < seconds["decode"], "this thread did nothing but wait for the other"


def test_closing_a_stage_closes_what_it_runs() -> None:
    closed = []

    def source() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.append(True)

    line = Clock().stage("a", source())
    next(line)
    line.close()  # type: ignore[attr-defined]
    assert closed == [True]
