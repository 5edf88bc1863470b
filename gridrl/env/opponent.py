"""An opponent that takes lines out of service, within a budget.

The budget and the timing are Grid2Op's: the opponent earns a little in every step, pays one for
every step of an attack, and waits between attacks. Which line it takes, and when, is drawn from a
stream of its own for every episode, so that a trajectory does not depend on what shares its batch.

Grid2Op's ``RandomLineOpponent`` attacks as soon as it may, all lines alike: ``by_loading=False,
period=1``. Its ``WeightedRandomOpponent`` waits for a random step out of ``attack_period`` and
prefers lines that are loaded more than usual: ``by_loading=True, period=attack_period, weight=1 /
rho_normalization``.
"""

from dataclasses import dataclass

import numpy as np

from gridrl.arrays import Floats, Ints, freeze
from gridrl.errors import ScenarioError


@dataclass(frozen=True, eq=False, kw_only=True)
class Opponent:
    """Which lines may be attacked, how long, and how often.

    Raises
    ------
    ScenarioError
        A number is negative, or weights do not fit the lines.
    """

    lines: Ints  # [n] branches that may be attacked
    weight: Floats  # [n] chance of each, times its rho where ``by_loading``
    by_loading: bool = False  # the more a line is loaded, the likelier
    duration: int = 48  # steps of an attack
    cooldown: int = 144  # steps between attacks, with the attack
    budget: float = 0.0  # at the beginning; an attack costs one for every step
    budget_per_step: float = 0.5
    period: int = 1  # an attack comes at a random one of so many steps, once it may

    def __post_init__(self) -> None:
        freeze(self)
        if self.weight.shape != self.lines.shape or not (self.weight >= 0).all():
            raise ScenarioError(
                "The opponent needs a weight of 0 or more for each line that it may attack."
            )
        if self.duration < 0 or self.cooldown < 0 or self.budget_per_step < 0:
            raise ScenarioError(
                "duration, cooldown and budget_per_step of the opponent must be 0 or more."
            )

        if self.period < 1:
            raise ScenarioError(f"period of the opponent is {self.period}; give 1 step or more.")

    @property
    def settings(self) -> tuple[bool, int, int, float, int]:
        """As the kernel takes them."""
        return self.by_loading, self.duration, self.cooldown, self.budget_per_step, self.period

    @property
    def exists(self) -> bool:
        return bool(self.lines.size)


NOBODY = Opponent(lines=np.empty(0, np.int64), weight=np.empty(0))
