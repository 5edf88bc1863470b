"""Logged decisions as a CSV file: what could have been chosen each time, and what was.

One row per candidate::

    decision,chosen,overload,losses,switching
    2031-01-05 17:00,0,1.25,0.8,0
    2031-01-05 17:00,1,0.10,0.9,1

``decision`` tells decisions apart, ``chosen`` is 1 for the candidate that was taken and 0 for the
others, every other column is a feature: more of it must be what a positive weight would want.
"""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irl.errors import IrlError
from irl.likelihood import CandidateChoice

_FIXED = ("decision", "chosen")
_LARGEST = 1e12  # of a feature: beyond it differences between candidates are lost


@dataclass(frozen=True, eq=False, kw_only=True)
class DecisionLog:
    """Decisions with named features, in the order of the file."""

    features: tuple[str, ...]
    choice: CandidateChoice  # of features in that order

    def ordered(self, shared: Sequence[str], scale: Sequence[float]) -> "DecisionLog":
        """Shared features first, divided by their agreed ``scale``; the own ones behind them.

        Own features are divided by their standard deviation, which stays at home.

        Raises
        ------
        IrlError
            A shared feature is missing.
        """
        missing = [name for name in shared if name not in self.features]
        if missing:
            raise IrlError(
                f"The decisions lack the shared feature {', '.join(missing)}; there are "
                f"{', '.join(self.features)}. Add the column, or agree on other features."
            )
        own = [name for name in self.features if name not in shared]
        place = [self.features.index(name) for name in (*shared, *own)]
        table = self.choice.features[:, place]
        spread = table[:, len(shared) :].std(axis=0)
        divisor = np.concatenate([np.asarray(scale, float), np.where(spread > 0, spread, 1.0)])
        choice = CandidateChoice(
            features=table / divisor, start=self.choice.start, chosen=self.choice.chosen
        )
        return DecisionLog(features=(*shared, *own), choice=choice)


def read_decisions(path: Path) -> DecisionLog:
    """Read and check a file of decisions.

    Raises
    ------
    IrlError
        It cannot be read, lacks a column, has a cell that is no finite number, or a decision with
        none or several candidates chosen.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [name.strip() for name in next(rows, [])]
            body = [(rows.line_num, row) for row in rows if row]
    except OSError as error:
        raise IrlError(f"{path}: cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise IrlError(f"{path}: this is no CSV file in UTF-8.") from error
    features = _features(path, header)
    table, name, taken = [], [], []
    for line, row in body:
        if len(row) != len(header):
            raise IrlError(f"{path}, line {line}: {len(row)} cells, the header has {len(header)}.")
        cells = dict(zip(header, row, strict=True))
        name.append(cells["decision"])
        taken.append(_number(path, line, "chosen", cells["chosen"]))
        if taken[-1] not in (0.0, 1.0):
            raise IrlError(f"{path}, line {line}: chosen must be 0 or 1.")
        table.append([_number(path, line, k, cells[k]) for k in features])
    if not table:
        raise IrlError(f"{path}: there are no decisions below the header.")
    start = [k for k in range(len(name)) if k == 0 or name[k] != name[k - 1]]
    begun = [name[k] for k in start]
    twice = [one for one, count in Counter(begun).items() if count > 1]
    if twice:
        raise IrlError(
            f"{path}: decision '{twice[0]:.60}' comes twice. Put all its candidates one below the "
            "other."
        )
    wrong = np.add.reduceat(taken, start) != 1.0
    if wrong.any():
        first = begun[int(np.flatnonzero(wrong)[0])]
        raise IrlError(
            f"{path}: {wrong.sum()} decisions do not have exactly one candidate chosen; the first "
            f"is '{first:.60}'."
        )
    choice = CandidateChoice(
        features=np.array(table),
        start=np.array([*start, len(table)]),
        chosen=np.flatnonzero(taken),
    )
    return DecisionLog(features=features, choice=choice)


def write_decisions(
    path: Path, names: Sequence[str], choice: CandidateChoice, features: NDArray[np.float64]
) -> None:
    """Write decisions that `read_decisions` reads; ``features`` [n_candidate, len(names)]."""
    taken = np.zeros(len(features), np.int64)
    taken[choice.chosen] = 1
    number = np.repeat(np.arange(choice.n_observation), np.diff(choice.start))
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow([*_FIXED, *names])
        for k, row in enumerate(features):
            out.writerow([number[k], taken[k], *map(repr, row.tolist())])


def _features(path: Path, header: Sequence[str]) -> tuple[str, ...]:
    missing = [name for name in _FIXED if name not in header]
    if missing:
        raise IrlError(f"{path}: there is no column {' or '.join(missing)}.")
    twice = sorted({name for name in header if header.count(name) > 1})
    features = tuple(name for name in header if name not in _FIXED)
    if twice or not features or "" in header:
        raise IrlError(f"{path}: columns need names, none twice, and there must be a feature.")
    return features


def _number(path: Path, line: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise IrlError(f"{path}, line {line}: {column} is '{cell:.40}', not a finite number.")
    if abs(value) > _LARGEST:
        raise IrlError(f"{path}, line {line}: {column} is {value:g}; use another unit.")
    return value
