"""The generator's series beside public ones: a table and a plot.

    python -m benchmarks.calibration

writes ``benchmarks/results/calibration.json`` and the table and plot of ``docs/calibration.md``.
Public series are the profiles of SimBench (a year in Germany: loads of high-voltage substations,
wind parks, solar plants) and the chronics of ``rte_case14_realistic`` that come with Grid2Op.
"""

import bz2
import datetime as dt
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gridrl
from gridrl.env.fleet import fleet_of
from scenarios.generator import Recipe, generate

ROOT = Path(__file__).parent.parent
Values = NDArray[np.float64]
# name of a row: what it measures
ROWS = {
    "load": {
        "mean_of_peak": "mean, share of the peak",
        "night_of_evening": "working days: 1 to 4 h over 18 to 20 h",
        "sunday_of_wednesday": "Sunday's mean over Wednesday's",
        "summer_of_winter": "mean of June to August over December to February",
        "day_to_day": "change within 24 h, working days: deviation, share of the mean",
        "ramp_1h_99": "change within 1 h, 99 % of them below, share of the peak",
        "correlation": "of the change within 24 h, between two places",
    },
    "wind": {
        "mean_of_peak": "mean, share of the installed power",
        "deviation": "deviation, share of the installed power",
        "memory_1h": "correlation with 1 h before",
        "memory_6h": "correlation with 6 h before",
        "memory_24h": "correlation with 24 h before",
        "ramp_1h_99": "change within 1 h, 99 % of them below, share of the installed power",
        "summer_of_winter": "mean of June to August over December to February",
        "correlation": "of the change within 24 h, between two places",
    },
    "sun": {
        "mean_of_peak": "mean, share of the largest power",
        "noon": "mean of 11 to 13 h, share of the largest power",
        "noon_deviation": "deviation of 11 to 13 h, share of its mean",
        "summer_of_winter": "mean of June to August over December to February",
        "ramp_1h_99": "change within 1 h, 99 % of them below, share of the largest power",
        "correlation": "of the change within 24 h, between two places",
    },
}


@dataclass(frozen=True)
class Sample:
    """Series of several places in several stretches of time."""

    parts: list[Values]  # [n_row, n] each, without gaps
    hours: list[Values]  # [n_row] since Monday 0:00
    days: list[Values]  # [n_row] of the year
    step_h: float


def statistics(sample: Sample, kind: str) -> dict[str, float]:
    """The figures of `ROWS`, in the middle (median) of all places."""
    peak = np.quantile(np.concatenate(sample.parts), 0.9999, axis=0)
    parts = [part / peak for part in sample.parts]
    x, hour, day = np.concatenate(parts), *map(np.concatenate, (sample.hours, sample.days))
    weekday, clock = hour // 24 % 7, hour % 24
    working, noon = weekday < 5, (clock >= 11) & (clock < 13)
    summer, winter = (day >= 152) & (day < 244), (day >= 335) | (day < 60)
    one, six, whole = (round(h / sample.step_h) for h in (1, 6, 24))
    daily = np.concatenate([p[whole:] - p[:-whole] for p in parts])
    same = np.concatenate([((h // 24 % 7 >= 1) & (h // 24 % 7 < 5))[whole:] for h in sample.hours])
    if kind == "sun":
        same = np.concatenate([p[whole:] > 0 for p in parts]).all(axis=1)
    hourly = np.abs(np.concatenate([p[one:] - p[:-one] for p in parts]))

    def of(rows: NDArray[np.bool_]) -> Values:
        return x[rows].mean(axis=0) if rows.any() else np.full(x.shape[1], np.nan)

    known = {
        "mean_of_peak": x.mean(axis=0), "deviation": x.std(axis=0),
        "night_of_evening": of(working & (clock >= 1) & (clock < 4))
        / of(working & (clock >= 18) & (clock < 20)),
        "sunday_of_wednesday": of(weekday == 6) / of(weekday == 2),
        "summer_of_winter": of(summer) / of(winter),
        "day_to_day": daily[same].std(axis=0) / x.mean(axis=0),
        "ramp_1h_99": np.quantile(hourly, 0.99, axis=0),
        "correlation": _between(daily[same]),
        "noon": of(noon), "noon_deviation": x[noon].std(axis=0) / of(noon),
        **{f"memory_{h}h": _memory(parts, lag) for h, lag in ((1, one), (6, six), (24, whole))},
    }  # fmt: skip
    return {name: float(np.median(known[name])) for name in ROWS[kind]}


def _between(x: Values) -> Values:
    """Correlations between two columns."""
    if x.shape[1] < 2:
        return np.full(1, np.nan)
    return np.asarray(np.corrcoef(x.T)[np.triu_indices(x.shape[1], 1)])


def _memory(parts: list[Values], lag: int) -> Values:
    """Correlation of each column with itself, ``lag`` rows before."""
    now, then = (np.concatenate([p[s] for p in parts]) for s in (slice(lag, None), slice(-lag)))
    return np.array([np.corrcoef(now[:, k], then[:, k])[0, 1] for k in range(now.shape[1])])


# --- where series come from -------------------------------------------------------------------
def of_simbench() -> dict[str, Sample]:
    """A year of high-voltage substations, wind parks and solar plants."""
    from gridrl.io.simbench import raw_profiles

    tables = raw_profiles()
    load, renewable = tables["load"], tables["renewables"]
    names = {
        "load": [c for c in load.columns if re.match(r"HS\d+_pload", c)],
        "wind": [c for c in renewable.columns if re.match(r"WP\d", c)],
        "sun": [c for c in renewable.columns if re.match(r"PV\d", c)],
    }
    row = np.arange(len(load))
    out = {}
    for kind, columns in names.items():
        table = load if kind == "load" else renewable
        out[kind] = Sample(
            [table[columns].to_numpy(float)], [row / 4 + 4 * 24.0], [row / 96.0], 0.25
        )
    return out


def of_grid2op() -> tuple[dict[str, Sample], dict[str, float]]:
    """Chronics of 14 substations, and the errors of their forecasts one step ahead."""
    import grid2op

    folder = Path(grid2op.__file__).parent / "data" / "rte_case14_realistic"
    kind = _kinds(folder)
    parts: dict[str, list[Values]] = {"load": [], "wind": [], "sun": []}
    hours, days, errors = [], [], {"load": [], "wind": [], "sun": []}
    for chronic in sorted((folder / "chronics").iterdir()):
        _, load = _csv(chronic / "load_p")
        _, load_expected = _csv(chronic / "load_p_forecasted")
        gens, made = _csv(chronic / "prod_p")
        _, made_expected = _csv(chronic / "prod_p_forecasted")
        stamp = (chronic / "start_datetime.info").read_text().strip()
        begin = dt.datetime.fromisoformat(stamp)
        row = np.arange(len(load))
        hours.append(begin.weekday() * 24 + begin.hour + row / 12)
        days.append(begin.timetuple().tm_yday - 1 + row / 288)
        parts["load"].append(load)
        errors["load"].append((load_expected / load - 1).ravel())
        for what in ("wind", "sun"):
            which = [k for k, name in enumerate(gens) if kind.get(name) == what]
            parts[what].append(made[:, which])
            size = made[:, which].max()
            errors[what].append(((made_expected - made)[:, which] / size).ravel())
    samples = {what: Sample(part, hours, days, 1 / 12) for what, part in parts.items()}
    return samples, {what: float(np.std(np.concatenate(e))) for what, e in errors.items()}


def _kinds(folder: Path) -> dict[str, str]:
    lines = (folder / "prods_charac.csv").read_text().splitlines()
    header = lines[0].split(",")
    at, kind = header.index("name"), header.index("type")
    rows = [line.split(",") for line in lines[1:]]
    return {row[at]: {"wind": "wind", "solar": "sun"}.get(row[kind], "other") for row in rows}


def _csv(path: Path) -> tuple[list[str], Values]:
    with bz2.open(f"{path}.csv.bz2", "rt") as file:
        header = file.readline().strip().split(";")
        return header, np.loadtxt(file, delimiter=";", ndmin=2)


def of_generator(case_name: str = "case118") -> dict[str, Sample]:
    """A year of weeks from `scenarios.generator`."""
    case = gridrl.load(case_name)
    grid, fleet = case.grid, fleet_of(case)
    gens = [f"{grid.element_kind[e]}:{grid.element_id[e]}" for e in
            grid.unit_element[fleet.gen_unit] if grid.element_kind[e] == "gen"]  # fmt: skip
    wind, solar = tuple(gens[::4]), tuple(gens[2::4])
    recipe = Recipe(
        seed=2024, episodes=104, days=7, step_s=900.0, load_peak=1.0, wind=wind, solar=solar
    )
    series = generate(case, recipe, fleet)
    row = np.arange(recipe.rows - 1)
    days = [np.random.default_rng([recipe.seed, k]).uniform(0, 365) + row / 96
            for k in range(recipe.episodes)]  # fmt: skip
    units = {
        "load": np.flatnonzero(np.array(grid.unit_kind) == "load"),
        "wind": _units(case, wind), "sun": _units(case, solar),
    }  # fmt: skip
    samples = {}
    for kind, which in units.items():
        sign = -1.0 if kind == "load" else 1.0
        parts = [sign * series.p[series.start[k] : series.start[k + 1] - 1][:, which]
                 for k in range(recipe.episodes)]  # fmt: skip
        samples[kind] = Sample(
            parts, [row / 4.0] * recipe.episodes, [day % 365 for day in days], 0.25
        )
    return samples


def _units(case: Any, names: tuple[str, ...]) -> NDArray[np.int64]:
    element = [case.grid.find_element(name) for name in names]
    return np.flatnonzero(np.isin(case.grid.unit_element, element)).astype(np.int64)


# --- forecasts --------------------------------------------------------------------------------
HORIZONS_H = (1 / 12, 1.0, 3.0, 6.0, 12.0, 24.0)


def forecasts() -> list[dict[str, Any]]:
    """Error and coverage of the generator's forecasts by horizon, on series of another seed."""
    case = gridrl.load("case14")
    fleet = fleet_of(case)
    recipe = Recipe(
        seed=271828, episodes=150, days=3.0, step_s=300.0, load_peak=1.0,
        wind=("gen:1", "gen:2"), solar=("gen:3",),
    )  # fmt: skip
    series = generate(case, recipe, fleet)
    load = (np.array(case.grid.unit_kind) == "load") & (case.injection.p[0] != 0)
    size = np.ones(case.grid.n_unit)
    size[fleet.gen_unit] = fleet.p_max
    rows = []
    for kind, unit in (
        ("load", np.flatnonzero(load)), ("wind", _units(case, ("gen:1", "gen:2"))),
        ("sun", _units(case, ("gen:3",))),
    ):  # fmt: skip
        for hours in HORIZONS_H:
            ahead = round(hours * 3600 / recipe.step_s)
            now = (series.start[:-1, None] + np.arange(0, series.horizon(0) - ahead, 37)).ravel()
            truth = np.abs(series.p[now + ahead][:, unit])
            found = {
                level: np.abs(series.quantile(now, ahead, level)[0][:, unit])
                for level in (0.05, 0.5, 0.95)
            }
            scale = truth if kind == "load" else size[unit]
            low, high = found[0.05], found[0.95]
            ends = (low > 1e-9) & (high < size[unit] * (1 - 1e-9) if kind != "load" else True)
            inside = (low <= truth) & (truth <= high)
            rows.append({
                "kind": kind, "name": "forecast", "hours": round(hours, 4),
                "error": round(float(np.std((found[0.5] - truth) / scale)), 4),
                "width": round(float(np.mean((high - low) / scale)), 4),
                "covered_pct": round(100.0 * float(inside.mean()), 1),
                "covered_inside_pct": round(100.0 * float(inside[ends].mean()), 1)
                if ends.sum() > 500 else None,
            })  # fmt: skip
    return rows


def forecast_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of Markdown."""
    yield (
        "| | hours ahead | deviation of the error | mean width of 90 % | covered % | "
        "covered %, both ends open |"
    )
    yield "|---|---|---|---|---|---|"
    for row in rows:
        inside = row["covered_inside_pct"]
        yield (
            f"| {row['kind']} | {row['hours']:.2g} | {row['error']:.3f} | {row['width']:.3f} | "
            f"{row['covered_pct']:.1f} | {'' if inside is None else f'{inside:.1f}'} |"
        )


# --- what comes out ---------------------------------------------------------------------------
def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of Markdown."""
    yield "| | | SimBench | Grid2Op's chronics | gridrl |"
    yield "|---|---|---|---|---|"
    for row in rows:
        cells = (row[name] for name in ("simbench", "grid2op", "gridrl"))
        text = " | ".join("" if c is None else f"{c:.3f}" for c in cells)
        yield f"| {row['kind']} | {row['text']} | {text} |"


def plot(sources: dict[str, dict[str, Sample]], path: Path) -> None:
    """Mean days, and a week of each kind."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "gridrl"  # the same file every time
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), constrained_layout=True)
    for column, kind in enumerate(ROWS):
        for name, samples in sources.items():
            if kind not in samples:
                continue
            sample = samples[kind]
            peak = np.quantile(np.concatenate(sample.parts), 0.9999, axis=0)
            x = np.concatenate(sample.parts) / peak
            clock = np.floor(np.concatenate(sample.hours) % 24)
            mean = [x[clock == h].mean() for h in range(24)]
            axes[0, column].plot(np.arange(24) + 0.5, mean, label=name)
            week = round(7 * 24 / sample.step_h)
            first = sample.parts[len(sample.parts) // 2][:week, 0] / peak[0]
            axes[1, column].plot(np.arange(first.size) * sample.step_h / 24, first, lw=0.8)
        axes[0, column].set(title=f"{kind}: mean day", xlabel="hour", ylim=(0, None))
        axes[1, column].set(title=f"{kind}: a week", xlabel="day", ylim=(0, 1.05))
    axes[0, 0].set_ylabel("share of the peak")
    axes[0, 0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Write the table, the plot and the figures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        simbench = of_simbench()
        grid2op, grid2op_errors = of_grid2op()
    ours, seen = of_generator(), forecasts()
    our_errors = {row["kind"]: row["error"] for row in reversed(seen)}  # the nearest horizon
    rows: list[dict[str, Any]] = []
    for kind, names in ROWS.items():
        found = {
            "simbench": statistics(simbench[kind], kind),
            "gridrl": statistics(ours[kind], kind),
        }
        found["grid2op"] = statistics(grid2op[kind], kind)
        for name, text in names.items():
            values = {source: figures[name] for source, figures in found.items()}
            told = {k: round(v, 4) if np.isfinite(v) else None for k, v in values.items()}
            rows.append({"kind": kind, "name": name, "text": text, **told})
        rows.append({
            "kind": kind, "name": "forecast_error", "simbench": None,
            "text": "forecast one step ahead, deviation of the error",
            "grid2op": round(grid2op_errors[kind], 4), "gridrl": round(our_errors[kind], 4),
        })  # fmt: skip
    out = ROOT / "benchmarks" / "results" / "calibration.json"
    out.write_text(json.dumps({"suite": "calibration", "rows": rows + seen}, indent=1) + "\n")
    plot({"SimBench": simbench, "Grid2Op": grid2op, "gridrl": ours}, ROOT / "docs/calibration.svg")
    page = ROOT / "docs" / "calibration.md"
    for name, lines in (("table", table(rows)), ("forecasts", forecast_table(seen))):
        shown = "\n".join(lines)
        print(shown)
        if page.is_file():
            text = page.read_text(encoding="utf-8")
            begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
            head, tail = text.partition(begin)[0], text.partition(end)[2]
            page.write_text(f"{head}{begin}\n{shown}\n\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
