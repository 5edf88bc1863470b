"""What can be switched in steps: tap changers of transformers, and shunts of several elements.

Only what a file states about ranges. How a grid stands now is in its admittances and injections;
`gridrl.whatif` moves steps, the power flow does not know them.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from gridrl.arrays import Bools, Floats, Ints, freeze
from gridrl.errors import GridError


@dataclass(frozen=True, eq=False, kw_only=True)
class Steps:
    """Tap changers and switched shunts with a known range.

    The turns ratio of tap changer ``k``, seen from its own end, is ``1 + (position - tap_neutral)
    * tap_size`` times that of the neutral position. ``tap_ratio`` is where it stands now, which
    need not be a whole position.

    Raises
    ------
    GridError
        Lengths differ, a range is empty, or a ratio in it is not positive.
    """

    tap_branch: Ints  # [n_tap] branch of the Grid
    tap_at_to: Bools  # [n_tap] the changer sits at the to end
    tap_ratio: Floats  # [n_tap] present ratio, 1 at the neutral position
    tap_size: Floats  # [n_tap] ratio per position, may be negative
    tap_neutral: Ints  # [n_tap] position
    tap_low: Ints  # [n_tap] lowest position
    tap_high: Ints  # [n_tap] highest position
    shunt_unit: Ints  # [n_shunt] unit of the Grid
    shunt_step: Ints  # [n_shunt] steps that are on
    shunt_most: Ints  # [n_shunt] steps that there are
    shunt_p: Floats  # [n_shunt] p.u. of one step at nominal voltage, positive into the busbar
    shunt_q: Floats  # [n_shunt] p.u.

    def __post_init__(self) -> None:
        freeze(self)
        for kind, names in _GROUPS.items():
            sizes = {getattr(self, name).size for name in names}
            if len(sizes) > 1:
                raise GridError(f"The columns of the {kind} disagree in length: {sorted(sizes)}.")
        ends = [1 + (p - self.tap_neutral) * self.tap_size for p in (self.tap_low, self.tap_high)]
        if (self.tap_low > self.tap_high).any() or (np.minimum(*ends) <= 0).any():
            raise GridError("A tap changer has an empty range, or one with a ratio of 0.")
        if (self.shunt_step < 0).any() or (self.shunt_step > self.shunt_most).any():
            raise GridError("A shunt has more steps on than there are.")

    @property
    def n_tap(self) -> int:
        return int(self.tap_branch.size)

    @property
    def n_shunt(self) -> int:
        return int(self.shunt_unit.size)

    @property
    def tap_position(self) -> Floats:
        """[n_tap] where each tap changer stands; a whole number unless its ratio was edited."""
        return np.asarray(self.tap_neutral + (self.tap_ratio - 1.0) / self.tap_size)

    @classmethod
    def none(cls) -> Self:
        """Nothing in steps."""
        whole, real = np.zeros(0, np.int64), np.zeros(0)
        return cls(
            tap_branch=whole, tap_at_to=np.zeros(0, np.bool_), tap_ratio=real, tap_size=real,
            tap_neutral=whole, tap_low=whole, tap_high=whole, shunt_unit=whole, shunt_step=whole,
            shunt_most=whole, shunt_p=real, shunt_q=real,
        )  # fmt: skip


_GROUPS = {
    "tap changers": (
        *("tap_branch", "tap_at_to", "tap_ratio", "tap_size", "tap_neutral", "tap_low"),
        "tap_high",
    ),
    "shunts": ("shunt_unit", "shunt_step", "shunt_most", "shunt_p", "shunt_q"),
}
