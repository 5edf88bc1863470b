"""Runs contenders on one problem: results compared first, then timed in turns; rows come out.

Times are CPU times of the process (`time.process_time`), which counts every thread. Contenders
take turns, so that what else the machine does hits all of them; the minimum is what a program can
do and the median what it did.
"""

import gc
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gridrl.bench.contender import SAME, Algorithm, Contender, Prepared, Refused
from gridrl.bench.problem import Problem, largest_difference
from gridrl.errors import GridrlError
from gridrl.grid import Bools, Complexes

Row = dict[str, Any]
Say = Callable[[str, str, str], None]  # contender, algorithm, what begins

OURS = "gridrl"
# Every contender stops at a mismatch of 1e-8 p.u.; on weak buses that leaves 1e-7 p.u. of voltage
# open (seen: 2e-7, pandapower on case118).
EQUAL_PU = 1e-6
FEW_MISSED = 0.05  # share of states that a peer may miss and still set the time to beat
TIME_SLICE = 0.05  # s that one repeat should last at least
FIXED = (
    "case", "task", "contender", "algorithm", "cpu_s", "per_state_us", "ratio", "equal",
    "max_dv_pu",
)  # fmt: skip


@dataclass(eq=False, kw_only=True)
class Entry:
    """One algorithm of one contender on one problem, and what came of it."""

    contender: str
    algorithm: Algorithm
    version: str = ""
    states: int = 0
    prepared: Prepared | None = None
    status: str = "ok"
    note: str = ""
    solved: Bools = field(default_factory=lambda: np.empty(0, np.bool_))
    knows_solved: bool = False
    max_dv: float = math.nan
    alone: bool = False  # nothing to compare it with
    once_s: float = 0.0  # CPU time of the second run, which sets how often it is repeated
    once_wall_s: float = 0.0
    times: int = 1  # runs in one turn
    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return self.status == "ok" and self.max_dv <= EQUAL_PU


def race(
    problem: Problem,
    contenders: Iterable[Contender],
    *,
    repeats: int,
    patience_s: float,
    say: Say = lambda *_: None,
    barred: frozenset[tuple[str, str]] = frozenset(),
) -> list[Row]:
    """Compare and time every algorithm of every contender on one problem.

    Parameters
    ----------
    repeats
        Turns that each gets; fewer where they would take longer than ``patience_s``.
    barred
        (contender, algorithm) that brought the process down in an earlier attempt.

    Returns
    -------
    list of dict
        One row each, also for those that are missing, refuse or fail.
    """
    entries = [entry for c in contenders for entry in _entries(c, problem, say, barred)]
    _judge(problem, entries)
    _time(entries, repeats, patience_s, say)
    return _rows(problem, entries)


def _entries(
    contender: Contender, problem: Problem, say: Say, barred: frozenset[tuple[str, str]]
) -> list[Entry]:
    """Prepare and run once everything that a contender offers."""
    say(contender.name, "", "looks for its program")
    try:
        version = contender.version()
    except ImportError as missing:
        return [_failed(contender.name, "not installed", str(missing))]
    try:
        offered = contender.algorithms(problem)
    except Refused as refusal:
        return [_failed(contender.name, "refused", str(refusal))]
    out = []
    for algorithm in offered:
        entry = Entry(contender=contender.name, algorithm=algorithm, version=version)
        out.append(entry)
        if (contender.name, algorithm.name) in barred:
            entry.status, entry.note = "crashed", "brought its process down"
            continue
        part = problem.first(algorithm.most) if algorithm.most else problem
        entry.states = part.states
        say(contender.name, algorithm.name, "is prepared")
        try:
            entry.prepared = contender.prepare(part, algorithm.name)
            say(contender.name, algorithm.name, "runs")
            entry.prepared.run()  # compiles, allocates, fills caches
            entry.once_s, entry.once_wall_s = _measured(entry, 1)
        except Refused as refusal:
            entry.status, entry.note = "refused", str(refusal)
        except Exception as error:  # another program may raise whatever it likes
            entry.status = "failed"
            entry.note = f"{type(error).__name__}: {error}"[:300]
            if contender.name == OURS and not isinstance(error, GridrlError):
                raise
        else:
            entry.note = entry.prepared.note
            entry.states = entry.prepared.states or entry.states
    return out


def _failed(name: str, status: str, note: str) -> Entry:
    return Entry(contender=name, algorithm=Algorithm(name=""), status=status, note=note)


def _judge(problem: Problem, entries: list[Entry]) -> None:
    """Compare all results with those of the first peer that gives voltages, else with ours."""
    able = [e for e in entries if e.prepared is not None and e.status == "ok"]
    giving = [e for e in able if e.prepared is not None and e.prepared.voltages is not None]
    same = [e for e in giving if e.prepared is not None and e.prepared.model == SAME]
    full = [e for e in same if e.states == problem.states]
    ranked = [e for e in full if e.contender != OURS] + full
    if not ranked:
        return
    reference = _voltages(ranked[0])
    for entry in able:
        assert entry.prepared is not None
        want = reference[: entry.states]
        if entry.prepared.voltages is None:
            if entry.prepared.difference is not None:
                entry.max_dv = entry.prepared.difference(want)
            continue
        v = reference if entry is ranked[0] else _voltages(entry)
        entry.solved, entry.knows_solved = np.asarray(np.isfinite(v).any(axis=1)), True
        if v.shape[1] != want.shape[1] or v.shape[0] != want.shape[0]:
            entry.status, entry.note = "failed", f"voltages have shape {v.shape}"
            continue
        entry.max_dv = largest_difference(v, want, problem.slack)
    # the reference is judged by whoever else comes closest to it
    rest = [e for e in able if e is not ranked[0]]
    others = [e for e in rest if e.contender != ranked[0].contender] or rest
    judged = [e.max_dv for e in others if not math.isnan(e.max_dv)]
    ranked[0].max_dv = min(judged, default=math.nan)
    ranked[0].alone = not others


def _voltages(entry: Entry) -> Complexes:
    assert entry.prepared is not None
    assert entry.prepared.voltages is not None
    return np.array(entry.prepared.voltages())


def _time(entries: list[Entry], repeats: int, patience_s: float, say: Say) -> None:
    """Let all take turns; a turn lasts at least a time slice, all of them at most the patience."""
    able = [e for e in entries if e.prepared is not None and e.status == "ok"]
    turns = []
    for entry in able:
        entry.times = max(1, math.ceil(TIME_SLICE / max(entry.once_s, 1e-7)))
        fitting = int(patience_s / max(entry.times * entry.once_s, 1e-9))
        turns.append(min(repeats, fitting))
        if not fitting:  # too slow to be asked again: its second run is its time
            entry.cpu_s, entry.wall_s = [entry.once_s], [entry.once_wall_s]
    for turn in range(max(turns, default=0)):
        gc.collect()
        for entry, wanted in zip(able, turns, strict=True):
            if turn < wanted:
                say(entry.contender, entry.algorithm.name, f"turn {turn + 1} of {wanted}")
                cpu, wall = _measured(entry, entry.times)
                entry.cpu_s.append(cpu)
                entry.wall_s.append(wall)


def _measured(entry: Entry, times: int) -> tuple[float, float]:
    """Mean CPU and wall time of some runs, s."""
    assert entry.prepared is not None
    run = entry.prepared.run
    gc.disable()
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            run()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    finally:
        gc.enable()
    return cpu / times, wall / times


def _per_state(entry: Entry) -> float:
    return min(entry.cpu_s) / entry.states if entry.cpu_s and entry.states else math.nan


def _rows(problem: Problem, entries: list[Entry]) -> list[Row]:
    variants = list(dict.fromkeys(e.algorithm.variant for e in entries))
    rows = []
    for variant in variants:
        alike = [e for e in entries if e.algorithm.variant == variant]
        comparable = [
            e for e in alike
            if e.agrees and e.cpu_s and e.prepared is not None and e.prepared.model == SAME
        ]  # fmt: skip
        ours = min((e for e in comparable if e.contender == OURS), key=_per_state, default=None)
        peers = [
            e
            for e in comparable
            if e.contender != OURS and _missed(e, alike) <= FEW_MISSED * e.states
        ]
        best = min(peers, key=_per_state, default=None)
        rows += [_row(problem, e, alike, ours, best) for e in alike]
    return rows


def _missed(entry: Entry, others: list[Entry]) -> int:
    """States that another one solved with an equal result, and this one did not."""
    if not entry.knows_solved:
        return 0
    n = entry.states
    some = np.zeros(n, np.bool_)
    for other in others:
        if other.agrees and other.knows_solved:
            m = min(n, other.states)
            some[:m] |= other.solved[:m]
    return int((some & ~entry.solved).sum())


def _verdict(entry: Entry, missed: int) -> bool | None:
    """Whether a result agrees with the others; None where there is nothing to compare it with."""
    elsewhere = entry.prepared is not None and entry.prepared.comparable
    if entry.status == "ok" and math.isnan(entry.max_dv) and (entry.alone or elsewhere):
        return None
    return entry.agrees and missed == 0


def _row(
    problem: Problem, entry: Entry, alike: list[Entry], ours: Entry | None, best: Entry | None
) -> Row:
    per_state = _per_state(entry)
    missed = _missed(entry, alike)
    rival = best if entry.contender == OURS else ours
    ratio = math.nan
    same = entry.prepared is not None and entry.prepared.model == SAME
    other = entry.prepared is not None and entry.prepared.comparable
    if rival is not None and (other or (same and entry.agrees)):
        faster, slower = per_state, _per_state(rival)
        ratio = slower / faster if entry.contender == OURS else faster / slower
    scale = 1e6 / entry.states if entry.states else math.nan
    return {
        "case": problem.grid_name,
        "task": problem.task,
        "contender": entry.contender,
        "algorithm": entry.algorithm.name,
        "cpu_s": min(entry.cpu_s, default=math.nan),
        "per_state_us": 1e6 * per_state,
        "ratio": ratio,
        "equal": _verdict(entry, missed),
        "max_dv_pu": entry.max_dv,
        "variant": entry.algorithm.variant or problem.variant,
        "ratio_to": f"{rival.contender} {rival.algorithm.name}" if ratio == ratio and rival else "",
        "states": entry.states,
        "solved": int(entry.solved.sum()) if entry.knows_solved else None,
        "missed": missed if entry.knows_solved else None,
        "median_us": float(np.median(entry.cpu_s)) * scale if entry.cpu_s else math.nan,
        "wall_us": min(entry.wall_s, default=math.nan) * scale,
        "turns": len(entry.cpu_s),
        "threads": entry.prepared.threads if entry.prepared else None,
        "model": entry.prepared.model if entry.prepared else "",
        "status": entry.status,
        "note": entry.note,
        "version": entry.version,
        "grid_digest": problem.case.digest,
    }
