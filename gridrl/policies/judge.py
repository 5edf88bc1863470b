"""What orders lead to, intact and after every single outage: how policies compare them.

An order is simulated with the rules of a step; then each branch is opened in turn in what it leads
to. No order counts as good that leaves a loading above the threshold while another does not; then
comes the one after which fewest outages lose the grid; then the lowest worst loading after one.
"""

from dataclasses import dataclass

import numpy as np

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.choices import Choices
from gridrl.env.simulate import compare, simulate
from gridrl.env.state import State
from gridrl.env.world import World
from gridrl.policies.outages import after_outages

# Weights of what counts more than the worst loading after an outage.
TOO_MUCH, LOST = 1e3, 10.0
BEYOND = 1e3  # stands for the loading of a grid that is lost


@dataclass(frozen=True, eq=False, kw_only=True)
class Judged:
    """What each choice would lead to in each state of a batch."""

    tried: Bools  # [B, K] simulated
    proved: Bools  # [B, K] looked at with outages
    worst: Floats  # [B, K] highest loading; inf where the grid is lost, or not tried or illegal
    outage: Floats  # [B, K] highest loading after an outage; NaN where not looked at
    lost: Ints  # [B, K] outages that leave no power flow; -1 where not looked at
    risk: Floats  # [B, K] sum over outages of what each overloads, 1 at most; NaN: not looked at
    solves: Ints  # [B] AC power flows that it took

    def cost(self, threshold: float, by: str = "worst") -> Floats:
        """[B, K] what is to be lowest; inf where an order was not looked at with outages.

        ``by`` "worst" looks at the worst outage, "risk" at all that overload something.
        """
        excess = np.maximum(np.where(np.isfinite(self.worst), self.worst, BEYOND) - threshold, 0.0)
        after = LOST * self.lost + np.nan_to_num(self.outage) if by == "worst" else self.risk
        return np.where(self.proved, TOO_MUCH * excess + np.nan_to_num(after), np.inf)


def judge(
    world: World,
    choices: Choices,
    state: State,
    may: Bools,
    *,
    most: int,
    ahead: int = 1,
    lines: Bools | None = None,
) -> Judged:
    """Simulate the orders in ``may`` [B, K], and the ``most`` best of them with every outage.

    Doing nothing (number 0) is always among those.
    """
    found = compare(world, state, choices, only=may, ahead=ahead)
    worst = np.where(found.verdict == 0, found.worst, np.inf)
    of, number = finalists(worst, most)
    after, _ = simulate(world, state, choices.orders(state, number, of=of), of=of, ahead=ahead)
    secured = after_outages(world, after, lines=lines)
    proved = np.zeros(worst.shape, np.bool_)
    proved[of, number] = True
    outage, lost = np.full(worst.shape, np.nan), np.full(worst.shape, -1)
    outage[of, number], lost[of, number] = secured.worst, secured.lost.sum(axis=1)
    risk = np.full(worst.shape, np.nan)
    over = np.clip(np.nan_to_num(secured.loading, posinf=2.0) - 1.0, 0.0, 1.0)
    risk[of, number] = np.where(secured.lost, 1.0, over).sum(axis=1)
    proofs = np.bincount(of, minlength=state.batch) * (1 + world.case.grid.n_branch)
    return Judged(
        tried=found.tried, proved=proved, worst=worst, outage=outage, lost=lost, risk=risk,
        solves=may.sum(axis=1) + proofs,
    )  # fmt: skip


def finalists(worst: Floats, most: int) -> tuple[Ints, Ints]:
    """States and numbers of the orders to judge further; doing nothing always among them."""
    order = np.argsort(worst, axis=1, kind="stable")[:, :most]
    chosen = np.zeros(worst.shape, np.bool_)
    np.put_along_axis(chosen, order, True, axis=1)
    chosen &= np.isfinite(worst)
    chosen[:, 0] = True
    of, number = np.nonzero(chosen)
    return of, number
