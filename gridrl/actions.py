"""Unitary actions of a case: open or close an element, or put a substation's terminals elsewhere.

An action changes one element or one substation and nothing else; combinations are tuples of them.
Actions are flat arrays, so that thousands are screened and applied without a Python loop.

Vocabulary: a *configuration* says which terminals of a substation sit on busbar 2. Two that differ
only in the numbering of the busbars, or in which of two equal elements moves, are the same one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from gridrl.case import Case
from gridrl.grid import Bools, Floats, Ints, Topology

OPEN, CLOSE, CONFIGURE = 0, 1, 2
SWITCHABLE = ("line", "trafo", "trafo3w", "impedance", "tie_line")
# Shunts are bolted to a busbar; the other terminals move by disconnectors.
IMMOVABLE = frozenset({"shunt", "ward", "xward"})
MOST_CONFIGURATIONS = 8192  # of one substation: all of them up to 14 terminals


@dataclass(frozen=True, eq=False, kw_only=True)
class Actions:
    """A list of unitary actions."""

    kind: Ints  # [n] OPEN, CLOSE or CONFIGURE
    element: Ints  # [n] element that is opened or closed, -1 for a substation
    substation: Ints  # [n] substation that is configured, -1 for an element
    moved_of: Ints  # [n + 1] moved_of[k]:moved_of[k + 1] are the terminals of action k
    moved: Ints  # terminals that sit on busbar 2 afterwards; none: the busbars are joined

    def __len__(self) -> int:
        return int(self.kind.size)

    def on_busbar2(self, k: int) -> Ints:
        """Terminals on busbar 2 after action ``k``."""
        return self.moved[self.moved_of[k] : self.moved_of[k + 1]]

    def some(self, which: Ints) -> "Actions":
        """These actions only."""
        of, at = self.places(which)
        return Actions(
            kind=self.kind[which], element=self.element[which], substation=self.substation[which],
            moved_of=of, moved=self.moved[at],
        )  # fmt: skip

    def places(self, which: Ints) -> tuple[Ints, Ints]:
        """Where the terminals of some actions are in ``moved``, one action after the other.

        Returns
        -------
        of : [k + 1]
            Places of action k are at[of[k]:of[k + 1]].
        at : [m]
        """
        counts = np.diff(self.moved_of)[which]
        of = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return of, np.repeat(self.moved_of[which] - of[:-1], counts) + np.arange(of[-1])

    def substations(self) -> Ints:
        """Substations that some action splits: those an engine must be prepared for."""
        splits = np.diff(self.moved_of) > 0
        return np.unique(self.substation[splits])

    def compatible(self, first: int, second: int) -> bool:
        """Whether two actions touch different elements and substations."""
        same_place = self.substation[first] == self.substation[second] >= 0
        return not same_place and not self.element[first] == self.element[second] >= 0


def unitary_actions(
    case: Case,
    *,
    elements: bool = True,
    substations: Iterable[int] | None = None,
    closable: Iterable[int] = (),
    locked: Iterable[int] = (),
    alone_line: bool = False,
    most: int = MOST_CONFIGURATIONS,
) -> Actions:
    """Every unitary action of a case in its present state, electrically distinct.

    Parameters
    ----------
    elements
        Whether lines and transformers in service may be opened.
    substations
        Those that may be configured; all by default.
    closable
        Elements out of service that may be closed. None by default: what is open may be broken.
    locked
        Elements that may not be switched.
    alone_line
        Also configurations in which a busbar holds one branch end and nothing else. They are
        nearly the opening of that branch; Grid2Op counts them.
    most
        Configurations of one substation; where there are more, those that move fewest terminals.
    """
    grid = case.grid
    frozen = set(locked)
    kinds: list[int] = []
    element: list[int] = []
    opened = [e for e in _in_service(case) if e not in frozen] if elements else []
    for kind, which in ((OPEN, opened), (CLOSE, sorted(set(closable) - frozen))):
        kinds += [kind] * len(which)
        element += which
    n_element = len(element)
    where = range(grid.n_substation) if substations is None else sorted(set(substations))
    here, at = _grouped(grid.terminal_substation, grid.n_substation), connected(case)
    found = [(s, *_configurations(case, here[s][at[here[s]]], alone_line, most))
             for s in where if not grid.is_star[s]]  # fmt: skip
    counts = [np.zeros(n_element, np.int64), *(on2.sum(axis=1) for _, _, on2 in found)]
    n_configured = sum(on2.shape[0] for _, _, on2 in found)
    none = np.empty(0, np.int64)
    return Actions(
        kind=np.array(kinds + [CONFIGURE] * n_configured, np.int64),
        element=np.array(element + [-1] * n_configured, np.int64),
        substation=np.concatenate(
            [np.full(n_element, -1), *(np.full(on2.shape[0], s) for s, _, on2 in found)]
        ).astype(np.int64),
        moved_of=np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64),
        moved=np.concatenate([none, *(movable[np.nonzero(on2)[1]] for _, movable, on2 in found)]),
    )


def connected(case: Case) -> Bools:
    """[n_terminal] whether a terminal sits on a busbar, and its branch is closed."""
    grid = case.grid
    closed = case.topology.closed[0]
    usable = np.concatenate([closed, closed, np.ones(grid.n_unit, np.bool_)])
    return np.asarray((case.topology.busbar[0] > 0) & usable)


def _in_service(case: Case) -> list[int]:
    """Elements that can be opened: branches closed at both ends."""
    grid = case.grid
    at = connected(case)
    both = at[: grid.n_branch] & at[grid.n_branch : 2 * grid.n_branch]
    found = np.unique(grid.branch_element[both])
    return [int(e) for e in found if grid.element_kind[int(e)] in SWITCHABLE]


def _configurations(case: Case, here: Ints, alone_line: bool, most: int) -> tuple[Ints, Bools]:
    """Terminals of a substation that can move, and which of them each configuration moves.

    ``here`` are its connected terminals. The present configuration is not among them; nothing on
    busbar 2 joins the busbars.
    """
    grid = case.grid
    fixed = np.array([_immovable(case, int(t)) for t in here], np.bool_)
    movable = here[~fixed]
    n, is_branch = movable.size, movable < 2 * grid.n_branch
    if n < 2 or is_branch.sum() < 2:
        return movable, np.empty((0, n), np.bool_)
    on2 = _masks(n, most, whole=not fixed.any())
    branches = on2[:, is_branch].sum(axis=1)
    counts = on2.sum(axis=1)
    least = 1 if alone_line else 2
    on1 = n - counts + fixed.sum()
    legal = (branches >= 1) & (branches < is_branch.sum()) & (counts >= least) & (on1 >= least)
    on2 = on2[legal]
    if not fixed.any():  # the smaller group moves; the other numbering is the same configuration
        many = on2.sum(axis=1) * 2 > n
        on2[many] = ~on2[many]
    on2 = _distinct(case, movable, on2, mirrored=not fixed.any())
    present = case.topology.busbar[0, movable] == 2
    if present.any():
        same = (on2 == present).all(axis=1)
        if not fixed.any():
            same |= (on2 == ~present).all(axis=1)
        joined = np.zeros((1, n), np.bool_)
        on2 = np.concatenate([joined, on2[~same]])
    return movable, on2


def _immovable(case: Case, terminal: int) -> bool:
    """Whether a terminal stays on busbar 1: shunts, and units without any effect."""
    grid = case.grid
    m = terminal - 2 * grid.n_branch
    if m < 0:
        return False
    idle = case.injection.p[0, m] == 0 and case.injection.q[0, m] == 0
    holds = grid.controls_voltage[m] or grid.is_reference[m]
    return grid.unit_kind[m] in IMMOVABLE or bool(idle and not holds)


def _masks(n: int, most: int, whole: bool) -> Bools:
    """[m, n] which of ``n`` terminals move; ``whole``: numbering the busbars does not matter."""
    free = n - 1 if whole else n
    if 2**free <= most:
        bits = np.arange(1, 2**free)
        out = (bits[:, None] >> np.arange(n)[None, :] & 1).astype(np.bool_)
        return out[:, ::-1].copy() if whole else out
    rows: list[tuple[int, ...]] = []
    for size in range(1, n // 2 + 1):
        for chosen in combinations(range(n), size):
            if len(rows) == most:
                break
            rows.append(chosen)
    out = np.zeros((len(rows), n), np.bool_)
    for k, chosen in enumerate(rows):
        out[k, list(chosen)] = True
    return out


def _distinct(case: Case, movable: Ints, on2: Bools, mirrored: bool) -> Bools:
    """Configurations that differ by more than which of several equal terminals moved."""
    grid = case.grid
    n = grid.n_branch
    keys: dict[tuple[Any, ...], int] = {}
    label = np.empty(movable.size, np.int64)
    for at, t in enumerate(movable.tolist()):
        key: tuple[Any, ...] = (t,)
        if t < 2 * n:
            k, other = t % n, (t + n) % (2 * n)
            key = (
                int(grid.terminal_substation[other]), int(case.topology.busbar[0, other]), t < n,
                complex(grid.y_ff[k]), complex(grid.y_ft[k]), complex(grid.y_tf[k]),
                complex(grid.y_tt[k]), float(grid.i_max_from[k]), float(grid.i_max_to[k]),
                float(grid.s_max[k]),
            )  # fmt: skip
        label[at] = keys.setdefault(key, len(keys))
    if len(keys) == movable.size or not len(on2):
        return on2
    total = np.bincount(label, minlength=len(keys))
    count = np.stack([np.bincount(label[row], minlength=len(keys)) for row in on2])
    if mirrored:
        for k in np.flatnonzero(2 * count.sum(axis=1) == movable.size):
            count[k] = min(count[k].tolist(), (total - count[k]).tolist())
    _, first = np.unique(count, axis=0, return_index=True)
    return on2[np.sort(first)]


def apply_actions(case: Case, actions: Actions, chosen: Sequence[tuple[int, ...]]) -> Topology:
    """[B] the case's topology after each combination of actions in ``chosen``."""
    grid = case.grid
    busbar = np.repeat(case.topology.busbar, len(chosen), axis=0)
    closed = np.repeat(case.topology.closed, len(chosen), axis=0)
    for state, several in enumerate(chosen):
        for k in several:
            if actions.kind[k] == CONFIGURE:
                here = np.flatnonzero(grid.terminal_substation == actions.substation[k])
                row = busbar[state]
                row[here] = np.minimum(row[here], 1)
                row[actions.on_busbar2(k)] = 2
            else:
                branch = np.flatnonzero(grid.branch_element == actions.element[k])
                closed[state, branch] = actions.kind[k] == CLOSE
                if actions.kind[k] == CLOSE:
                    ends = np.concatenate([branch, branch + grid.n_branch])
                    busbar[state, ends] = np.maximum(busbar[state, ends], 1)
    return Topology(busbar=busbar, closed=closed)


def _grouped(owner: Ints, n: int) -> list[Ints]:
    order = np.argsort(owner, kind="stable").astype(np.int64)
    return np.split(order, np.cumsum(np.bincount(owner, minlength=n))[:-1])


def switching_steps(case: Case, actions: Actions, k: int) -> int:
    """Terminals that change their busbar, in the cheaper numbering of the two; 1 for an element."""
    if actions.kind[k] != CONFIGURE:
        return 1
    grid = case.grid
    here = np.flatnonzero((grid.terminal_substation == actions.substation[k]) & connected(case))
    now = case.topology.busbar[0, here] == 2
    then = np.isin(here, actions.on_busbar2(k))
    differ = int((now != then).sum())
    fixed = any(_immovable(case, int(t)) for t in here)
    return differ if fixed else min(differ, here.size - differ)


def action_elements(case: Case, actions: Actions, k: int) -> list[int]:
    """Elements that an action switches or moves."""
    if actions.kind[k] != CONFIGURE:
        return [int(actions.element[k])]
    moved = actions.on_busbar2(k)
    if not moved.size:
        here = case.grid.terminal_substation == actions.substation[k]
        moved = np.flatnonzero(here & (case.topology.busbar[0] == 2))
    return list(dict.fromkeys(_terminal_element(case, int(t)) for t in moved))


def _terminal_element(case: Case, terminal: int) -> int:
    grid = case.grid
    if terminal < 2 * grid.n_branch:
        return int(grid.branch_element[terminal % grid.n_branch])
    return int(grid.unit_element[terminal - 2 * grid.n_branch])


def action_edit(case: Case, actions: Actions, k: int) -> dict[str, Any]:
    """The action as an edit of a study file, see `gridrl.whatif.edits`."""
    grid = case.grid
    if actions.kind[k] != CONFIGURE:
        e = int(actions.element[k])
        verb = "open" if actions.kind[k] == OPEN else "close"
        return {verb: f"{grid.element_kind[e]}:{grid.element_id[e]}"}
    bus = grid.substation_bus[int(actions.substation[k])]
    moved = actions.on_busbar2(k)
    if not moved.size:
        return {"merge": bus}
    return {"split": bus, "busbar2": [terminal_name(case, int(t)) for t in moved]}


def terminal_name(case: Case, terminal: int) -> str:
    """Label kind:id of the terminal's element, with "@1", "@2" where it has several there."""
    grid = case.grid
    e = _terminal_element(case, terminal)
    name = f"{grid.element_kind[e]}:{grid.element_id[e]}"
    branch = np.flatnonzero(grid.branch_element == e)
    unit = np.flatnonzero(grid.unit_element == e)
    n = grid.n_branch
    outer = [int(t) for k in branch for t in (k, n + k)] or [2 * n + int(m) for m in unit]
    outer = [t for t in outer if not grid.is_star[grid.terminal_substation[t]]]
    here = [t for t in outer if grid.terminal_substation[t] == grid.terminal_substation[terminal]]
    return name if len(here) < 2 else f"{name}@{outer.index(terminal) + 1}"


def action_words(case: Case, actions: Actions, k: int) -> str:
    """The action in an operator's words."""
    grid = case.grid
    if actions.kind[k] != CONFIGURE:
        e = int(actions.element[k])
        branch = int(np.flatnonzero(grid.branch_element == e)[0])
        ends = (int(grid.from_substation[branch]), int(grid.to_substation[branch]))
        between = " and ".join(grid.substation_label[s] for s in ends if not grid.is_star[s])
        verb = "open" if actions.kind[k] == OPEN else "close"
        return f"{verb} {grid.element_label[e]} between bus {between}"
    label = grid.substation_label[int(actions.substation[k])]
    moved = actions.on_busbar2(k)
    if not moved.size:
        return f"join the busbars of bus {label}"
    names = ", ".join(terminal_name(case, int(t)) for t in moved)
    return f"split bus {label}: {names} to busbar 2, the rest to busbar 1"


def load_power(case: Case, terminals: Ints) -> Floats:
    """[m] scheduled active power of unit terminals, p.u.; 0 for branch ends."""
    unit = terminals - 2 * case.grid.n_branch
    return np.where(unit >= 0, case.injection.p[0, np.maximum(unit, 0)], 0.0)
