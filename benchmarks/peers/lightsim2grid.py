"""lightsim2grid: its batch classes and its single power flow, with every algorithm that fits."""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gridrl.bench.contender import Algorithm, Prepared
from gridrl.bench.problem import Problem
from gridrl.grid import Complexes

DC, WARM = "dc start", "warm start"
NEWTON = ("NRSing_KLU", "NR_KLU")
CHORD = "NRSing_KLU, chord policy"
CHORD_POLICY, POLICY_AT = 2, 1  # RefactorPolicyType.Chord, and its place among the parameters
ITERATIONS, CHORD_ITERATIONS = 10, 40


def contender() -> LightSim:
    return LightSim()


class LightSim:
    name = "lightsim2grid"

    def version(self) -> str:
        return importlib.metadata.version("lightsim2grid")

    def algorithms(self, problem: Problem) -> Sequence[Algorithm]:
        if problem.task == "single":
            ways = [(start, how) for start in (DC, WARM) for how in ("same pattern", "cold")]
            names = [f"ac_pf, {how}, {start}" for start, how in ways]
            offered = [Algorithm(name=n, variant=w[0]) for n, w in zip(names, ways, strict=True)]
            bare = [Algorithm(name=f"ac_pf, voltages only, {s}", variant=s) for s in (DC, WARM)]
            return offered + bare
        if problem.task == "n1":
            names = [f"ContingencyAnalysis {a}" for a in (*NEWTON, CHORD)]
        elif problem.task == "sweep":
            names = [f"TimeSeries {a}" for a in (*NEWTON, CHORD)]
            names += [f"InjectionSweep {a}" for a in (NEWTON[0], CHORD)]
        else:
            names = ["ac_pf, change_bus", "ContingencyAnalysis NRSing_KLU"]
        return [Algorithm(name=n) for n in names]

    def prepare(self, problem: Problem, algorithm: str) -> Prepared:
        grid, start, network = _grid(problem)
        if problem.task == "single":
            return _single(problem, algorithm, grid, start, network)
        if problem.task == "n1":
            return _outages(algorithm, grid, start, network, problem.outage)
        if problem.task == "sweep":
            return _sweep(algorithm, grid, start, network)
        if algorithm.startswith("Contingency"):
            return _other_states(problem, algorithm)
        return _switched(problem)


def _cpp() -> Any:
    return importlib.import_module("lightsim2grid.lightsim2grid_cpp")


def _grid(problem: Problem, busbars: int = 1) -> tuple[Any, Complexes, Any]:
    """A grid of its own, the solved base voltages, and the pandapower network both come from."""
    from .network import Network

    network = Network(problem)
    key = (problem.grid_name, busbars)
    if key not in _converted:
        _converted[key] = _convert(network.net, problem.tolerance, busbars)
    grid, start = _converted[key]
    own = grid.copy()
    own.change_algorithm(_cpp().AlgorithmType.NRSing_KLU)
    return own, start.copy(), network


_converted: dict[tuple[str, int], tuple[Any, Complexes]] = {}


def _convert(net: Any, tolerance: float, busbars: int) -> tuple[Any, Complexes]:
    n = len(net.bus)
    if busbars == 2:  # it takes the second busbars from the tables, numbered after the first
        second = net.bus.copy()
        second.index += n
        second["in_service"] = False
        net.bus = importlib.import_module("pandas").concat([net.bus, second])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # says which missing values it fills with 0
        convert = importlib.import_module("lightsim2grid.network").init_from_pandapower
        # with the converter for pandapower 2, case118 is off by 0.014 p.u., case300 by 0.021
        two = {"n_sub": n, "n_busbar_per_sub": 2} if busbars == 2 else {}
        grid = convert(net, pp_orig_file="pandapower_v3", **two)
    grid.change_algorithm(_cpp().AlgorithmType.NRSing_KLU)
    flat = np.ones(grid.total_bus(), np.complex128)
    start = np.array(grid.ac_pf(flat, 30, tolerance))
    if start.size == 0:
        raise RuntimeError("its power flow of the case itself diverges")
    return grid, start


def _use(batch: Any, algorithm: str) -> int:
    """Set an algorithm; returns the iterations that it may take."""
    types = _cpp().AlgorithmType
    name = algorithm.split()[1].rstrip(",")
    batch.change_algorithm(getattr(types, name))
    if not algorithm.endswith("chord policy"):
        return ITERATIONS
    config = batch.get_algo_config()
    numbers = list(config.int_params)
    numbers[POLICY_AT] = CHORD_POLICY
    config.int_params = numbers
    batch.set_algo_config(config)
    return CHORD_ITERATIONS


def _outages(algorithm: str, grid: Any, start: Complexes, network: Any, outage: Any) -> Prepared:
    batch = _cpp().ContingencyAnalysisCPP(grid)
    iterations = _use(batch, algorithm)
    wanted = network.branch_place[outage]
    batch.add_multiple_n1(np.sort(wanted))
    place = np.searchsorted(np.sort(wanted), wanted)
    tolerance = network.problem.tolerance
    batch.compute(start, iterations, tolerance)  # also works out the base case

    def run() -> None:
        batch.clear_results_only()
        batch.compute(start, iterations, tolerance)

    def voltages() -> Complexes:
        v = np.array(batch.get_voltages())
        v[~np.array(batch.converged_mask())] = np.nan
        found: Complexes = network.by_substation(v[place])
        return found

    return Prepared(run=run, voltages=voltages)


def _other_states(problem: Problem, algorithm: str) -> Prepared:
    """Its Newton on the N-1 of the same grid: as many states, but not the same."""
    from gridrl.bench.problem import safe_outages

    grid, start, network = _grid(problem)
    safe = safe_outages(problem.case)
    outage = safe[np.linspace(0, safe.size - 1, min(problem.states, safe.size)).astype(int)]
    prepared = _outages(algorithm, grid, start, network, outage)
    return Prepared(
        run=prepared.run,
        states=outage.size,
        model="N-1 of the same grid",
        comparable=True,
        note="other states: single outages of the grid without splits",
    )


def _sweep(algorithm: str, grid: Any, start: Complexes, network: Any) -> Prepared:
    batch = getattr(_cpp(), f"{algorithm.split(maxsplit=1)[0]}CPP")(grid)
    iterations = _use(batch, algorithm)
    load = network.load_mva()
    states, tolerance = load.shape[0], network.problem.tolerance
    gen_p = np.repeat([[g.target_p_mw for g in grid.get_generators()]], states, axis=0)
    static = [g.target_p_mw for g in grid.get_static_generators()]
    sgen_p = np.repeat(np.array([static], float), states, axis=0)
    load_p, load_q = load.real.copy(), load.imag.copy()

    def run() -> None:
        batch.compute_Vs(gen_p, sgen_p, load_p, load_q, start, iterations, tolerance)

    def voltages() -> Complexes:
        v = np.array(batch.get_voltages())[:states]
        v[~np.array(batch.converged_mask())[:states]] = np.nan
        found: Complexes = network.by_substation(v)
        return found

    return Prepared(run=run, voltages=voltages)


def _single(problem: Problem, algorithm: str, grid: Any, base: Complexes, network: Any) -> Prepared:
    tolerance = problem.tolerance
    load = network.load_mva()
    grids = []
    for k in range(problem.states):
        one = grid.copy()
        one.change_algorithm(_cpp().AlgorithmType.NRSing_KLU)
        for row, value in enumerate(load[k]):
            one.change_p_load(row, value.real)
            one.change_q_load(row, value.imag)
        if "voltages only" in algorithm:
            one.deactivate_result_computation()
        grids.append(one)
    start = base
    if algorithm.endswith(DC):
        start = np.array(grid.dc_pf(np.ones(base.size, np.complex128), 10, tolerance))
        magnitude = np.abs(start)
        for g in grid.get_generators():
            if g.connected:
                magnitude[g.bus_id] = g.target_vm_pu
        start = magnitude * np.exp(1j * np.angle(start))
    found = np.zeros((problem.states, base.size), np.complex128)
    cold = ", cold" in algorithm
    first = load[:, 0].real

    def run() -> None:
        for k, one in enumerate(grids):
            if cold:
                one.tell_solver_need_reset()
            else:
                one.change_p_load(0, first[k])  # without a change it may return what it has
            v = one.ac_pf(start, 20, tolerance)
            found[k] = v if len(v) else np.nan

    return Prepared(run=run, voltages=lambda: network.by_substation(found))


def _switched(problem: Problem) -> Prepared:
    """The same topologies through change_bus and a power flow for each."""
    grid, start, network = _grid(problem, busbars=2)
    n = problem.case.grid.n_substation
    size = grid.total_bus()
    start = np.concatenate([start[:n], start[:n]])  # a second busbar starts from its sibling
    moves = [_moves(problem, grid, network, k) for k in range(problem.states)]
    found = np.zeros((problem.states, size), np.complex128)

    def run() -> None:
        for k, (there, back) in enumerate(moves):
            for act, *what in there:
                act(*what)
            v = grid.ac_pf(start, 20, problem.tolerance)
            found[k] = v if len(v) else np.nan
            for act, *what in back:
                act(*what)

    def voltages() -> Complexes:
        bus = network.substation_bus
        v: Complexes = np.hstack([found[:, bus], found[:, n + bus[problem.split]]])
        v[v == 0] = np.nan
        return v

    return Prepared(run=run, voltages=voltages, note="one flow for each state, called from Python")


Moves = list[tuple[Any, ...]]


def _moves(problem: Problem, grid: Any, network: Any, state: int) -> tuple[Moves, Moves]:
    """Calls that make a state out of the base state, and those that undo them."""
    g = problem.case.grid
    m, n = g.n_branch, g.n_substation
    busbar, closed = problem.topology.busbar[state], problem.topology.closed[state]
    there: Moves = []
    back: Moves = []
    lines = len(network.net.line)

    def move(act: Callable[..., None], ident: int, bus: int) -> None:
        there.append((act, ident, n + bus))
        back.append((act, ident, bus))

    for terminal in np.flatnonzero(busbar == 2):
        bus = int(network.substation_bus[g.terminal_substation[terminal]])
        if terminal < 2 * m:
            side, branch = (1, terminal) if terminal < m else (2, terminal - m)
            ident = int(network.branch_place[branch])
            kind = "powerline" if ident < lines else "trafo"
            ident -= 0 if ident < lines else lines
            move(getattr(grid, f"change_bus{side}_{kind}"), ident, bus)
        else:
            unit = int(terminal) - 2 * m
            kind, row = g.unit_kind[unit], network.place(int(g.unit_element[unit]))
            move(getattr(grid, f"change_bus_{kind}"), row, bus)
    for s in {
        int(network.substation_bus[g.terminal_substation[t]]) for t in np.flatnonzero(busbar == 2)
    }:
        there.insert(0, (grid.reactivate_bus, n + s))
        back.append((grid.deactivate_bus, n + s))
    for branch in np.flatnonzero(problem.case.topology.closed[0] & ~closed):
        ident = int(network.branch_place[branch])
        kind = "powerline" if ident < lines else "trafo"
        ident -= 0 if ident < lines else lines
        there.append((getattr(grid, f"deactivate_{kind}"), ident))
        back.append((getattr(grid, f"reactivate_{kind}"), ident))
    return there, back
