"""Rewards as vectors of named physical terms, and profiles that weigh them into one number.

A term is a quantity with a unit, not a judgement: weights (a profile) say what counts how much,
and may be private to an operator. More terms are better by their sign: costs are negative.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gridrl.arrays import Bools, Floats
from gridrl.errors import RulesError

FIRM = 0.95  # loading from which a line counts as close to its rating


@dataclass(frozen=True, eq=False, kw_only=True)
class Facts:
    """What one step did to a batch of grids."""

    hours: float  # length of the step
    s_base_mva: float
    horizon: Floats  # [B] steps of the whole episode
    rho: Floats  # [B, n_branch] NaN where there is no power flow
    losses: Floats  # [B] p.u. of all branches
    voltage_excess: Floats  # [B] p.u. outside the limits, summed over the busbars
    redispatched: Floats  # [B, n_gen] p.u. in effect
    curtailed: Floats  # [B] p.u. that renewables were cut back by, 0 or more
    stored: Floats  # [B, n_storage] p.u. absorbed
    switched: Floats  # [B] lines and substations ordered
    tripped: Floats  # [B] lines that protection opened
    refused: Bools  # [B] the order was ambiguous or illegal
    alive: Bools  # [B] the step was solved
    ran: Bools  # [B] the episode had not ended before


class RewardFn(Protocol):
    """Anything that turns facts into terms."""

    names: tuple[str, ...]  # [n_term]
    units: tuple[str, ...]  # [n_term]

    def __call__(self, facts: Facts) -> Floats:
        """[B, n_term] value of every term; 0 where the episode had ended before."""
        ...


class Physical:
    """The terms that every environment reports."""

    names: tuple[str, ...] = (
        "survival", "overload", "losses", "redispatch", "curtailment", "storage", "switching",
        "trips", "refused", "game_over", "voltage",
    )  # fmt: skip
    units: tuple[str, ...] = (
        "share of the episode", "squared loading above 0.95", "MWh", "MWh", "MWh", "MWh",
        "orders", "lines", "orders", "episodes", "p.u. outside the limits, summed over busbars",
    )  # fmt: skip

    def __call__(self, facts: Facts) -> Floats:
        """[B, n_term]; see `names` and `units`."""
        energy = facts.hours * facts.s_base_mva
        alive = facts.alive.astype(float)
        over = np.maximum(np.nan_to_num(facts.rho) - FIRM, 0.0)
        terms = np.stack(
            [
                alive / np.maximum(facts.horizon, 1.0),
                -(over**2).sum(axis=1) * alive,
                -np.nan_to_num(facts.losses) * energy * alive,
                -np.abs(facts.redispatched).sum(axis=1) * energy * alive,
                -facts.curtailed * energy * alive,
                -np.abs(facts.stored).sum(axis=1) * energy * alive,
                -facts.switched * alive,
                -facts.tripped,
                -facts.refused.astype(float),
                -(~facts.alive).astype(float),
                -facts.voltage_excess * alive,
            ],
            axis=1,
        )
        return np.asarray(np.where(facts.ran[:, None], terms, 0.0))


PHYSICAL = Physical()
# Weights of terms; what is not named does not count.
PROFILES: dict[str, dict[str, float]] = {
    "survival": {"survival": 1.0, "game_over": 1.0},
    "security": {"survival": 1.0, "overload": 0.1, "switching": 1e-3, "game_over": 1.0},
    "cost": {
        "survival": 1.0, "losses": 1e-4, "redispatch": 1e-3, "curtailment": 1e-3,
        "storage": 1e-4, "game_over": 1.0,
    },
    "voltage": {
        "survival": 1.0, "voltage": 1.0, "overload": 0.1, "curtailment": 1e-2, "losses": 1e-3,
        "game_over": 1.0,
    },
}  # fmt: skip


def weights(profile: str | Mapping[str, float], reward: RewardFn = PHYSICAL) -> Floats:
    """[n_term] weights of a named profile, or of a mapping from terms to weights.

    Raises
    ------
    RulesError
        No profile or term has such a name, or a weight is not finite.
    """
    if isinstance(profile, str):
        if profile not in PROFILES:
            raise RulesError(
                f"No reward profile '{profile}'. Choose one of {', '.join(PROFILES)}, or give a "
                f"mapping of weights for {', '.join(reward.names)}."
            )
        profile = PROFILES[profile]
    strange = [name for name in profile if name not in reward.names]
    if strange:
        raise RulesError(
            f"No reward term is called {', '.join(strange)}. There are {', '.join(reward.names)}."
        )
    out = np.array([float(profile.get(name, 0.0)) for name in reward.names])
    if not np.isfinite(out).all():
        raise RulesError("A reward weight is not a finite number.")
    return out
