"""Cases and results as compressed arrays without pickles, for the store.

Equal content gives equal bytes, so that it is kept once however often it occurs.
"""

import io
import json
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridrl.case import Case
from gridrl.errors import GridrlError, StudyError
from gridrl.io.cache import pack, unpack
from gridrl.powerflow.result import FlowResult
from gridrl.security.contingency import Contingencies
from gridrl.security.result import SecurityResult

_FLOW = ("second_node", "v", "s_from", "s_to", "status", "iterations", "mismatch", "lost_demand")
_N1 = (
    *("status", "iterations", "loading", "branch", "overloads", "voltage", "voltage_node"),
    *("voltage_violations", "lost_load", "lost_generation", "violation_of", "violation_branch"),
    *("violation_node", "violation_value"),
)


def case_bytes(case: Case) -> bytes:
    """A case with its loss report."""
    return _write(pack(case))


def read_case(content: bytes) -> Case:
    """The case that `case_bytes` wrote.

    Raises
    ------
    StudyError
        Another version of gridrl wrote it in another form.
    """
    try:
        return unpack(_read(content))
    except (KeyError, TypeError, ValueError, GridrlError) as problem:
        raise StudyError(
            f"The stored case cannot be read by this version of gridrl ({problem}). Make the study "
            "again from its source."
        ) from None


def flow_bytes(flow: FlowResult) -> bytes:
    """What a power flow found; grid, topology and injection follow from the case."""
    return _write({name: getattr(flow, name) for name in _FLOW})


def read_flow(content: bytes, case: Case) -> FlowResult:
    """The power flow of ``case`` that `flow_bytes` wrote."""
    stored = _read(content)
    return FlowResult(
        grid=case.grid,
        topology=case.topology,
        injection=case.injection,
        **{name: stored[name] for name in _FLOW},
    )


def n1_bytes(n1: SecurityResult) -> bytes:
    """What the outages found; their base is the flow beside them."""
    sizes = [len(members) for members in n1.contingencies.elements]
    flat = [e for members in n1.contingencies.elements for e in members]
    return _write(
        {name: getattr(n1, name) for name in _N1}
        | {
            "names": np.array(json.dumps(n1.contingencies.name)),
            "sizes": np.array(sizes, np.int64),
            "elements": np.array(flat, np.int64),
        }
    )


def read_n1(content: bytes, base: FlowResult) -> SecurityResult:
    """The outages of a state that `n1_bytes` wrote."""
    stored = _read(content)
    cuts = np.cumsum(stored["sizes"])[:-1]
    members = np.split(stored["elements"], cuts) if stored["sizes"].size else []
    contingencies = Contingencies(
        name=tuple(json.loads(str(stored["names"]))),
        elements=tuple(tuple(int(e) for e in part) for part in members),
    )
    found = {name: stored[name] for name in _N1}
    return SecurityResult(contingencies=contingencies, base=base, **found)


def _write(arrays: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def _read(content: bytes) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as broken:
        raise StudyError(f"Stored arrays cannot be read: {broken}.") from None
