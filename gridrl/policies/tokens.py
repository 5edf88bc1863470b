"""What switching orders touch, as edges and lines of the candidate graph.

A configuration puts terminals on busbars: those are edges of the graph, whether in use or not. An
order to a line is that line, opened or closed. A policy that scores sets of these scores any order
on any grid.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridrl.arrays import Ints
from gridrl.graphs.batch import Relation
from gridrl.graphs.candidate import CandidateView


@dataclass(frozen=True, eq=False, kw_only=True)
class Tokens:
    """Tokens are numbered through: edges of each relation, then lines opened, then closed.

    ``member[begin[k]:begin[k + 1]]`` are the tokens of order k; doing nothing has none.
    """

    n_line: int
    member: Ints
    begin: Ints  # [n_choice + 1]

    @property
    def n_choice(self) -> int:
        return int(self.begin.size - 1)

    def some(self, which: Ints) -> "Tokens":
        """Those of some orders only."""
        counts = np.diff(self.begin)[which]
        begin = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        at = np.repeat(self.begin[which] - begin[:-1], counts) + np.arange(begin[-1])
        return Tokens(n_line=self.n_line, member=self.member[at], begin=begin)


def tokens_of(
    view: CandidateView, set_busbar: NDArray[np.int8], set_line: NDArray[np.int8]
) -> Tokens:
    """Tokens of orders.

    Parameters
    ----------
    set_busbar, set_line
        [n_choice, n_terminal] and [n_choice, n_branch], see `gridrl.env.choices.Choices`.
    """
    n_line = set_line.shape[1]
    edge_of = _edges(view.attached, set_busbar.shape[1], view.parts.static.grid.n_substation)
    choice, terminal = np.nonzero(set_busbar > 0)
    edge = edge_of[terminal, set_busbar[choice, terminal] - 1]
    known = edge >= 0  # what may not move has one edge only, and stays
    choice, edge = choice[known], edge[known]
    switched, line = np.nonzero(set_line)
    n_edge = sum(pairs.shape[1] for pairs, _ in view.attached.values())
    opens = n_edge + line + np.where(set_line[switched, line] > 0, n_line, 0)
    owner, member = np.concatenate([choice, switched]), np.concatenate([edge, opens])
    order = np.lexsort((member, owner))
    count = np.bincount(owner, minlength=len(set_line))
    begin = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    return Tokens(n_line=n_line, member=member[order].astype(np.int64), begin=begin)


def _edges(
    attached: Mapping[Relation, tuple[Ints, Ints]], n_terminal: int, n_substation: int
) -> Ints:
    """[n_terminal, 2] number of the edge to each busbar, -1 where there is none."""
    out = np.full((n_terminal, 2), -1, np.int64)
    first = 0
    for pairs, terminal in attached.values():
        busbar = (pairs[1] >= n_substation).astype(np.int64)
        out[terminal, busbar] = first + np.arange(terminal.size)
        first += terminal.size
    return out
