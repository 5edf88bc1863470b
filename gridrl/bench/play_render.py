"""Tables of the suites that play environments: parity, speed, greedy decisions, policies."""

from collections.abc import Callable, Sequence
from typing import Any

from gridrl.bench.render import markdown, provenance

Row = dict[str, Any]
Column = tuple[str, Callable[[Row], str]]


def _text(name: str) -> Callable[[Row], str]:
    return lambda row: str(row[name]).replace("_", " ") if name == "face" else str(row[name])


def _number(name: str, form: str) -> Callable[[Row], str]:
    def shown(row: Row) -> str:
        value = row.get(name)
        return "" if value is None else format(value, form)

    return shown


def _yes(name: str) -> Callable[[Row], str]:
    return lambda row: "yes" if row[name] else "**no**"


def _interval(row: Row) -> str:
    low, high = row["steps_pct_low"], row["steps_pct_high"]  # None: there is one episode only
    return f"{row['steps_pct']:.1f}" + ("" if low is None else f" ({low:.1f} to {high:.1f})")


COLUMNS: dict[str, tuple[Column, ...]] = {
    "env_parity": (
        ("environment", _text("environment")), ("played", _text("task")),
        ("steps", _number("steps", ",")), ("orders", _number("orders", ",")),
        ("largest difference of rho", _number("max_delta_rho", ".1e")),
        ("of dispatch, MW", _number("max_delta_dispatch_mw", ".1e")),
        ("same end", _yes("same_death_step")), ("other differences", _text("differences")),
    ),
    "env_speed": (
        ("environment", _text("environment")), ("beside", _text("contender")),
        ("actions", _text("actions")), ("face", _text("face")), ("batch", _text("batch")),
        ("ours, steps/s", _number("steps_per_s", ",.0f")),
        ("theirs", _number("peer_steps_per_s", ",.0f")), ("ratio", _number("ratio", ".1f")),
        ("of doing nothing", _number("of_doing_nothing", ".2f")),
    ),
    "env_greedy": (
        ("environment", _text("environment")), ("orders", _text("actions")),
        ("states at a time", _text("batch")), ("ours, ms", _number("decision_ms", ".3f")),
        ("Grid2Op, ms", _number("peer_decision_ms", ".0f")), ("ratio", _number("ratio", ".0f")),
        ("states", _text("states")), ("same choice", _number("same_choice", ".1%")),
    ),
    "policy": (
        ("pack", _text("pack")), ("policy", _text("policy")),
        ("steps % (95 %)", _interval), ("in Grid2Op", _number("replayed_in_grid2op", ".1f")),
        ("same end %", _number("same_end_pct", ".0f")),
        ("simulations a decision", _number("simulations_per_decision", ".1f")),
        ("ms p50", _number("decision_ms_p50", ".2f")),
    ),
}  # fmt: skip


def tables(made: dict[str, Any]) -> str:
    """What it ran on, and all rows; one table for each environment or pack of policies."""
    columns = COLUMNS[made["suite"]]
    return f"{provenance(made)}\n\n{_table(columns, made['rows'])}\n"


def summary(made: dict[str, Any]) -> str:
    """Of ``env_speed``: times the steps of the others, of the functional step in large batches."""
    rows = [row for row in made["rows"] if row["face"] == "core"]
    batch = max(row["batch"] for row in rows)
    rows = [row for row in rows if row["batch"] == batch]
    found = {(row["environment"], row["actions"], row["contender"]): row for row in rows}
    body = []
    for environment, actions in dict.fromkeys((place, what) for place, what, _ in found):
        beside = [found.get((environment, actions, other)) for other in ("grid2op", "lightenv")]
        first = next(row for row in beside if row is not None)
        cells = ["" if row is None else f"{row['ratio']:.1f}" for row in beside]
        body.append([environment, actions, f"{first['steps_per_s']:,.0f}", *cells])
    head = ["environment", "actions", "steps/s", "times Grid2Op", "times LightEnv"]
    return (
        f"{markdown(head, body)}\n\nSteps of the rules alone on one core, {batch} grids side by "
        "side; Grid2Op with LightSim as its backend. LightEnv has no hard overflow, dispatch or "
        "maintenance. With redispatch, ours finds the nearest exactly, Grid2Op by its solver, "
        "which is what takes its time.\n"
    )


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    head = [name for name, _ in columns]
    return markdown(head, [[show(row) for _, show in columns] for row in rows])
