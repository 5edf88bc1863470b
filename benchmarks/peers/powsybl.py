"""pypowsybl: OpenLoadFlow's security analysis and power flow on the grid that pandapower gives."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from gridrl.bench.contender import Algorithm, Prepared, Refused
from gridrl.bench.problem import Problem
from gridrl.grid import Complexes

DC = "dc start"
FEW, FEWER = 400, 40  # outages it is given, by size of the grid
LARGE = 1000  # buses


def contender() -> Powsybl:
    return Powsybl()


class Powsybl:
    name = "powsybl"

    def version(self) -> str:
        return importlib.metadata.version("pypowsybl")

    def algorithms(self, problem: Problem) -> Sequence[Algorithm]:
        most = FEW if problem.case.grid.n_substation < LARGE else FEWER
        if problem.task == "single":
            return [Algorithm(name="OpenLoadFlow", variant=DC, most=2)]
        if problem.task == "n1":
            return [Algorithm(name="security analysis", most=most)]
        return []

    def prepare(self, problem: Problem, algorithm: str) -> Prepared:
        del algorithm
        import pypowsybl

        from .network import Network

        network = Network(problem)
        if network.problem.task == "single":
            network.net.load["p_mw"] = network.load_mva()[0].real
            network.net.load["q_mvar"] = network.load_mva()[0].imag
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = pypowsybl.network.convert_from_pandapower(network.net)
        _repair(problem, theirs, network)
        buses = theirs.get_bus_breaker_view_buses()
        if len(buses) != problem.case.grid.n_bus:
            raise Refused(f"conversion leaves {len(buses)} of {problem.case.grid.n_bus} buses")
        if problem.task == "single":
            return _flow(problem, theirs, network)
        return _outages(problem, theirs, network)


def _repair(problem: Problem, theirs: Any, network: Any) -> None:
    """Give transformers and shunts the admittances of the grid.

    The converter drops phase shifts, turns the sign of shunt conductances and takes the
    magnetising admittance for that of another model.
    """
    import pandas as pd

    grid, net = problem.case.grid, network.net
    trafo = [k for k, e in enumerate(grid.branch_element) if grid.element_kind[e] == "trafo"]
    if trafo:
        names = sorted(theirs.get_2_windings_transformers().index, key=_place)
        ident = [names[network.branch_place[k] - len(net.line)] for k in trafo]
        y_ff, y_ft, y_tf, y_tt = (y[trafo] for y in (grid.y_ff, grid.y_ft, grid.y_tf, grid.y_tt))
        ratio = np.sqrt(np.abs(y_tt / y_ff))
        shift = np.angle(y_tf / y_ft) / -2  # y_ft = -y / conj(t), y_tf = -y / t
        turned = np.exp(1j * shift)
        flip = np.where((-y_ft * ratio * turned.conj()).imag > 0, -1.0, 1.0)  # shifts beyond 90 deg
        shift = np.where(flip < 0, shift + np.pi, shift)
        series = -y_ft * ratio * np.exp(-1j * shift)
        shunt = 2 * (y_tt - series)
        vn_from = grid.vn_kv[grid.from_substation[trafo]]
        vn_to = grid.vn_kv[grid.to_substation[trafo]]
        base = vn_to**2 / grid.s_base_mva
        z = base / series
        theirs.update_2_windings_transformers(
            id=ident, r=z.real, x=z.imag, g=shunt.real / base, b=shunt.imag / base,
            rated_u1=ratio * vn_from, rated_u2=vn_to,
        )  # fmt: skip
        shifting = np.flatnonzero(np.abs(shift) > 1e-12)
        for k in shifting:
            changer = pd.DataFrame(
                {"id": [ident[k]], "tap": [0], "low_tap": [0], "regulating": [False]}
            ).set_index("id")
            step = {"id": [ident[k]], "alpha": [-np.rad2deg(shift[k])]}
            step |= {name: [0.0] for name in ("b", "g", "r", "x")} | {"rho": [1.0]}
            theirs.create_phase_tap_changers(changer, pd.DataFrame(step).set_index("id"))
    if len(net.shunt):
        names = sorted(theirs.get_shunt_compensators().index, key=_place)
        theirs.update_linear_shunt_compensator_sections(
            id=names, g_per_section=(net.shunt.p_mw / net.shunt.vn_kv**2).to_numpy()
        )


def _settings(problem: Problem, theirs: Any) -> Any:
    from pypowsybl import loadflow

    grid = problem.case.grid
    slack = np.argsort(np.argsort(np.array(grid.bus_id, np.int64)))[
        np.flatnonzero(grid.bus_substation == problem.slack)[0]
    ]
    provider = {
        "newtonRaphsonStoppingCriteriaType": "PER_EQUATION_TYPE_CRITERIA",
        "maxActivePowerMismatch": str(problem.tolerance * problem.case.grid.s_base_mva),
        "maxReactivePowerMismatch": str(problem.tolerance * problem.case.grid.s_base_mva),
        "slackBusSelectionMode": "NAME",
        "slackBusesIds": theirs.get_bus_breaker_view_buses().bus_id[f"bus_{slack}"],
        "slackDistributionFailureBehavior": "LEAVE_ON_SLACK_BUS",
    }
    return loadflow.Parameters(
        voltage_init_mode=loadflow.VoltageInitMode.DC_VALUES,
        use_reactive_limits=False,
        distributed_slack=False,
        read_slack_bus=False,
        twt_split_shunt_admittance=True,
        transformer_voltage_control_on=False,
        phase_shifter_regulation_on=False,
        shunt_compensator_voltage_control_on=False,
        provider_parameters=provider,
    )


def _place(ident: str) -> int:
    """Bus number at the end of a bus's name."""
    return int(ident.rsplit("_", 1)[1])


def _by_bus(frame: Any, n: int, nominal: Any) -> Complexes:
    """[n_bus] voltages in p.u. of a table of buses."""
    v = np.full(n, np.nan, np.complex128)
    for ident, magnitude, angle in zip(frame.index, frame.v_mag, frame.v_angle, strict=True):
        bus = _place(ident)
        v[bus] = magnitude / nominal[bus] * np.exp(1j * np.deg2rad(angle))
    return v


def _flow(problem: Problem, theirs: Any, network: Any) -> Prepared:
    """One state: changing the loads is not what is to be timed."""
    from pypowsybl import loadflow

    settings = _settings(problem, theirs)
    nominal = network.net.bus.vn_kv.to_numpy()
    found: list[Any] = []

    def run() -> None:
        found[:] = loadflow.run_ac(theirs, settings)

    def voltages() -> Complexes:
        v = _by_bus(theirs.get_bus_breaker_view_buses(), nominal.size, nominal)
        if found[0].status.name != "CONVERGED":
            v[:] = np.nan
        out: Complexes = network.by_substation(v[None])
        return np.repeat(out, problem.states, axis=0)[:1]

    return Prepared(run=run, voltages=voltages, states=1, note="flows in the time")


def _outages(problem: Problem, theirs: Any, network: Any) -> Prepared:
    from pypowsybl import security

    # both ends and a running number name a branch; lines are numbered first
    names = [*theirs.get_lines().index, *theirs.get_2_windings_transformers().index]
    names.sort(key=_place)
    chosen = [names[k] for k in network.branch_place[problem.outage]]
    settings = security.Parameters(load_flow_parameters=_settings(problem, theirs))
    nominal = network.net.bus.vn_kv.to_numpy()

    def analysis() -> Any:
        made = security.create_analysis()
        for name in chosen:
            made.add_single_element_contingency(name, name)
        return made

    timed = analysis()

    def run() -> None:
        timed.run_ac(theirs, settings)

    def voltages() -> Complexes:
        watching = analysis()
        levels = list(theirs.get_voltage_levels().index)
        watching.add_monitored_elements(voltage_level_ids=levels)
        table = watching.run_ac(theirs, settings).bus_results
        out = np.full((len(chosen), nominal.size), np.nan, np.complex128)
        at = {name: k for k, name in enumerate(chosen)}
        known = table.reset_index()
        known = known[known.contingency_id.isin(at)]
        state = known.contingency_id.map(at).to_numpy()
        bus = known.bus_id.map(_place).to_numpy()
        magnitude = known.v_mag.to_numpy() / nominal[bus]
        out[state, bus] = magnitude * np.exp(1j * np.deg2rad(known.v_angle.to_numpy()))
        found: Complexes = network.by_substation(out)
        return found

    return Prepared(
        run=run, voltages=voltages,
        note="limit checks in the time; CPU time counts the threads of its Java runtime",
    )  # fmt: skip
