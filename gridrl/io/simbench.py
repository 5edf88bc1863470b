"""Networks and yearly profiles of SimBench, by its codes ("1-MV-rural--2-sw").

SimBench (Meinecke et al., Energies 13(12):3290, 2020) ships benchmark grids of all voltage levels
with measured and simulated profiles of a year in quarters of an hour.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridrl.arrays import Floats
from gridrl.case import Case
from gridrl.errors import CaseError, MissingExtra
from gridrl.io import cache

STEP_S = 900.0
# Tables of SimBench, and how a positive number in them counts
SIGN = {"load": -1.0, "sgen": 1.0, "gen": 1.0, "storage": -1.0}


@dataclass(frozen=True, eq=False, kw_only=True)
class Profiles:
    """Powers of a year, of the units that have a profile."""

    label: tuple[str, ...]  # [n] "load:3"
    p: Floats  # [n_row, n] MW, positive into the busbar
    q: Floats  # [n_row, n] Mvar; NaN where the profile gives none


def load_simbench(code: str) -> Case:
    """The network of a code, as SimBench's study cases begin.

    Raises
    ------
    CaseError
        SimBench has no such code.
    MissingExtra
        SimBench is not installed.
    """
    from gridrl.io.pandapower import load_pandapower

    return load_pandapower(_net(code), name=code, source=f"simbench:{code}")


def profiles(code: str) -> Profiles:
    """The year of a network, kept on disk; errors are those of `load_simbench`."""
    stored = cache.arrays_through(cache.key_of_name(f"profiles {code}"), lambda: _arrays(code))
    return Profiles(label=tuple(stored["label"].tolist()), p=stored["p"], q=stored["q"])


def _arrays(code: str) -> dict[str, NDArray[Any]]:
    net = _net(code)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _simbench().get_absolute_values(net, profiles_instead_of_study_cases=True)
    label: list[str] = []
    p, q = [], []
    for table, sign in SIGN.items():
        active = found.get((table, "p_mw"))
        if active is None or not active.shape[1]:
            continue
        reactive = found.get((table, "q_mvar"))
        label += [f"{table}:{k}" for k in active.columns]
        values = active.to_numpy(np.float64)
        p.append(sign * values)
        q.append(
            np.full(values.shape, np.nan)
            if reactive is None
            else sign * reactive[active.columns].to_numpy(np.float64)
        )
    return {"label": np.array(label), "p": np.hstack(p), "q": np.hstack(q)}


def raw_profiles() -> dict[str, Any]:
    """All relative profiles that come along, by table; see `simbench.get_all_simbench_profiles`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: dict[str, Any] = _simbench().get_all_simbench_profiles(0)
    return found


def _simbench() -> Any:
    try:
        import simbench
    except ImportError as missing:
        raise MissingExtra(
            "Grids of SimBench need the package 'simbench': pip install 'gridrl[simbench]'"
        ) from missing
    return simbench


@lru_cache(maxsize=2)
def _net(code: str) -> Any:
    simbench = _simbench()
    if code not in simbench.collect_all_simbench_codes():
        raise CaseError(
            f"SimBench has no grid '{code}'. Codes look like 1-MV-rural--2-sw: see "
            "simbench.collect_all_simbench_codes()."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return simbench.get_simbench_net(code)
