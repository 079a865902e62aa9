"""Successive halving on costs that are known, and a duel that noise cannot win."""

import itertools
import math
import random
import statistics

import pytest

from videomatte.engine.halving import duel, successive_halving

COSTS = {
    (batch, precision, threads): 1.0 / batch**0.2 + (0.0 if precision == "bf16" else 0.4) + 0.1 * abs(threads - 2)
    for batch, precision, threads in itertools.product((1, 2, 4), ("fp32", "bf16"), (0, 1, 2))
}
BEST = min(COSTS, key=COSTS.__getitem__)
DEFAULT = (1, "fp32", 0)


def test_the_best_is_found_without_measuring_all_for_long() -> None:
    spent = 0

    def measure(candidate: tuple[int, str, int], frames: int) -> float:
        nonlocal spent
        spent += frames
        return COSTS[candidate]

    candidates = [DEFAULT, *(c for c in COSTS if c != DEFAULT)]
    trials, rival = successive_halving(candidates, measure, first=4, last=32)
    assert rival == BEST
    assert trials[-1].frames == 32
    assert any(t.candidate == DEFAULT for t in trials[-3:])
    # 18 on 4 frames, 9 on 8, 5 on 16 and 3 on 32, each twice.
    assert spent == 2 * (18 * 4 + 9 * 8 + 5 * 16 + 3 * 32)


def test_short_rounds_are_noisy_and_the_best_survives_them() -> None:
    noise = random.Random(1)

    def measure(candidate: tuple[int, str, int], frames: int) -> float:
        return COSTS[candidate] * (1 + noise.gauss(0, 0.1) / math.sqrt(frames))

    candidates = [DEFAULT, *(c for c in COSTS if c != DEFAULT)]
    found = 0
    for _ in range(50):
        _, rival = successive_halving(candidates, measure, first=4, last=32)
        assert rival is not None
        found += COSTS[rival] <= 1.05 * COSTS[BEST]
    assert found >= 48  # noise of 5 % and less in a round, and the best are up to 30 % apart


def test_what_cannot_run_is_dropped_and_the_default_always_stays() -> None:
    def measure(candidate: int, frames: int) -> float:
        return math.inf if candidate > 3 else 1.0 + candidate * 0.1

    trials, rival = successive_halving(list(range(8)), measure, first=2, last=8)
    assert rival == 1
    assert all(t.median < math.inf for t in trials if t.frames > 2)
    assert successive_halving([0, 8, 9], measure, first=2, last=8)[1] is None
    assert successive_halving([0, 1], measure, first=2, last=8) == ([], 1)
    assert successive_halving([0], measure, first=2, last=8) == ([], None)


def test_a_duel_of_equals_keeps_the_default_but_for_rare_luck() -> None:
    noise = random.Random(2)
    won = sum(duel("default", "rival", lambda *_: 1 + noise.gauss(0, 0.05), frames=8).won for _ in range(2000))
    # One in 2^5 by chance, a binomial with a deviation of 8.
    assert won == pytest.approx(2000 / 32, abs=4 * 8)


def test_a_duel_never_chooses_what_is_slower_in_any_round() -> None:
    noise = random.Random(3)
    for _ in range(500):
        speed = {"default": 1.0, "rival": noise.uniform(0.7, 1.3)}
        fight = duel("default", "rival", lambda c, _, s=speed: s[c] * (1 + noise.gauss(0, 0.02)), frames=8)
        slower = any(r >= d for d, r in zip(fight.default.seconds, fight.rival.seconds, strict=True))
        assert fight.chosen == ("default" if slower else "rival")
        if fight.won:
            assert statistics.median(fight.rival.seconds) < statistics.median(fight.default.seconds)
    assert duel("default", "rival", lambda c, _: {"default": 1.0, "rival": 0.5}[c], frames=1).gain == 2
