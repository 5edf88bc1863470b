"""The suite ``remedial``: is what is recommended as good as trying everything, and how fast.

Five tasks: ``search`` holds the recommendation against an exhaustive AC N-1 search over every
unitary action of the stressed cases; ``screen`` times the DC screen; ``verify`` and ``secure``
race AC power flows of unitary actions, without and with every outage, against Grid2Op; ``study``
times whole what-if studies, see `gridrl.bench.studies`.
"""

import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from gridrl.actions import Actions, apply_actions, unitary_actions
from gridrl.bench.contender import checkout, peer_module
from gridrl.bench.runner import Row
from gridrl.bench.studies import study_row
from gridrl.case import Case
from gridrl.errors import CaseError
from gridrl.grid import Floats, Ints, Topology
from gridrl.io import load
from gridrl.powerflow.engine import prepare
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.sensitivity import dc_losses as losses_by_dc
from gridrl.powerflow.sensitivity import loading_after, loading_after_losses, sensitivities
from gridrl.security import Contingencies, n_minus_1
from gridrl.security.topologies import secure_topologies
from gridrl.security.topology_result import TopologySecurity
from gridrl.whatif.outlook import Reference, excess, order_of, values
from gridrl.whatif.remedial import RemedialOptions, recommend
from gridrl.whatif.screening import moves_of, screen
from gridrl.whatif.stress import read_stress, stressed_case

TASKS = ("search", "screen", "verify", "secure", "study")
POINT = 0.01  # loading: recommendations within a percentage point of the best are as good
FIRST = 12  # contingencies that the exhaustive search tries first
BATCH = 64
LEAST_STATES = 3000  # solved at a time, so that the front of a batch does not count
COMPARED = 60  # actions whose loadings are compared with Grid2Op
Report = Callable[[str], None]
FLOW = FlowOptions()


def suite() -> dict[str, Any]:
    """The settings in ``benchmarks/suites/remedial.toml``."""
    with (checkout() / "suites" / "remedial.toml").open("rb") as file:
        return tomllib.load(file)


def stressed_files(settings: dict[str, Any]) -> list[Path]:
    """The recipes of the stressed cases, in order."""
    return sorted((checkout() / settings["stressed"]).resolve().glob("*.toml"))


def run(
    cases: Sequence[str] = (),
    tasks: Sequence[str] = (),
    *,
    quick: bool = False,
    report: Report = lambda _: None,
    keep: Callable[[list[Row]], None] = lambda _: None,
) -> list[Row]:
    """All rows, or those of some stressed cases or tasks; ``keep`` gets the rows so far.

    Raises
    ------
    CaseError
        There is no such task or stressed case.
    """
    settings = suite()
    unknown = sorted(set(tasks) - set(TASKS))
    if unknown:
        raise CaseError(f"No task {', '.join(unknown)}. There are: {', '.join(TASKS)}.")
    files = {path.stem: path for path in stressed_files(settings)}
    missing = sorted(set(cases) - set(files))
    if missing:
        raise CaseError(f"No stressed case {', '.join(missing)}. There are: {', '.join(files)}.")
    chosen = list(cases) or (settings["quick"] if quick else list(files))
    wanted = list(tasks) or (["search"] if cases or quick else settings["tasks"])
    rows: list[Row] = []
    for task in wanted:
        if task == "search":
            for name in chosen:
                report(f"search {name}")
                rows.append(search_row(name, stressed_case(read_stress(files[name]))))
                keep(rows)
        elif task == "screen":
            rows += [screen_row(name, settings["repeats"]) for name in settings["screen"]]
        elif task == "verify":
            for name, most in settings["verify"].items():
                report(f"verify {name}")
                rows.append(verify_row(name, most, settings))
        elif task == "study":
            for name, how in settings["study"]:
                report(f"study {name}")
                rows.append(study_row(name, how, settings))
                keep(rows)
        else:
            report("secure")
            rows.append(secure_row(settings["secure"]["environment"], settings))
        keep(rows)
    return rows


def search_row(name: str, case: Case) -> Row:
    """What is recommended of a stressed case, beside what an exhaustive search finds."""
    contingencies = n_minus_1(case)
    options = RemedialOptions(redispatch=False, curtailment=False, shedding=False, voltage=False)
    began = time.process_time()
    result = recommend(case, contingencies=contingencies, options=options)
    seconds = time.process_time() - began
    reference = result.reference
    before = float(values(result.base, reference)[0])
    unitary = recommend(
        case, contingencies=contingencies, options=replace(options, combinations=False)
    )
    actions = unitary_actions(case)
    best, best_at, took = exhaustive(case, actions, contingencies, reference)
    best = min(best, before)
    found = min(r.value for r in result.recommendations)
    return {
        "case": name, "task": "search", "buses": case.grid.n_bus, "actions": len(actions),
        "contingencies": len(contingencies), "worst_before_pct": 100 * before,
        "worst_n1_pct": 100 * found, "worst_n1_exhaustive_pct": 100 * best,
        "worst_n1_unitary_pct": 100 * min(r.value for r in unitary.recommendations),
        "ac_solves": result.tried["ac_solves"],
        "ac_solves_exhaustive": len(actions) * (len(contingencies) + 1),
        "share_pct": 100 * result.tried["ac_solves"] / (len(actions) * (len(contingencies) + 1)),
        "found_best": bool(found <= best + POINT), "cpu_s": seconds, "exhaustive_cpu_s": took,
        **_ranks(case, actions, contingencies, reference, best_at),
    }  # fmt: skip


def exhaustive(
    case: Case, actions: Actions, contingencies: Contingencies, reference: Reference
) -> tuple[float, int, float]:
    """Lowest worst loading over every unitary action, its action, and the CPU time it took.

    Nothing is approximated: what some contingencies already show to be worse than the best so far
    cannot become better by solving the rest, and is left.
    """
    began = time.process_time()
    n, each = len(actions), len(contingencies)
    base = secure_topologies(case, case.topology, contingencies)
    after = np.nan_to_num(base.pair_loading, nan=-1.0)
    first = np.sort(np.argsort(-after, kind="stable")[: min(FIRST, each)])
    only = (np.arange(n + 1) * first.size, np.tile(first, n))
    known = _bound(case, actions, contingencies, only, reference)
    best, best_at = np.inf, -1
    order = np.argsort(known, kind="stable")
    for begin in range(0, n, BATCH):
        some = order[begin : begin + BATCH]
        some = some[known[some] < best]
        if not some.size:
            break
        topology = apply_actions(case, actions, [(int(k),) for k in some])
        value = values(secure_topologies(case, topology, contingencies), reference)
        at = int(np.argmin(value))
        if value[at] < best:
            best, best_at = float(value[at]), int(some[at])
    return best, best_at, time.process_time() - began


def _bound(
    case: Case, actions: Actions, contingencies: Contingencies, only: tuple[Ints, Ints],
    reference: Reference,
) -> Floats:  # fmt: skip
    topology = apply_actions(case, actions, [(k,) for k in range(len(actions))])
    found: TopologySecurity = secure_topologies(case, topology, contingencies, only=only)
    return values(found, reference)


def _ranks(
    case: Case, actions: Actions, contingencies: Contingencies, reference: Reference, best: int
) -> Row:
    """How well the DC screen predicts AC: over actions drawn from all that it covers."""
    base = secure_topologies(case, case.topology, contingencies)
    screened, _ = screen(case, actions, contingencies, FLOW, 1, base)
    rng = np.random.default_rng(0)
    some = np.sort(rng.permutation(len(actions))[:300])
    topology = apply_actions(case, actions, [(int(k),) for k in some])
    found = secure_topologies(case, topology, contingencies)
    ac, dc = values(found, reference), screened.value[some]
    both = (ac < 100.0) & np.isfinite(dc)
    ac_order = some[order_of(ac, excess(found))]
    position = np.empty(len(actions), np.int64)
    position[screened.ranking()] = np.arange(len(actions))
    place = np.argsort(np.argsort(position[some]))
    ten = np.isin(some, ac_order[:10])
    return {
        "compared": int(both.sum()),
        "spearman": float(spearmanr(dc[both], ac[both]).statistic) if both.sum() > 2 else None,
        "dc_median_error_pct": float(100 * np.median(np.abs(dc[both] - ac[both]))),
        "best_ten_in_dc_thirty": int((place[ten] < 30).sum()),
        "dc_rank_of_best": int(position[best]) if best >= 0 else None,
    }


def screen_row(name: str, repeats: int) -> Row:
    """Actions per second of the DC screen, checked against DC flows by its tests."""
    case = load(name)
    actions = unitary_actions(case)
    moves, _ = moves_of(case, actions)
    found = sensitivities(case, np.arange(case.grid.n_branch))
    value = loading_after(found, moves)
    order = np.flatnonzero(np.isfinite(value))[:2000]
    losses = losses_by_dc(found, np.empty(0, np.int64), np.flatnonzero(found.live))
    alone = _best(lambda: loading_after(found, moves), repeats)
    with_all = _best(lambda: loading_after_losses(found, moves, losses, order), repeats)
    return {
        "case": name, "task": "screen", "actions": len(moves), "cpu_s": alone,
        "per_s": len(moves) / alone, "with_outages_per_s": order.size / with_all,
        "losses": int(losses.unit.size),
    }  # fmt: skip


def verify_row(environment: str, most: int, settings: dict[str, Any]) -> Row:
    """AC power flows of unitary actions, ours beside ``obs.simulate``, loadings compared."""
    rng = np.random.default_rng(settings["seed"])
    peer = peer_module("grid2op_simulate").simulated(environment, most, rng)
    n = peer.topology.batch
    none = Contingencies(name=(), elements=())
    some = np.sort(rng.permutation(n)[: min(n, COMPARED)])
    peer.simulate(some[:3])
    peer_s, loadings = peer.simulate(some)
    split = np.unique(peer.case.grid.terminal_substation[(peer.topology.busbar == 2).any(axis=0)])
    engine = prepare(peer.case, split=split)
    often = max(1, LEAST_STATES // n)
    states = Topology(
        busbar=np.tile(peer.topology.busbar, (often, 1)),
        closed=np.tile(peer.topology.closed, (often, 1)),
    )
    ours = _best(
        lambda: secure_topologies(peer.case, states, none, engine=engine), settings["repeats"]
    )
    ours /= often
    found = secure_topologies(peer.case, peer.topology, none, engine=engine)
    error = [
        abs(float(rho.max()) - float(found.loading[k]))
        for k, rho in zip(some, loadings, strict=True)
        if rho is not None and np.isfinite(found.loading[k])
    ]
    return {
        "case": environment, "task": "verify", "actions": n, "states": n * often,
        "contender": "grid2op simulate",
        "cpu_s": ours, "per_s": n / ours, "peer_per_s": some.size / peer_s,
        "ratio": (n / ours) / (some.size / peer_s), "compared": len(error),
        "max_dloading": max(error), "median_dloading": float(np.median(error)),
    }  # fmt: skip


def secure_row(environment: str, settings: dict[str, Any]) -> Row:
    """Every unitary action with every branch outage, beside Grid2Op's loop without outages."""
    rng = np.random.default_rng(settings["seed"])
    peer = peer_module("grid2op_simulate").simulated(environment, 10**6, rng)
    contingencies = n_minus_1(peer.case, ("line", "trafo"))
    split = np.unique(peer.case.grid.terminal_substation[(peer.topology.busbar == 2).any(axis=0)])
    engine = prepare(peer.case, split=split)
    every = np.arange(peer.topology.batch)
    peer.simulate(every[:3])
    peer_s, _ = peer.simulate(every)
    ours = _best(
        lambda: secure_topologies(peer.case, peer.topology, contingencies, engine=engine),
        settings["repeats"],
    )
    return {
        "case": environment, "task": "secure", "actions": int(every.size),
        "contingencies": len(contingencies), "contender": "grid2op simulate, no outages",
        "cpu_s": ours, "peer_cpu_s": peer_s, "ratio": peer_s / ours,
        "ac_solves": int(every.size * (len(contingencies) + 1)),
    }  # fmt: skip


def _best(call: Callable[[], object], repeats: int) -> float:
    """Least CPU time of some calls after one that compiles, s."""
    call()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return max(min(times), 1e-9)
