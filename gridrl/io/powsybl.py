"""The door for XIIDM, CGMES (zip) and UCTE files, through pypowsybl's importers.

pypowsybl reads the file; the model (per-unit two-ports, what each unit does) is built here from
its tables, so no powsybl object outlives the door. Files are checked first: no XML entities, no
archive that unpacks beyond reason.
"""

import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from gridrl.case import Case, Fate, ReportRow
from gridrl.errors import CaseError, MissingExtra
from gridrl.grid import Ints
from gridrl.io.assemble import Buses, Units, assemble, stack
from gridrl.io.files import LIMIT_BYTES, read_bytes
from gridrl.io.powsybl_branches import read_branches
from gridrl.io.powsybl_limits import with_limits
from gridrl.io.powsybl_places import S_BASE_MVA, Frame, Places, read_places, without_short_lines
from gridrl.io.powsybl_units import read_units

_SUFFIXES = (".xiidm", ".iidm", ".xml", ".jiidm", ".biidm", ".zip", ".uct")
_ENTITY = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
# Text compresses about tenfold; a bomb a thousandfold.
_MAX_RATIO = 200


def load_powsybl(path: str | Path) -> Case:
    """Load an XIIDM, CGMES or UCTE file.

    Raises
    ------
    CaseError, GridError
        The file cannot be read as a network; one sentence says why and what to do.
    MissingExtra
        pypowsybl is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise CaseError(f"{path} has none of the suffixes {', '.join(_SUFFIXES)}. Rename it.")
    data = read_bytes(path)
    _check_archive(data, path)
    network = _import(path)
    rows: list[ReportRow] = []
    places = read_places(network, rows)
    if not places.buses.id:
        raise CaseError(f"{path} holds no voltage level. Give a file with a network.")
    lines = Frame.read("line", network.get_lines(all_attributes=True))
    places, lines = without_short_lines(places, lines, rows)
    drawn = read_branches(network, lines, places, rows)
    units = [*read_units(network, places, rows), *drawn.units]
    if not drawn.branches or not units:
        raise CaseError(f"{path} holds no branch or nothing that feeds it. Give a whole network.")
    branches = with_limits(stack(drawn.branches), drawn.buses, network, rows)
    table = _with_reference(_agreed(stack(units), drawn.buses, rows), places, network, rows)
    _report_rest(network, data, rows)
    return assemble(
        name=path.stem,
        s_base_mva=S_BASE_MVA,
        buses=drawn.buses,
        branches=branches,
        units=table,
        report=rows,
        source=str(path),
        origin=f"{path.suffix[1:].upper()} file read by pypowsybl {version('pypowsybl')}",
    )


def _import(path: Path) -> Any:
    try:
        pypowsybl: Any = import_module("pypowsybl")
    except ImportError as missing:
        raise MissingExtra(
            f"Reading {path.suffix} files needs pypowsybl: pip install 'gridrl[powsybl]'"
        ) from missing
    try:
        return pypowsybl.network.load(str(path))
    except (pypowsybl.PyPowsyblError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:300]
        raise CaseError(f"{path} cannot be read by pypowsybl: {said}. Correct the file.") from error


def _check_archive(data: bytes, path: Path) -> None:
    """Refuse XML entities (they can read files) and archives that unpack without end."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        if path.suffix.lower() == ".zip":
            raise CaseError(f"{path} is no zip archive. Give the CGMES profiles in one zip file.")
        _check_entities(data, str(path))
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(item.file_size for item in archive.infolist())
            if size > LIMIT_BYTES or size > _MAX_RATIO * len(data):
                raise CaseError(
                    f"{path} unpacks to {size} bytes; gridrl reads at most {LIMIT_BYTES} and "
                    f"{_MAX_RATIO} times the archive. Split the case."
                )
            for item in archive.infolist():
                with archive.open(item) as stream:
                    content = stream.read(item.file_size + 1)
                if len(content) > item.file_size:
                    raise CaseError(f"{path}: {item.filename} is longer than it says. Zip it anew.")
                _check_entities(content, f"{path} ({item.filename})")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise CaseError(f"{path} is a damaged zip archive: {error}. Zip it anew.") from error


def _check_entities(content: bytes, label: str) -> None:
    if _ENTITY.search(content):
        raise CaseError(f"{label} declares XML entities, which could read files. Remove them.")


def _agreed(units: Units, buses: Buses, rows: list[ReportRow]) -> Units:
    """One voltage set point per node: the first unit's in service decides."""
    node = buses.node[units.bus]
    held = ~np.isnan(units.v_set) & (units.busbar > 0)
    first: dict[int, float] = {}
    v_set = units.v_set.copy()
    for k in np.flatnonzero(held):
        v_set[k] = first.setdefault(int(node[k]), float(v_set[k]))
    moved = held & (v_set != units.v_set)
    if moved.any():
        ids = tuple(units.id[int(k)] for k in np.flatnonzero(moved))
        note = "units of one bus disagree on target_v; the first one decides"
        rows.append(
            ReportRow(
                fate=Fate.MAPPED, kind="voltage set point", count=len(ids), note=note, elements=ids
            )
        )
    return replace(units, v_set=v_set)


def _with_reference(units: Units, places: Places, network: Any, rows: list[ReportRow]) -> Units:
    """One reference generator per synchronous component that has one.

    The file's slack terminal decides where a generator there holds the voltage; else it is the
    generator with the largest ``max_p`` among those that do.
    """
    count = len(places.buses.id)
    candidate = np.array([kind == "gen" for kind in units.kind], dtype=bool)
    candidate &= ~np.isnan(units.v_set) & (units.busbar > 0)
    component = np.where(units.bus < count, places.component[np.minimum(units.bus, count - 1)], -1)
    wanted = _slack_nodes(network, places)
    node = places.buses.node[np.minimum(units.bus, count - 1)]
    size = np.where(np.isfinite(units.p_max), units.p_max, units.p)
    picked, why = [], []
    for number in np.unique(component[candidate & (component >= 0)]):
        here = np.flatnonzero(candidate & (component == number))
        named = here[np.isin(node[here], wanted)]
        chosen = int(named[0]) if named.size else int(here[np.argmax(size[here])])
        picked.append(chosen)
        why.append("slack terminal of the file" if named.size else "largest max_p")
    if not picked:
        raise CaseError(
            "No connected generator holds a voltage, so no bus can be the reference. Switch the "
            "voltage regulation of at least one generator on."
        )
    for chosen, reason in zip(picked, why, strict=True):
        row = ReportRow(
            fate=Fate.MAPPED,
            kind="reference",
            count=1,
            note=f"angle reference and slack: {reason}",
            elements=(units.id[chosen],),
        )
        rows.append(row)
    is_reference = np.zeros(len(units.id), dtype=bool)
    is_reference[picked] = True
    return replace(units, is_reference=is_reference)


def _slack_nodes(network: Any, places: Places) -> Ints:
    frame = Frame.read("slack terminal", network.get_extensions("slackTerminal"))
    if not len(frame) or "bus_id" not in frame.data:
        return np.zeros(0, dtype=np.int64)
    at = [places.of_bus[bus] for bus in frame.texts("bus_id") if bus in places.of_bus]
    return places.buses.node[np.array(at, dtype=np.int64)]


def _report_rest(network: Any, data: bytes, rows: list[ReportRow]) -> None:
    """Equipment that the power flow does not contain."""
    unread: Sequence[tuple[str, Any, str]] = (
        ("ground", network.get_grounds(), "grounding switches are not represented"),
        ("dc node", network.get_dc_nodes(), "detailed DC grids are not represented"),
        (
            "voltage source converter",
            network.get_voltage_source_converters(),
            "detailed DC grids are not represented; its buses receive nothing from it",
        ),
    )
    for kind, frame, note in unread:
        if len(frame):
            ids = tuple(str(i) for i in frame.index)
            rows.append(
                ReportRow(fate=Fate.REFUSED, kind=kind, count=len(ids), note=note, elements=ids)
            )
    models = len(re.findall(rb":(?:zipModel|exponentialModel)\b", data))
    if models:
        note = "voltage-dependent load models are not handed on by pypowsybl; constant power"
        rows.append(ReportRow(fate=Fate.REFUSED, kind="load model", count=models, note=note))
