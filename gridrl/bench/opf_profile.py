"""The performance profile of a suite ``opf`` as a picture.

E. D. Dolan and J. J. Moré, Benchmarking optimization software with performance profiles,
Mathematical Programming 91, 2002: the share of cases that a contender solves within ``tau`` times
the time of the fastest, over ``tau``.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gridrl.bench.opf_render import is_ac, solved
from gridrl.bench.runner import Row
from gridrl.grid import Floats

# As in gridrl.plot: told apart without colour vision too (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")


def profile(rows: Sequence[Row]) -> dict[str, Floats]:
    """For each AC contender the sorted ratios to the fastest, inf where it did not solve."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    names = [n for n in dict.fromkeys(row["contender"] for row in rows) if is_ac(n)]
    times = np.full((len(names), len(cases)), np.inf)
    for row in rows:
        if row["contender"] in names and solved(row):
            times[names.index(row["contender"]), cases.index(row["case"])] = row["cpu_s"]
    best = times.min(axis=0, initial=np.inf)
    ratios = np.full_like(times, np.inf)
    some = np.isfinite(best)
    ratios[:, some] = times[:, some] / best[some]
    return {name: np.sort(ratios[k]) for k, name in enumerate(names)}


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the profile as .svg or .png."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    found = profile(rows)
    most = max((float(r[np.isfinite(r)].max(initial=1.0)) for r in found.values()), default=1.0)
    for k, (name, ratios) in enumerate(found.items()):
        share = np.arange(1, ratios.size + 1) / max(ratios.size, 1)
        finite = np.isfinite(ratios)
        x = np.concatenate([[1.0], ratios[finite], [1.5 * most]])
        y = np.concatenate([[0.0], share[finite], [float(finite.mean()) if ratios.size else 0.0]])
        axes.step(x, y, where="post", label=name, color=COLOURS[k % len(COLOURS)],
                  linestyle=DASHES[k % len(DASHES)])  # fmt: skip
    axes.set_xscale("log")
    axes.set(xlim=(1.0, 1.5 * most), ylim=(0.0, 1.02), ylabel="share of cases solved",
             xlabel="CPU time, times that of the fastest")  # fmt: skip
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
