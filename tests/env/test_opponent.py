"""When opponents attack, and what: shares and times against their definitions, and Grid2Op."""

from dataclasses import replace

import numpy as np
import pytest

from gridrl.env.kernels_opponent import attack
from gridrl.env.opponent import Opponent
from gridrl.errors import ScenarioError

N = 20_000


def first_attacks(
    opponent: Opponent, rho: np.ndarray, closed: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """[N] step of the first attack of many opponents that see the same grid, and its line."""
    seed = np.random.default_rng(1).integers(2**64, size=N, dtype=np.uint64)
    budget = np.full(N, opponent.budget)
    line, left, wait = np.full(N, -1, np.int32), np.zeros(N, np.int32), np.full(N, -1, np.int32)
    pause = np.full(N, opponent.cooldown, np.int32)
    when, what = np.full(N, -1), np.full(N, -1)
    for k in range(steps):
        attack(
            np.ones(N, np.bool_), seed, np.full(N, k + 1), np.tile(rho, (N, 1)),
            np.tile(closed, (N, 1)), np.array(opponent.lines), np.array(opponent.weight),
            opponent.settings, budget, line, left, pause, wait,
        )  # fmt: skip
        new = (line >= 0) & (when < 0)
        when[new], what[new] = k, line[new]
    return when, what


def test_a_weighted_opponent_prefers_lines_loaded_more_than_usual() -> None:
    foe = Opponent(
        lines=np.array([0, 2, 3, 4]), weight=1.0 / np.array([0.5, 0.25, 1.0, 0.4]), by_loading=True,
        period=40, duration=5, cooldown=100, budget=100.0,
    )  # fmt: skip
    rho, closed = np.array([0.5, 9.9, 0.5, 1.0, 0.9]), np.array([1, 1, 1, 1, 0], np.bool_)
    when, what = first_attacks(foe, rho, closed, 40)
    assert set(what.tolist()) == {0, 2, 3}  # line 1 is not its, line 4 is open
    # rho / rho_normalization is 1, 2 and 1; deviations of a share are below 0.0036
    shares = np.bincount(what, minlength=5) / N
    np.testing.assert_allclose(shares[[0, 2, 3]], [0.25, 0.5, 0.25], atol=0.015)
    # uniform over the 40 steps: deviation of a share 0.0011
    times = np.bincount(when, minlength=40) / N
    np.testing.assert_allclose(times, 1.0 / 40.0, atol=0.0055)
    assert abs(np.corrcoef(when, what)[0, 1]) < 0.03  # two draws, not one


def test_an_opponent_waits_for_its_budget() -> None:
    foe = Opponent(
        lines=np.array([0]), weight=np.ones(1), duration=6, cooldown=20, budget=1.0,
        budget_per_step=0.5,
    )  # fmt: skip
    when, _ = first_attacks(foe, np.ones(1), np.ones(1, np.bool_), 12)
    assert (when == 9).all()  # 1 + 0.5 for each step, the present one too, make 6 in the tenth


def test_periods_are_whole_steps() -> None:
    with pytest.raises(ScenarioError, match="period of the opponent is 0; give 1 step or more"):
        Opponent(lines=np.array([0]), weight=np.ones(1), period=0)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("weighted", (False, True))
def test_grid2op_allows_the_same_attacks_at_the_same_steps(weighted: bool) -> None:
    pytest.importorskip("lightsim2grid")
    opponents = pytest.importorskip("grid2op.Opponent")
    from benchmarks.peers.grid2op_policy import opponent
    from benchmarks.peers.grid2op_replay import played, replayable, replayed
    from gridrl.policies import load

    # First the cooldown is what it waits for, later the budget, and always the duration.
    settings = opponent() | {
        "opponent_attack_cooldown": 12, "opponent_attack_duration": 6, "opponent_init_budget": 10.0,
        "opponent_budget_per_ts": 0.375,  # exact in both: no sum is rounded onto a threshold
    }  # fmt: skip
    if weighted:
        settings["opponent_class"] = opponents.WeightedRandomOpponent
        settings["kwargs_opponent"] |= {
            "rho_normalization": [0.5, 0.2, 0.3, 0.4, 0.4], "attack_period": 9,
        }  # fmt: skip
    copy = replayable("l2rpn_case14_sandbox", episodes=1, **settings)
    foe = copy.world.opponent
    assert (foe.by_loading, foe.period) == ((True, 9) if weighted else (False, 1))
    patient = replace(copy.world.rules, overflow_trips=False)  # so that it goes on for long
    copy.env.change_parameters(_without_trips(copy.env))
    copy = replace(copy, world=replace(copy.world, rules=patient))
    rows = played(copy, load("reconnect"), seeds=(0, 1), steps=120)
    assert len({tuple(row["attacks"][1]) for row in rows.values()}) > 1  # seeds differ
    for (episode, _), row in rows.items():
        assert len(row["attacks"]) > 4
        theirs = replayed(copy, episode, row)
        assert theirs == {"steps": row["steps"], "refused": 0, "missed": 0}


def _without_trips(env: object) -> object:
    parameters = env.parameters  # type: ignore[attr-defined]
    parameters.NO_OVERFLOW_DISCONNECTION = True
    return parameters
