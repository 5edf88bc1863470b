"""A DC estimate of what every order leads to, intact and after single outages, without simulation.

Flows of now are those of the AC power flow; what an order and an outage change of them is DC
(`gridrl.powerflow.sensitivity`). A line that opens or closes and a substation that is split change
the matrix by rank one. A substation that is split already is joined first, by a coupler without
impedance between its busbars: with ``u`` = +1 and -1 at these, ``w = diag(b) E X u`` and
``d = u' X u``, flows become ``f - w (theta_1 - theta_2) / d`` and the matrix ``M + w w' / d``.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.choices import Choices
from gridrl.env.state import State
from gridrl.env.world import World
from gridrl.grid import Grid, Injection, Topology
from gridrl.powerflow.sensitivity import (
    Moves,
    Sensitivities,
    dc_losses,
    loading_after,
    loading_after_losses,
    sensitivities,
)

FEATURES = ("known", "loading", "loading_change", "outage", "outage_change", "risk", "cuts")
HIGHEST = 3.0  # loading above which it makes no difference any more
LEAST, APART = 0.05, (0.8, 1.25)  # loading from which, and factors by which it is anchored
LOSSES = 64  # worst single outages that each order is screened with


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimates:
    """What the screen says of each order in each state; NaN where it does not cover an order."""

    loading: Floats  # [B, K] highest loading
    outage: Floats  # [B, K] highest loading after an outage
    risk: Floats  # [B, K] sum over outages of what each overloads, 1 at most
    cuts: Floats  # [B, K] outages that cut something off because of the order

    def features(self) -> NDArray[np.float32]:
        """[B, K, n] see `FEATURES`; 0 where the order is not covered."""
        known = ~np.isnan(self.loading)
        loading, outage = (np.minimum(x, HIGHEST) for x in (self.loading, self.outage))
        columns = (
            known, loading, loading - loading[:, :1], outage, outage - outage[:, :1],
            (self.risk - self.risk[:, :1]) / 5.0, self.cuts / 5.0,
        )  # fmt: skip
        return np.stack([np.nan_to_num(x) for x in columns], axis=2).astype(np.float32)


class Screen:
    """The screen of one world's orders; what does not depend on states is worked out once."""

    def __init__(self, world: World, choices: Choices) -> None:
        self.world = world
        self.n_choice = len(choices)
        owner, terminal, self._unit_owner, self._unit = _leaving(world, choices)
        n = world.case.grid.n_branch
        self._owner, self._branch = owner, terminal % n
        self._sign = np.where(terminal < n, 1.0, -1.0)
        self._substation = choices.substation
        self._line = choices.substation < 0
        self._line[0] = False
        self._opens = (choices.set_line == -1).any(axis=1)
        self._joins = (choices.substation >= 0) & ~(choices.set_busbar == 2).any(axis=1)
        self._covered = np.bincount(owner, minlength=self.n_choice) > 0

    def __call__(self, state: State, losses: int = LOSSES) -> Estimates:
        """Estimates for every state of a batch; those without a power flow are not covered."""
        shape = (state.batch, self.n_choice)
        out = Estimates(
            loading=np.full(shape, np.nan), outage=np.full(shape, np.nan),
            risk=np.full(shape, np.nan), cuts=np.full(shape, np.nan),
        )  # fmt: skip
        for b in np.flatnonzero(np.isfinite(state.rho).all(axis=1)).tolist():
            self._fill(out, state, b, losses)
        return out

    def _fill(self, out: Estimates, state: State, b: int, most: int) -> None:
        found = self._around(state, b)
        split = self._split(state, b)
        line_part = self._line[self._owner]
        # a line that is open already cannot be opened, nor a closed one closed
        wrong = line_part & (state.closed[b][self._branch] != self._opens[self._owner])
        fits = self._line | ~split[np.maximum(self._substation, 0)]
        fits[self._owner[wrong]] = False
        self._note(out, b, found, fits, most, joins=np.empty(0, np.int64))
        out.loading[b, 0] = np.nanmax(state.rho[b])
        for s in np.flatnonzero(split):
            here = self._substation == s
            self._note(
                out, b, self._joined(found, state, b, int(s)), here, most,
                joins=np.flatnonzero(here & self._joins),
            )  # fmt: skip

    def _note(
        self, out: Estimates, b: int, found: Sensitivities, fits: Bools, most: int, *, joins: Ints
    ) -> None:
        """Write down what the orders ``fits`` lead to, and ``joins``, which change no more."""
        which, moves = self._moves(found, fits)
        still = np.concatenate([joins, [0] if fits[self._line].any() else []]).astype(np.int64)
        at = np.concatenate([still, which])
        highest = np.sqrt(((found.flow**2 + found.q2) * found.inv2).max())
        out.loading[b, still], out.loading[b, which] = highest, loading_after(found, moves)
        lost = np.flatnonzero(found.live & (found.column_of >= 0))
        losses = dc_losses(found, np.empty(0, np.int64), lost)
        severity = ((losses.flow**2 + losses.q2) * found.inv2).max(axis=1)
        kept = np.sort(np.argsort(-severity, kind="stable")[:most])
        losses = replace(
            losses, unit=losses.unit[kept], branch=losses.branch[kept], flow=losses.flow[kept],
            q2=losses.q2[kept],
        )  # fmt: skip
        loading, cuts = loading_after_losses(found, moves, losses, np.arange(which.size))
        alone = np.repeat(np.sqrt(severity[kept])[None], still.size, axis=0)
        rows = np.concatenate([alone, loading])
        out.outage[b, at] = rows.max(axis=1, initial=0.0)
        out.risk[b, at] = np.clip(rows - 1.0, 0.0, 1.0).sum(axis=1)
        out.cuts[b, at] = np.concatenate([np.zeros(still.size), cuts])

    def _joined(self, found: Sensitivities, state: State, b: int, s: int) -> Sensitivities:
        """The same with the busbars of substation ``s`` joined."""
        grid, n_node = self.world.case.grid, found.n_node
        two = grid.n_substation + s
        u = np.zeros((n_node, 1))
        u[s], u[two] = 1.0, -1.0
        assert callable(found.solve)
        theta = found.solve(u)[:, 0]
        d = theta[s] - theta[two]
        f, t = found.node[: grid.n_branch], found.node[grid.n_branch : 2 * grid.n_branch]
        w = np.zeros(found.flow.size)
        at = np.flatnonzero(found.live)
        w[at] = grid.b_dc[at] * (theta[f[at]] - theta[t[at]])
        v = state.v[b]
        second = self.world.engine.model.second_node[s]
        apart = float(np.angle(v[s] * np.conj(v[second])))
        if d <= 1e-12 or not np.isfinite(apart):
            return found
        return replace(
            found, flow=found.flow - w * (apart / d),
            column=found.column + np.outer(w[found.column_branch] / d, w),
        )  # fmt: skip

    def _around(self, state: State, b: int) -> Sensitivities:
        case = self.world.case
        case = replace(
            case, start=None,
            injection=Injection(
                p=state.p[b][None], q=state.q[b][None], v_set=case.injection.v_set[:1]
            ),
            topology=Topology(busbar=state.busbar[b][None], closed=state.closed[b][None]),
        )  # fmt: skip
        found = sensitivities(
            case, np.arange(case.grid.n_branch), s_from=state.s_from[b], s_to=state.s_to[b],
            unit_p=state.p[b],
        )  # fmt: skip
        return replace(found, inv2=_anchored(found, state.rho[b]))

    def _moves(self, found: Sensitivities, fits: Bools) -> tuple[Ints, Moves]:
        """Those of the orders ``fits`` that change something, as moves."""
        fits = fits & self._covered
        line_part = self._line[self._owner]
        live = found.column_of[self._branch] >= 0
        fits[self._owner[~live & line_part]] = False
        # an open line leaves no node
        part = live & (line_part | found.live[self._branch]) & fits[self._owner]
        fits &= np.bincount(self._owner[part], minlength=self.n_choice) > 0
        part &= fits[self._owner]
        which = np.flatnonzero(fits)
        place = np.cumsum(fits) - 1
        unit = fits[self._unit_owner]
        return which, Moves(
            part_of=_counted(place[self._owner[part]], which.size),
            part_branch=self._branch[part], part_sign=self._sign[part],
            unit_of=_counted(place[self._unit_owner[unit]], which.size),
            moved_unit=self._unit[unit],
        )  # fmt: skip

    def _split(self, state: State, b: int) -> Bools:
        """[n_substation] whether both busbars hold something."""
        grid = self.world.case.grid
        closed = state.closed[b]
        live = np.concatenate([closed, closed, np.ones(grid.n_unit, np.bool_)])
        return _any(grid, live & (state.busbar[b] == 2)) & _any(grid, live & (state.busbar[b] == 1))


def _any(grid: Grid, of: Bools) -> Bools:
    """[n_substation] whether any terminal is one of those."""
    out = np.zeros(grid.n_substation, np.bool_)
    out[grid.terminal_substation[of]] = True
    return out


def _anchored(found: Sensitivities, rho: Floats) -> Floats:
    """[width] squared inverse ratings with which the flows of now have the loadings of now.

    Where ratings are of current, voltages away from 1 p.u. make a difference of some per cent.
    """
    own = np.sqrt((found.flow**2 + found.q2) * found.inv2)[: rho.size]
    told = own > LEAST
    ratio = np.where(told, rho / np.where(told, own, 1.0), np.nan)
    usual = float(np.nanmedian(ratio)) if told.any() else 1.0
    ratio = np.clip(np.where(told, ratio, usual), *APART)
    out = found.inv2.copy()
    out[: rho.size] *= ratio**2
    return out


def _counted(owner: Ints, n: int) -> Ints:
    return np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=n))]).astype(np.int64)


def _leaving(world: World, choices: Choices) -> tuple[Ints, Ints, Ints, Ints]:
    """Branch ends that each order takes off their node, and units: owners and terminals of both.

    A configuration is the group on the second busbar leaving, or that on the first where the
    reference machine sits on the second; neither where there is one on both.
    """
    grid = world.case.grid
    n = grid.n_branch
    reference = np.zeros(grid.n_terminal, np.bool_)
    reference[2 * n :] = grid.is_reference
    set_busbar = choices.set_busbar
    second, first = set_busbar == 2, set_busbar == 1
    fixed = np.zeros(len(choices), np.bool_)  # what may not move stays on the first busbar
    stays = reference & ~world.places[1]
    has = choices.substation >= 0
    at = np.zeros(grid.n_substation, np.bool_)
    at[grid.terminal_substation[stays]] = True
    fixed[has] = at[choices.substation[has]]
    on1 = (first & reference).any(axis=1) | fixed
    on2 = (second & reference).any(axis=1)
    leaves = np.where((on2 & ~on1)[:, None], first, second)
    leaves[~has | (on1 & on2) | ~second.any(axis=1)] = False
    lines = choices.set_line != 0
    alone = lines.sum(axis=1) == 1  # elements of several branches are no change of rank one
    leaves[:, :n] |= lines & alone[:, None]
    owner, terminal = np.nonzero(leaves)
    end = terminal < 2 * n
    return owner[end], terminal[end], owner[~end], terminal[~end] - 2 * n
