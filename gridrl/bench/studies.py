"""The task ``study`` of the suite ``remedial``: a whole what-if, from a case to recommendations."""

import time
from dataclasses import replace
from typing import Any

import numpy as np

from gridrl.bench.runner import Row
from gridrl.case import Case
from gridrl.io import load
from gridrl.powerflow.flow import flow
from gridrl.whatif.stress import Stress, stressed_case
from gridrl.whatif.study import Study
from gridrl.whatif.workers import usable_cores

OPENED, OUT = 5, 2  # branches and machines that a variant each takes out
SCALED = (0.98, 1.03, 1.06)
AMONG = 400  # of the most loaded branches, from which the opened ones are drawn


def study_row(name: str, how: str, settings: dict[str, Any]) -> Row:
    """Ten variants of one case with full N-1 and recommendations, timed with everything compiled.

    Parameters
    ----------
    how
        ``file`` for the case as it is, ``stressed`` with ratings by its own N-1 currents.
    """
    seed = settings["seed"]
    case = stressed_case(Stress(case=name, seed=seed)) if how == "stressed" else load(name)
    made = ten_variants(case, np.random.default_rng(seed))
    threads = usable_cores()
    warm = replace(made, variants=made.variants[:2])
    list(warm.solve())
    began, cpu = time.perf_counter(), time.process_time()
    found = list(made.solve())
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    advised = [result.advice for result in found if result.advice is not None]
    best = [advice["recommendations"][0] for advice in advised]
    return {
        "case": f"{name}, ratings of the {'file' if how == 'file' else 'N-1'}", "task": "study",
        "variants": len(found), "contingencies": sum(
            0 if result.n1 is None else len(result.n1.contingencies) for result in found
        ),
        "advised": len(advised), "relieved": sum(row["kind"] != "nothing" for row in best),
        "secure": sum(_secure(row) for row in best),
        "ac_solves": sum(advice["tried"]["ac_solves"] for advice in advised),
        "threads": threads, "wall_s": wall, "cpu_s": cpu,
    }  # fmt: skip


def _secure(row: Row) -> bool:
    """Whether nothing is overloaded after an action, before and after every outage."""
    after = (row["after"]["worst_loading_percent"], row["after"]["worst_n1_percent"])
    return all(value is not None and value <= 100.0 for value in after)


def ten_variants(case: Case, rng: np.random.Generator) -> Study:
    """Branches opened, machines out, loads scaled: drawn from a seed."""
    grid = case.grid
    loading = np.nan_to_num(flow(case).loading(0), nan=0.0)
    by_loading = grid.branch_element[np.argsort(-loading, kind="stable")[:AMONG]]
    elements = list(dict.fromkeys(by_loading.tolist()))
    study = Study(case=case, name="ten variants")
    for k in rng.choice(len(elements), OPENED, replace=False):
        label = grid.element_label[elements[int(k)]]
        study = study.adding(f"{label} open", {"open": label})
    machines = np.flatnonzero((np.array(grid.unit_kind) == "gen") & ~grid.is_reference)
    for unit in rng.choice(machines, OUT, replace=False):
        label = grid.unit_label[int(unit)]
        study = study.adding(f"{label} out", {"outage": label})
    for factor in SCALED:
        study = study.adding(f"load x {factor}", {"scale_load": factor})
    return study
