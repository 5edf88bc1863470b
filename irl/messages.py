"""What an agent tells the others: a Gaussian factor of the shared reward, and nothing else.

A message holds natural parameters: the precision and the precision-weighted mean that the
agent's own data add to the shared weights. It has no state, action, own weight or own cost, and
its size does not depend on the number of trajectories. It is *not* differentially private: the
precision is second-moment information of the data.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irl.errors import IrlError

FORMAT = "gridrl-irl-message-1"
_KEYS = {"format", "agent", "round", "schema", "eta", "precision", "evidence", "n_observation"}
# A dense precision over 2,000 weights is 2 million numbers; more is not a message but a mistake.
_MAX_BYTES = 50_000_000
# No data say more than this of a weight, whose scale all agreed on; beyond it sums lose digits.
_LARGEST = 1e12


def schema_hash(names: Sequence[str], units: Sequence[str] = ()) -> str:
    """Fingerprint of the shared weights: their names, units and order."""
    text = json.dumps([list(names), list(units)], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False, kw_only=True)
class SharedMessage:
    """The factor ``exp(eta's - s' precision s / 2)`` of the shared weights ``s`` [n_shared].

    Raises
    ------
    IrlError
        For numbers that are not finite, shapes that differ or a precision that is not symmetric
        and positive semidefinite.
    """

    agent: str
    round: int
    schema: str  # schema_hash of the shared weights
    eta: NDArray[np.float64]  # [n_shared]
    precision: NDArray[np.float64]  # [n_shared, n_shared]
    evidence: float  # the agent's term of the log evidence, nats
    n_observation: int

    def __post_init__(self) -> None:
        eta, precision = np.array(self.eta, float), np.array(self.precision, float)
        n = eta.size
        if eta.ndim != 1 or precision.shape != (n, n):
            raise IrlError(
                f"The message of {self.agent} has eta {eta.shape} and precision "
                f"{precision.shape}; they must be [n] and [n, n]."
            )
        finite = np.isfinite(eta).all() and np.isfinite(precision).all()
        if not finite or not math.isfinite(self.evidence):
            raise IrlError(f"The message of {self.agent} has numbers that are not finite.")
        size = max(1.0, float(np.abs(precision).max(initial=0.0)))
        if n and np.abs(precision - precision.T).max() > 1e-9 * size:
            raise IrlError(f"The precision of {self.agent} is not symmetric.")
        if n and np.linalg.eigvalsh(precision).min() < -1e-7 * size:
            raise IrlError(
                f"The precision of {self.agent} has a negative eigenvalue, so it is no "
                "information that data can give. Ask its sender to fit again."
            )
        # Exactly symmetric: half of it travels, and what comes back must be what went.
        precision = (precision + precision.T) / 2
        for name, own in (("eta", eta), ("precision", precision)):
            own.setflags(write=False)
            object.__setattr__(self, name, own)

    def to_json(self) -> str:
        """One line of JSON; the precision as its upper triangle, row by row."""
        upper = self.precision[np.triu_indices(self.eta.size)]
        content = {
            "format": FORMAT,
            "agent": self.agent,
            "round": self.round,
            "schema": self.schema,
            "eta": self.eta.tolist(),
            "precision": upper.tolist(),
            "evidence": self.evidence,
            "n_observation": self.n_observation,
        }
        return json.dumps(content, separators=(",", ":"), allow_nan=False)


def read_message(text: str, schema: str) -> SharedMessage:
    """Check the JSON of a message against the schema that the reader works with."""
    if len(text) > _MAX_BYTES:
        raise IrlError(f"The message has {len(text)} characters; at most {_MAX_BYTES} are read.")
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise IrlError("The message is not JSON; ask its sender to write it again.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise IrlError(f"This is no message: its format is not {FORMAT}.")
    if set(content) != _KEYS:
        odd = ", ".join(sorted(map(str, set(content) ^ _KEYS)))
        raise IrlError(f"The message lacks, or has too much: {odd}.")
    if content["schema"] != schema:
        raise IrlError(
            f"The message was written for other shared weights (schema {content['schema']!s:.40}, "
            f"ours is {schema}). Agree on names, units and order first."
        )
    numbers = _numbers(content, "eta")
    upper = _numbers(content, "precision")
    n = numbers.size
    if upper.size != n * (n + 1) // 2:
        raise IrlError(
            f"The message has {upper.size} entries of precision for {n} weights; "
            f"there must be {n * (n + 1) // 2}."
        )
    precision = np.zeros((n, n))
    precision[np.triu_indices(n)] = upper
    precision = precision + np.triu(precision, 1).T
    for name, kind in (("agent", str), ("round", int), ("n_observation", int)):
        if not isinstance(content[name], kind) or isinstance(content[name], bool):
            raise IrlError(f"{name} of the message is not of type {kind.__name__}.")
    if content["round"] < 0 or content["n_observation"] < 0:
        raise IrlError("round and n_observation of the message must not be negative.")
    if not isinstance(content["evidence"], int | float):
        raise IrlError("evidence of the message is not a number.")
    largest = max(
        float(np.abs(numbers).max(initial=0.0)), float(np.abs(upper).max(initial=0.0)),
        abs(content["evidence"]), content["n_observation"], content["round"],
    )  # fmt: skip
    if largest > _LARGEST:
        raise IrlError(
            f"The message has a number above {_LARGEST:g}, which no data give. Check the scale of "
            "its sender's features."
        )
    return SharedMessage(
        agent=content["agent"],
        round=content["round"],
        schema=schema,
        eta=numbers,
        precision=precision,
        evidence=float(content["evidence"]),
        n_observation=content["n_observation"],
    )


def _numbers(content: dict[str, Any], name: str) -> NDArray[np.float64]:
    values = content[name]
    plain = isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    )
    if not plain:
        raise IrlError(f"{name} of the message is not a list of numbers.")
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError as error:
        raise IrlError(f"{name} of the message has a number too large to be one.") from error
