"""The dispatch nearest to what was ordered, against a solver that knows nothing of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from gridrl.env.kernels_dispatch import redispatch_nearest

TINY, TOLERANCE = 1e-9, 1e-4


def solve(seed: int, n: int, some: float) -> tuple[dict[str, np.ndarray], bool]:
    """One random problem and what the kernel makes of it."""
    rng = np.random.default_rng(seed)
    p_max = rng.uniform(0.5, 2.0, n)
    now = p_max * rng.uniform(0.2, 0.8, n)
    ramp = p_max * rng.uniform(0.05, 0.3, n)
    modified = rng.random(n) < some
    actual = np.where(modified, rng.uniform(-0.05, 0.05, n), 0.0)
    actual -= actual.mean() * modified
    target = np.where(modified, actual + rng.uniform(-1, 1, n) * ramp, 0.0)
    problem = {
        "p_max": p_max, "ramp": ramp, "modified": modified, "actual": actual, "target": target,
        "new_p": now, "set_point": now + actual, "owed": np.array([rng.uniform(-0.1, 0.1)]),
    }  # fmt: skip
    gens = (np.ones(n, np.bool_), np.zeros(n, np.bool_), np.zeros(n), p_max, ramp, ramp)
    moved = actual.copy()[None]
    arrays = (
        target[None], moved, problem["set_point"][None], np.ones((1, n)), modified[None],
        np.zeros((1, 0)), np.zeros((1, 0)), np.zeros((1, 2)),
    )  # fmt: skip
    over = np.zeros(1, np.bool_)
    redispatch_nearest(
        np.ones(1, np.bool_), problem["owed"], gens, np.arange(n), (1 / 12, TOLERANCE, TINY, True),
        arrays, now[None].copy(), over,
    )  # fmt: skip
    problem["found"] = moved[0] - actual
    return problem, bool(over[0])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 7), st.floats(0.0, 1.0))
def test_it_is_the_constrained_least_squares_solution(seed: int, n: int, some: float) -> None:
    problem, over = solve(seed, n, some)
    low = np.maximum(-problem["set_point"], -problem["ramp"])
    high = np.minimum(problem["p_max"] - problem["set_point"], problem["ramp"])
    owed = problem["owed"][0]
    assert over == (not low.sum() <= owed <= high.sum())
    if over:
        return
    x, modified = problem["found"], problem["modified"]
    assert x.sum() == pytest.approx(owed, abs=1e-9)
    assert (x >= low - 1e-9).all()
    assert (x <= high + 1e-9).all()
    wish = problem["target"] - problem["actual"]
    counts = modified if modified.any() else np.ones(n, np.bool_)
    weight = np.where(counts, 1.0 / (2 * problem["ramp"] + 0.01 * TOLERANCE), 0.0)

    def cost(y: np.ndarray) -> float:
        return float((weight * (y - wish) ** 2).sum())

    best = minimize(
        cost, np.clip(np.full(n, owed / n), low, high), method="SLSQP",
        bounds=list(zip(low, high, strict=True)), options={"ftol": 1e-14, "maxiter": 500},
        constraints=[{"type": "eq", "fun": lambda y: y.sum() - owed}],
    )  # fmt: skip
    assert cost(x) <= best.fun + 1e-7  # the judge itself stops at its tolerance


def test_generators_without_an_order_make_up_by_their_ramps() -> None:
    n = 3
    gens = (np.ones(n, np.bool_), np.zeros(n, np.bool_), np.zeros(n), np.ones(n),
            np.array([0.1, 0.1, 0.3]), np.array([0.1, 0.1, 0.3]))  # fmt: skip
    actual = np.zeros((1, n))
    now = np.full((1, n), 0.5)
    arrays = (np.array([[0.04, 0.0, 0.0]]), actual, now.copy(), np.ones((1, n)),
              np.array([[True, False, False]]), np.zeros((1, 0)), np.zeros((1, 0)),
              np.zeros((1, 2)))  # fmt: skip
    over = np.zeros(1, np.bool_)
    redispatch_nearest(
        np.ones(1, np.bool_), np.zeros(1), gens, np.arange(n), (1 / 12, 1e-9, 1e-12, True), arrays,
        now, over,
    )  # fmt: skip
    np.testing.assert_allclose(actual[0], [0.04, -0.01, -0.03], atol=1e-9)
