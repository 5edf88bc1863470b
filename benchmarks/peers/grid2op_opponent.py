"""Opponents of Grid2Op as ours, and attacks that happened in our environment made again in Grid2Op.

Ours draws lines and times from another stream than Grid2Op's. So that both run into the same
attacks, `Recorded` plays those that were written down. Grid2Op's own rules decide whether it may:
an attack that its budget, duration or cooldown forbids does not happen there, and is seen to miss.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from grid2op.Action import PowerlineSetAction
from grid2op.Opponent import (
    BaseActionBudget,
    BaseOpponent,
    RandomLineOpponent,
    WeightedRandomOpponent,
)

from gridrl.env.opponent import NOBODY, Opponent

Attacks = list[list[int]]  # step, line and duration of each, see `gridrl.evaluation.ledger`


def opponent_of(env: Any) -> Opponent:
    """The opponent of an environment; `NOBODY` where it has none, or one that ours knows not.

    Its kinds ``GeometricOpponent`` and ``GeometricOpponentMultiArea`` have no counterpart.
    """
    theirs = env._oppSpace.opponent  # noqa: SLF001 - it has no public name
    kind = type(theirs)
    if kind not in (RandomLineOpponent, WeightedRandomOpponent):
        return NOBODY
    space, asked = env._oppSpace, env._kwargs_opponent  # noqa: SLF001
    number = {str(name): k for k, name in enumerate(env.name_line)}
    lines = np.array([number[name] for name in asked["lines_attacked"]], np.int64)
    weighted = kind is WeightedRandomOpponent
    usual = np.array(asked.get("rho_normalization", []) if weighted else [], float)
    return Opponent(
        lines=lines, weight=1.0 / usual if usual.size else np.ones(lines.size),
        by_loading=weighted, period=int(asked.get("attack_period", 288)) if weighted else 1,
        duration=int(space.attack_max_duration), cooldown=int(space.attack_cooldown),
        budget=float(space.init_budget), budget_per_step=float(space.budget_per_timestep),
    )  # fmt: skip


class Recorded(BaseOpponent):  # type: ignore[misc]
    """Attacks that are on record, where Grid2Op's rules for opponents allow them."""

    def init(self, **_settings: Any) -> None:
        self.due: dict[int, int] = {}
        self.step = 0

    def reset(self, _budget: float) -> None:
        self.step = 0

    def tell_attack_continues(self, *_seen: Any) -> None:
        self.step += 1

    def attack(self, observation: Any, *_more: Any) -> tuple[Any, int | None]:
        if observation is None:
            return None, 0
        line = self.due.get(self.step)
        self.step += 1
        if line is None:
            return None, 0
        return self.action_space({"set_line_status": [(line, -1)]}), None


def recorded(opponent: Opponent) -> dict[str, Any]:
    """Settings of an environment whose opponent plays what `remember` gives it."""
    return {
        "opponent_class": Recorded, "opponent_budget_class": BaseActionBudget,
        "opponent_action_class": PowerlineSetAction, "kwargs_opponent": {},
        "opponent_init_budget": opponent.budget, "opponent_budget_per_ts": opponent.budget_per_step,
        "opponent_attack_duration": opponent.duration,
        "opponent_attack_cooldown": opponent.cooldown,
    }  # fmt: skip


def remember(env: Any, attacks: Attacks) -> None:
    """Give the attacks of an episode to an environment made with `recorded`."""
    env._oppSpace.opponent.due = {step: line for step, line, _ in attacks}  # noqa: SLF001
