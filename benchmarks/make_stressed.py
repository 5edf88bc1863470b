"""Draws the stressed cases of scenarios/data/stressed, once; the files are then frozen.

A draw is kept if the grid has a power flow that supplies everything, some contingency or branch is
overloaded (worst loading 102 to 180 %), and some unitary action lowers the worst loading by a point
or more: without that, doing nothing is best and little is tested. The last is not asked of case30
(with its own ratings none was found) nor of grids of more than 57 buses (it takes too long). The
search for remedial actions plays no part in the choice.

    python benchmarks/make_stressed.py scenarios/data/stressed
"""

import sys
from pathlib import Path

import numpy as np

from gridrl.actions import apply_actions, unitary_actions
from gridrl.io import load
from gridrl.security import n_minus_1
from gridrl.security.topologies import secure_topologies
from gridrl.whatif.outlook import reference_of, values
from gridrl.whatif.stress import Stress, stressed_case

COUNTS = {"case14": 7, "case_ieee30": 5, "case30": 3, "case57": 7, "case118": 6, "case300": 6}
SMALL = 57  # buses


def drawn(name, rng):
    grid = load(name).grid
    branches = [
        f"{kind}:{ident}"
        for kind, ident in zip(grid.element_kind, grid.element_id, strict=True)
        if kind in ("line", "trafo")
    ]
    while True:
        stress = Stress(
            case=name, load_scale=round(float(rng.uniform(1.0, 1.12)), 3),
            outage=(branches[int(rng.integers(len(branches)))],),
            ratings="file" if name == "case30" else "n_minus_1", seed=int(rng.integers(10**6)),
        )  # fmt: skip
        case = stressed_case(stress)
        contingencies = n_minus_1(case)
        base = secure_topologies(case, case.topology, contingencies)
        reference = reference_of(base)
        worst = float(values(base, reference)[0])
        if not reference.solved or not reference.whole or not 1.02 <= worst <= 1.8:
            continue
        asked = grid.n_bus <= SMALL and stress.ratings != "file"
        if asked and not _improvable(case, contingencies, reference, worst):
            continue
        return stress, worst


def _improvable(case, contingencies, reference, worst):
    actions = unitary_actions(case)
    topology = apply_actions(case, actions, [(k,) for k in range(len(actions))])
    found = secure_topologies(case, topology, contingencies)
    return float(values(found, reference).min()) < worst - 0.01


def main(folder):
    rng = np.random.default_rng(20260131)
    for name, count in COUNTS.items():
        for number in range(1, count + 1):
            stress, worst = drawn(name, rng)
            path = Path(folder) / f"{name}_{number:02d}.toml"
            path.write_text(
                f"# Worst loading before any action: {100 * worst:.1f} %; "
                "how it is made: gridrl.whatif.stress\n"
                f'case = "{stress.case}"\nload_scale = {stress.load_scale}\n'
                f'outage = {list(stress.outage)!r}\nratings = "{stress.ratings}"\n'
                f"margin_low = {stress.margin_low}\nmargin_high = {stress.margin_high}\n"
                f"floor = {stress.floor}\nseed = {stress.seed}\n".replace("'", '"'),
                encoding="utf-8",
            )
            print(path.name, f"{100 * worst:.1f} %", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
