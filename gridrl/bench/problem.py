"""The problems that a power-flow benchmark poses, in the terms of the package.

Every contender gets the same `Problem` and translates it for itself. Whatever is drawn is drawn
here, from the generator that the caller gives.
"""

from dataclasses import dataclass, replace

import numpy as np

from gridrl.case import Case
from gridrl.grid import Bools, Complexes, Floats, Injection, Ints, Topology
from gridrl.powerflow.engine import prepare
from gridrl.powerflow.flow import flow
from gridrl.powerflow.options import FlowOptions
from gridrl.security.kernels_bridges import cutting_branches

TOLERANCE = 1e-8  # p.u., largest power mismatch of a solved state, for every contender
LOAD_SPREAD = 0.1  # each load of a sample is drawn within this share of the case's
SPLIT_FROM = 4  # branch ends that a substation must have to be split
MOST_SPLITS = 3  # substations that one state splits
PQ = "PQ"  # variant without voltage control


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """A batch of states of one case, for one task."""

    grid_name: str  # as `gridrl.load` and `pandapower.networks` know it
    task: str  # "single", "n1", "sweep", "topology"
    case: Case
    base_v: Complexes  # [n_node] solved state of the case itself, p.u.
    outage: Ints  # [B] branch that each state opens, -1 for none
    injection: Injection  # batch of 1 (all alike) or B
    topology: Topology  # batch of 1 (the case's, without the outages) or B
    split: Ints  # substations that some state splits
    variant: str = ""  # which states, where a task is posed in several ways
    tolerance: float = TOLERANCE

    @property
    def states(self) -> int:
        return int(self.outage.size)

    @property
    def slack(self) -> int:
        """Substation that holds the angle."""
        return int(self.case.grid.unit_substation[np.argmax(self.case.grid.is_reference)])

    def first(self, count: int) -> "Problem":
        """The same problem with its first states only."""
        count = min(count, self.states)
        i, t = self.injection, self.topology
        return replace(
            self,
            outage=self.outage[:count],
            injection=i if i.batch == 1 else injection_of(i, slice(count)),
            topology=t if t.batch == 1 else topology_of(t, slice(count)),
        )

    def columns(self, v: Complexes) -> Complexes:
        """[B, n_substation + n_split] what contenders report, of our voltages [B, n_node]."""
        return v[:, : self.case.grid.n_substation + self.split.size]


def injection_of(injection: Injection, which: slice | Ints) -> Injection:
    """Some states of a batch of injections."""
    return Injection(p=injection.p[which], q=injection.q[which], v_set=injection.v_set[which])


def topology_of(topology: Topology, which: slice | Ints) -> Topology:
    """Some states of a batch of topologies."""
    return Topology(busbar=topology.busbar[which], closed=topology.closed[which])


def safe_outages(case: Case) -> Ints:
    """Branches in service whose outage cuts nothing off."""
    model = prepare(case).model
    end_f, end_t = model.branch_ends
    at = model.unit_at
    sources = np.unique(at[case.grid.is_reference & (at >= 0)])
    cutting = cutting_branches(model.n_node, end_f, end_t, sources)
    safe = (end_f >= 0) & (end_t >= 0) & ~cutting
    return np.flatnonzero(safe & model.alive[np.maximum(end_f, 0)])


def n1_problem(name: str, case: Case, rng: np.random.Generator, most: int = 0) -> Problem:
    """Every outage of one branch that cuts nothing off, or ``most`` of them drawn at random."""
    outage = safe_outages(case)
    if most and outage.size > most:
        outage = np.sort(rng.choice(outage, most, replace=False))
    return _problem(name, "n1", case, outage, case.injection, case.topology)


def sweep_problem(
    name: str, task: str, case: Case, rng: np.random.Generator, samples: int
) -> Problem:
    """Every load drawn anew in each of ``samples`` states, independently, P and Q alike."""
    grid = case.grid
    load = np.array([kind == "load" for kind in grid.unit_kind])
    factor = np.ones((samples, grid.n_unit))
    spread = rng.uniform(1 - LOAD_SPREAD, 1 + LOAD_SPREAD, (samples, int(load.sum())))
    factor[:, load] = spread
    one = case.injection
    injection = Injection(
        p=one.p * factor, q=one.q * factor, v_set=np.repeat(one.v_set, samples, axis=0)
    )
    return _problem(name, task, case, np.full(samples, -1), injection, case.topology)


def pq_problem(problem: Problem) -> Problem:
    """The same states, generators with the reactive power of the base state instead of a voltage.

    For programs that know no voltage control. Outages have another solution then.
    """
    case, grid = problem.case, problem.case.grid
    q = flow(case, options=FlowOptions(tolerance=TOLERANCE)).unit_power(0).imag
    gives_up = grid.controls_voltage & ~grid.is_reference
    without = replace(
        case,
        grid=replace(grid, controls_voltage=grid.controls_voltage & grid.is_reference),
        injection=_with_q(case.injection, q, gives_up),
    )
    injection = _with_q(problem.injection, q, gives_up)
    return replace(problem, case=without, injection=injection, variant=PQ)


def _with_q(injection: Injection, q: Floats, gives_up: Bools) -> Injection:
    return Injection(
        p=injection.p,
        q=np.where(gives_up, q, injection.q),
        v_set=np.where(gives_up, np.nan, injection.v_set),
    )


def topology_problem(
    name: str, case: Case, rng: np.random.Generator, states: int, substations: int
) -> Problem:
    """States that split some substations and open some branch; all connected, all solvable.

    A split moves half of the branch ends of a substation to busbar 2, and each of its loads and
    generators with even odds. Half of the states have an outage besides.
    """
    grid = case.grid
    ends = np.bincount(
        np.concatenate([grid.from_substation, grid.to_substation]), minlength=grid.n_substation
    )
    fit = np.flatnonzero((ends >= SPLIT_FROM) & ~grid.is_star)
    split = np.sort(rng.choice(fit, min(substations, fit.size), replace=False))
    safe = safe_outages(case)
    movable = np.array([kind in ("load", "gen") for kind in grid.unit_kind]) & ~grid.is_reference
    engine = prepare(case, split=split)
    busbar: list[Ints] = []
    closed: list[Bools] = []
    while len(busbar) < states:
        drawn = [_drawn(case, split, safe, movable, rng) for _ in range(states)]
        topology = Topology(
            busbar=np.stack([d[0] for d in drawn]).astype(np.int8),
            closed=np.stack([d[1] for d in drawn]),
        )
        fine = np.flatnonzero(engine.solve(topology)[1].status == 0)
        if not fine.size:
            break
        busbar += [topology.busbar[k] for k in fine]
        closed += [topology.closed[k] for k in fine]
    topology = Topology(busbar=np.stack(busbar[:states]), closed=np.stack(closed[:states]))
    found = _problem(name, "topology", case, np.full(topology.batch, -1), case.injection, topology)
    return replace(found, split=split)


def _drawn(
    case: Case, split: Ints, safe: Ints, movable: Bools, rng: np.random.Generator
) -> tuple[Ints, Bools]:
    """Busbars and branches of one random state."""
    grid, n_branch = case.grid, case.grid.n_branch
    busbar = case.topology.busbar[0].copy()
    closed = case.topology.closed[0].copy()
    count = int(rng.integers(1, min(MOST_SPLITS, split.size) + 1))
    for s in rng.choice(split, count, replace=False):
        here = np.flatnonzero(grid.terminal_substation == s)
        ends = here[here < 2 * n_branch]
        busbar[rng.choice(ends, ends.size // 2, replace=False)] = 2
        units = here[here >= 2 * n_branch]
        units = units[movable[units - 2 * n_branch] & (busbar[units] > 0)]
        busbar[units[rng.random(units.size) < 0.5]] = 2
    if rng.random() < 0.5:
        closed[rng.choice(safe)] = False
    return busbar, closed


def _problem(
    name: str, task: str, case: Case, outage: Ints, injection: Injection, topology: Topology
) -> Problem:
    base = flow(case, options=FlowOptions(tolerance=TOLERANCE))
    return Problem(
        grid_name=name, task=task, case=case, base_v=base.v[0], outage=outage.astype(np.int64),
        injection=injection, topology=topology, split=np.empty(0, np.int64),
    )  # fmt: skip


def to_reference(v: Complexes, slack: int) -> Complexes:
    """Voltages turned so that the slack substation has angle zero."""
    with np.errstate(invalid="ignore"):
        return np.asarray(v * np.exp(-1j * np.angle(v[:, slack]))[:, None])


def largest_difference(v: Complexes, reference: Complexes, slack: int) -> float:
    """Largest |dV| in p.u. over what both solve; NaN where they have no state in common."""
    with np.errstate(invalid="ignore"):
        gap: Floats = np.abs(to_reference(v, slack) - to_reference(reference, slack))
    return float(np.nanmax(gap)) if np.isfinite(gap).any() else float("nan")
