"""A fixed list of switching orders to choose from by number, and which of them are allowed now.

Number 0 does nothing. The others open or close one line, or configure one substation; they are
the unitary actions of `gridrl.actions`, electrically distinct.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gridrl.actions import CONFIGURE, OPEN, action_words, unitary_actions
from gridrl.arrays import Bools, Ints
from gridrl.env.kernels_orders import allowed_orders
from gridrl.env.state import Bytes, Orders, State
from gridrl.env.world import World
from gridrl.errors import ScenarioError

MOST = 256  # configurations of one substation, those that move fewest terminals


@dataclass(frozen=True, eq=False, kw_only=True)
class Choices:
    """Orders by number."""

    set_busbar: Bytes  # [n_choice, n_terminal]
    set_line: Bytes  # [n_choice, n_branch]
    substation: Ints  # [n_choice] that is configured, -1: none
    words: tuple[str, ...]  # [n_choice]

    def __len__(self) -> int:
        return len(self.words)

    def orders(
        self, state: State, number: NDArray[np.int64], of: NDArray[np.int64] | None = None
    ) -> Orders:
        """The orders with these numbers, one for each state, or for each state that ``of`` names.

        A configuration leaves open lines open: without that, moving an end of one would close it.

        Raises
        ------
        ScenarioError
            There is no order of such a number.
        """
        number = np.asarray(number, np.int64).reshape(-1)
        bad = (number < 0) | (number >= len(self))
        closed = state.closed if of is None else state.closed[of]
        if bad.any() or number.size != len(closed):
            raise ScenarioError(
                f"Orders are {number.size} numbers from 0 to {len(self) - 1}, one for each of "
                f"{len(closed)} states; got {number[bad][:3].tolist() or number.size}."
            )
        if not number.any():
            return Orders()
        set_busbar = self.set_busbar[number]
        n = closed.shape[1]
        for ends in (slice(0, n), slice(n, 2 * n)):
            set_busbar[:, ends][~closed] = 0
        return Orders(set_busbar=set_busbar, set_line=self.set_line[number])

    def allowed(self, world: World, state: State) -> Bools:
        """[B, n_choice] whether the rules allow each order now, and it would change something."""
        rules = world.rules
        out = np.empty((state.batch, len(self)), np.bool_)
        allowed_orders(
            state.closed, state.line_cooldown, state.substation_cooldown, *self._switches,
            (rules.max_lines, rules.max_substations), out,
        )  # fmt: skip
        return out

    @cached_property
    def _switches(self) -> tuple[Ints, Ints, Ints, Bytes]:
        """Substation and lines of each order, as the kernel takes them."""
        choice, line = np.nonzero(self.set_line)
        line_of = np.searchsorted(choice, np.arange(len(self) + 1)).astype(np.int64)
        return self.substation, line_of, line.astype(np.int64), self.set_line[choice, line]


def all_choices(
    world: World, *, lines: bool = True, alone_line: bool = False, most: int = MOST
) -> Choices:
    """Every unitary order of a world.

    Parameters
    ----------
    lines
        Whether lines and transformers may be opened and closed.
    alone_line
        Also configurations in which a busbar holds one line end and nothing else.
    most
        Configurations of one substation.
    """
    case, grid = world.case, world.case.grid
    elements = np.unique(grid.branch_element).tolist() if lines else ()
    actions = unitary_actions(
        case, elements=lines, substations=np.flatnonzero(world.splits).tolist(),
        closable=elements, alone_line=alone_line, most=most,
    )  # fmt: skip
    by_element = [np.flatnonzero(grid.branch_element == e) for e in range(grid.n_element)]
    movable = world.places[1]
    configured = np.unique(actions.substation[actions.kind == CONFIGURE])
    n = 1 + len(actions) + configured.size
    set_busbar = np.zeros((n, grid.n_terminal), np.int8)
    set_line = np.zeros((n, grid.n_branch), np.int8)
    substation = np.full(n, -1, np.int64)
    words = ["do nothing"]
    at = 1
    for k in range(len(actions)):
        if actions.kind[k] == CONFIGURE:
            s = substation[at] = int(actions.substation[k])
            set_busbar[at, (grid.terminal_substation == s) & movable] = 1
            set_busbar[at, actions.on_busbar2(k)] = 2
        else:
            way = -1 if actions.kind[k] == OPEN else 1
            set_line[at, by_element[int(actions.element[k])]] = way
        words.append(action_words(case, actions, k))
        at += 1
    for s in configured:  # back to one busbar, which is no action of a case that has one
        substation[at] = s
        set_busbar[at, (grid.terminal_substation == s) & movable] = 1
        words.append(f"join the busbars of bus {grid.substation_label[int(s)]}")
        at += 1
    return Choices(
        set_busbar=set_busbar, set_line=set_line, substation=substation, words=tuple(words)
    )
