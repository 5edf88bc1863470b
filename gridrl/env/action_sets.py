"""Named sets of switching orders: which of all `Choices` an agent may take.

The reduced sets follow rules that are published, so that figures can be compared: Subramanian et
al., "Exploring grid topology reconfiguration using a simple deep reinforcement learning approach",
2021. On the 14 substations of l2rpn_case14_sandbox "substations", "n0" and "n1" hold 178, 133 and
73 orders besides doing nothing, as in van der Sar et al. 2025.
"""

from typing import Any

import numpy as np

from gridrl.arrays import Bools
from gridrl.env.choices import Choices, all_choices
from gridrl.env.world import World
from gridrl.errors import ScenarioError

# name: what it holds
SETS = {
    "all": "lines, and substations as in n0",
    "lines": "lines open and close",
    "substations": "substations are configured",
    "n0": "substations, with two terminals or more on each busbar in use",
    "n1": "substations, with two lines or more on each busbar in use",
}


def choices_of(world: World, name: str = "all") -> Choices:
    """The orders of a named set, doing nothing among them.

    Raises
    ------
    ScenarioError
        There is no such set, or nothing but doing nothing is in it.
    """
    if name not in SETS:
        what = "; ".join(f"{key}: {text}" for key, text in SETS.items())
        raise ScenarioError(f"No action set is called {name!r}. There are {what}.")
    choices = all_choices(world, alone_line=name == "substations")
    if name == "all":
        return choices
    configures = choices.substation >= 0
    kept: Bools = ~configures if name == "lines" else configures
    if name in ("n0", "n1"):
        kept = kept & _each_busbar_holds(world, choices, lines=name == "n1")
        splits = kept & (choices.set_busbar == 2).any(axis=1)  # joining alone is of no use
        kept &= np.isin(choices.substation, choices.substation[splits])
    kept[0] = True  # doing nothing
    if kept.sum() == 1:
        raise ScenarioError(
            f"Action set {name!r} of {world.case.grid.name} holds nothing but doing nothing. "
            "Choose 'all', or act by actions='dispatch'."
        )
    which = np.flatnonzero(kept)
    return Choices(
        set_busbar=choices.set_busbar[which], set_line=choices.set_line[which],
        substation=choices.substation[which], words=tuple(choices.words[k] for k in which),
    )  # fmt: skip


def _each_busbar_holds(world: World, choices: Choices, *, lines: bool) -> Bools:
    """[n_choice] whether each busbar that an order uses gets two terminals (lines) or more."""
    grid = world.case.grid
    busbar: Any = choices.set_busbar
    if lines:
        busbar = busbar[:, : 2 * grid.n_branch]
    one, two = (busbar == 1).sum(axis=1), (busbar == 2).sum(axis=1)
    return np.asarray((one >= 2) & ((two == 0) | (two >= 2)))
