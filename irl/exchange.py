"""One party's turn in an exchange by files: read what others said, fit, answer, write it down.

Parties share a folder, or send each other its files. Each writes one file, ``NAME.message.json``;
nothing else leaves it. Everything that came in and went out is appended to an audit log of its
own. Turns may be taken in any order and at any time: all lead to the same point.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irl.agent import Agent, extrinsic_message, local_fit
from irl.agreement import Agreement
from irl.decisions import DecisionLog
from irl.errors import IrlError
from irl.fusion import Belief, fuse, misaligned_agents
from irl.maxent import Fit
from irl.messages import SharedMessage, read_message
from irl.priors import iid

SUFFIX = ".message.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_MAX_PARTIES = 200
_BYTES_PER_NUMBER = 32
_ENTRY = {"at", "agent", "round", "heard", "said", "shared", "change"}
# Moves of the shared weights below this are not worth another round.
SETTLED = 1e-3


@dataclass(frozen=True, eq=False, kw_only=True)
class Turn:
    """What a party knows after its turn."""

    agent: str
    features: tuple[str, ...]  # shared ones first
    fit: Fit
    shared: Belief  # of everybody, this party's answer included
    message: SharedMessage
    heard: tuple[SharedMessage, ...]
    change: float | None  # largest move of a shared weight since the last turn; None at the first

    @property
    def settled(self) -> bool:
        """Whether weights no longer move, and everybody else has answered what it heard."""
        answered = bool(self.heard) and all(message.round > 0 for message in self.heard)
        return answered and self.change is not None and self.change <= SETTLED


def check_name(name: str) -> str:
    """A party's name: it is a file's name, and travels.

    Raises
    ------
    IrlError
        It is not 1 to 40 letters, digits, dots, dashes and underscores.
    """
    if not _NAME.fullmatch(name):
        raise IrlError(
            f"The name '{name:.60}' must be 1 to 40 letters, digits, dots, dashes or underscores, "
            "and begin with a letter or digit."
        )
    return name


def take_turn(
    agent: str, log: DecisionLog, agreement: Agreement, folder: Path, audit: Path
) -> Turn:
    """Hear the messages in ``folder``, fit, write the own message there and log all of it.

    Raises
    ------
    IrlError
        A message is none, or was written under another agreement; a file cannot be written.
    """
    check_name(agent)
    ordered = log.ordered(agreement.shared, agreement.scale)
    said = read_folder(folder, agreement)
    before = next((m for m in said if m.agent == agent), None)
    heard = tuple(m for m in said if m.agent != agent)
    prior = agreement.prior
    own = iid(len(ordered.features) - len(agreement.shared), agreement.own_sd**2)
    module = Agent(name=agent, likelihood=ordered.choice, own_covariance=own)
    fit = local_fit(module, prior, fuse(prior, heard))
    number = 0 if before is None else before.round + 1
    message = extrinsic_message(module, prior, fit, number=number, schema=agreement.schema)
    shared = fuse(prior, [*heard, message])
    change = None
    if before is not None:
        change = float(np.abs(shared.mean - _last_mean(audit, agent, shared.mean)).max())
    turn = Turn(
        agent=agent, features=ordered.features, fit=fit, shared=shared, message=message,
        heard=heard, change=change,
    )  # fmt: skip
    _write(folder / f"{agent}{SUFFIX}", message.to_json() + "\n")
    _append(audit, turn)
    return turn


def read_folder(folder: Path, agreement: Agreement) -> list[SharedMessage]:
    """Every message in a folder, checked; by name.

    Raises
    ------
    IrlError
        One of them is refused. The sentence names the file.
    """
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if len(paths) > _MAX_PARTIES:
        raise IrlError(f"{folder}: {len(paths)} messages; at most {_MAX_PARTIES} parties may join.")
    n = len(agreement.shared)
    limit = 1000 + _BYTES_PER_NUMBER * (n + n * (n + 1) // 2)
    return [_read(path, limit, agreement) for path in paths]


def _read(path: Path, limit: int, agreement: Agreement) -> SharedMessage:
    """One message; every refusal names the file."""
    n = len(agreement.shared)
    try:
        size = path.stat().st_size if path.is_file() else limit + 1
        text = path.read_text(encoding="utf-8") if size <= limit else ""
    except OSError as error:
        raise IrlError(f"{path.name}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise IrlError(f"{path.name}: this is no text in UTF-8.") from error
    if size > limit:
        raise IrlError(
            f"{path.name}: a message about {n} weights is a file of at most {limit} bytes."
        )
    try:
        message = read_message(text, agreement.schema)
    except IrlError as error:
        raise IrlError(f"{path.name}: {error}") from error
    if message.eta.size != n:
        raise IrlError(f"{path.name}: it speaks of {message.eta.size} weights, not of {n}.")
    if f"{message.agent}{SUFFIX}" != path.name:
        raise IrlError(
            f"{path.name}: its sender calls itself '{message.agent:.60}'; a message must lie in "
            "the file of its sender, or data would count twice."
        )
    return message


def _last_mean(audit: Path, agent: str, default: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shared weights after this party's last turn; far away where no log says so."""
    means = [entry["shared"] for entry in read_audit(audit) if entry["agent"] == agent]
    if not means or len(means[-1]) != default.size:
        return np.full_like(default, np.inf)
    return np.array(means[-1], dtype=np.float64)


def read_audit(path: Path) -> list[dict[str, Any]]:
    """Entries of an audit log, oldest first; none where there is no log yet.

    Raises
    ------
    IrlError
        A line is not one of ours.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise IrlError(f"{path}: this audit log cannot be read.") from error
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict) or not entry.keys() >= _ENTRY:
            raise IrlError(
                f"{path}, line {number}: this is no line of an audit log. Move the file away, or "
                "name another with --audit."
            )
        entries.append(entry)
    return entries


def _append(audit: Path, turn: Turn) -> None:
    """One line for the turn: what came in and what went out, number by number."""
    entry = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "agent": turn.agent,
        "round": turn.message.round,
        "heard": [_record(message) for message in turn.heard],
        "said": _record(turn.message),
        "shared": turn.shared.mean.tolist(),
        "change": turn.change if turn.change is not None and np.isfinite(turn.change) else None,
    }
    try:
        with audit.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, allow_nan=False) + "\n")
    except OSError as error:
        raise IrlError(f"{audit}: cannot be written ({error.strerror}).") from error


def _record(message: SharedMessage) -> dict[str, Any]:
    text = message.to_json()
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), "bytes": len(text),
            "message": json.loads(text)}  # fmt: skip


def _write(path: Path, text: str) -> None:
    """Whole or not at all: others may read the folder at any time."""
    half = path.with_suffix(".part")
    try:
        half.write_text(text, encoding="utf-8")
        half.replace(path)
    except OSError as error:
        raise IrlError(f"{path}: cannot be written ({error.strerror}).") from error


def misaligned(agreement: Agreement, messages: Sequence[SharedMessage]) -> tuple[str, ...]:
    """Parties whose data speak against sharing with the others (`irl.fusion`)."""
    return misaligned_agents(agreement.prior, messages)
