"""What a fit found, as one JSON document: for people, for the report, and for the next program."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irl.agreement import Agreement
from irl.errors import IrlError
from irl.exchange import Turn, misaligned, read_audit
from irl.fusion import Belief, information, interval, log_evidence
from irl.identifiability import report
from irl.maxent import Fit
from irl.messages import SharedMessage, read_message
from irl.priors import TurboPrior
from irl.rates import exchange_rate
from irl.turbo import TurboResult

KIND = "gridrl irl fit 1"
_MAX_BYTES = 20_000_000
# Below this share of the variance nothing is shared; evidence found that operators differ.
_ALONE = 0.01
NOTHING_SHARED = (
    "The data do not say that anything is shared: these are not what operators want. "
    "Read each operator's own weights below."
)
Document = dict[str, Any]


def of_result(
    result: TurboResult,
    features: Sequence[Sequence[str]],
    own_sd: float,
    *,
    units: Sequence[str],
    scale: Sequence[float],
) -> Document:
    """The document of an exchange within one program; ``features`` of each agent by name."""
    agents = [
        _agent(name, names, fit, result.prior, own_sd, message.n_observation)
        for name, names, fit, message in zip(
            result.agents, features, result.fits, result.messages, strict=True
        )
    ]
    return _document(
        result.shared_names, units, scale, result.prior, result.shared, agents,
        rounds=_rounds(result.prior, result.history, result.change),
        misaligned=result.misaligned, converged=result.converged, evidence=result.evidence,
    )  # fmt: skip


def of_turn(turn: Turn, agreement: Agreement, audit: Path) -> Document:
    """The document of one party: of the others it knows what they said, and nothing else."""
    prior = agreement.prior
    history, change = [], []
    for entry in read_audit(audit):
        if entry["agent"] == turn.agent:
            said = [*entry["heard"], entry["said"]]
            history.append(
                [read_message(json.dumps(one["message"]), agreement.schema) for one in said]
            )
            change.append(entry["change"] if entry["change"] is not None else math.inf)
    agent = _agent(
        turn.agent, turn.features, turn.fit, prior, agreement.own_sd, turn.message.n_observation
    )
    return _document(
        agreement.shared, agreement.units, agreement.scale, prior, turn.shared, [agent],
        rounds=_rounds(prior, history, change),
        misaligned=misaligned(agreement, [*turn.heard, turn.message]), converged=turn.settled,
        evidence=log_evidence(prior, [*turn.heard, turn.message]),
    )  # fmt: skip


def _document(
    shared: Sequence[str], units: Sequence[str], scale: Sequence[float], prior: TurboPrior,
    belief: Belief, agents: list[Document], *, rounds: list[Document],
    misaligned: Sequence[str], converged: bool, evidence: float,
) -> Document:  # fmt: skip
    ends = interval(belief, 0.9)
    total = np.trace(prior.shared) + np.trace(prior.deviation)
    return {
        "kind": KIND,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "shared": list(shared),
        "units": list(units),
        "scale": list(map(float, scale)),
        "prior": {
            "shared_sd": np.sqrt(np.diag(prior.shared)).tolist(),
            "deviation_sd": np.sqrt(np.diag(prior.deviation)).tolist(),
        },
        "weights": _weights(shared, belief.mean, ends),
        "rates": _rates(tuple(shared), belief, np.asarray(scale, float)),
        "agents": agents,
        "rounds": rounds,
        "likeness": float(np.trace(prior.shared) / total),
        "misaligned": list(misaligned),
        "converged": converged,
        "log_evidence": evidence,
    }


def _weights(
    names: Sequence[str], mean: NDArray[np.float64], ends: NDArray[np.float64]
) -> list[Document]:
    return [
        {"name": name, "mean": float(m), "low": float(low), "high": float(high)}
        for name, m, (low, high) in zip(names, mean, ends, strict=True)
    ]


def _rates(names: tuple[str, ...], belief: Belief, scale: NDArray[np.float64]) -> list[Document]:
    """Every shared weight in units of the one that is known best."""
    known = np.abs(belief.mean) / np.sqrt(np.maximum(np.diag(belief.covariance), 1e-300))
    per = names[int(np.argmax(known))]
    found = [
        exchange_rate(names, belief.mean, belief.covariance, name, per, scale=scale)
        for name in names
        if name != per
    ]
    return [
        {"of": r.of, "per": r.per, "value": _finite(r.value), "low": _finite(r.low),
         "high": _finite(r.high)}
        for r in found
    ]  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _agent(
    name: str, features: Sequence[str], fit: Fit, prior: TurboPrior, own_sd: float, n: int
) -> Document:
    n_shared, d = prior.n_shared, len(features)
    before = np.zeros((d, d))
    before[:n_shared, :n_shared] = prior.shared + prior.deviation
    before[n_shared:, n_shared:] = own_sd**2 * np.eye(d - n_shared)
    told = report(fit.curvature, before, features)
    ends = interval(Belief(mean=fit.theta, covariance=fit.covariance), 0.9)
    return {
        "name": name,
        "decisions": n,
        "weights": _weights(features, fit.theta, ends),
        "told": [round(float(x), 4) for x in told.told],
        "not_told": list(told.sentences),
        "converged": fit.converged,
        "reason": fit.reason,
    }


def _rounds(
    prior: TurboPrior, history: Sequence[Sequence[SharedMessage]], change: Sequence[float]
) -> list[Document]:
    """Of each round the largest move, and what each agent had heard and said by then, nats."""
    out = []
    before: Sequence[SharedMessage] = ()
    for said, moved in zip(history, change, strict=True):
        told = {
            m.agent: {
                "heard": information(prior, [o for o in before if o.agent != m.agent]),
                "said": information(prior, [m]),
            }
            for m in said
        }
        out.append({"change": _finite(moved), "told": told})
        before = said
    return out


def summary(document: Mapping[str, Any]) -> str:
    """The document in a few lines."""
    width = max(len(w["name"]) for a in document["agents"] for w in a["weights"])
    lines = [
        f"What is shared ({100 * document['likeness']:.0f} % of the variance), 90 % intervals:"
    ]
    lines += [f"  {_line(weight, width)}" for weight in document["weights"]]
    if document["likeness"] < _ALONE:
        lines.append(f"  {NOTHING_SHARED}")
    for rate in document["rates"]:
        bounded = rate["low"] is not None and rate["high"] is not None
        lines.append(
            f"One unit of {rate['of']} is worth {rate['value'] or 0.0:.3g} of {rate['per']} "
            + (f"[{rate['low']:.3g}, {rate['high']:.3g}]" if bounded else "(not bounded by data)")
        )
    for agent in document["agents"]:
        lines.append(f"{agent['name']}, {agent['decisions']} decisions:")
        lines += [f"  {_line(weight, width)}" for weight in agent["weights"]]
        lines += [f"  {sentence}" for sentence in agent["not_told"]]
        if not agent["converged"]:
            lines.append(f"  NOT converged: {agent['reason']}")
    lines += [f"{name}: its data speak against the others." for name in document["misaligned"]]
    lines.append(f"Log evidence of this prior: {document['log_evidence']:.2f} nats.")
    return "\n".join(lines)


def _line(weight: Mapping[str, Any], width: int) -> str:
    return (
        f"{weight['name']:<{width}}  {weight['mean']:9.3f}  "
        f"[{weight['low']:.3f}, {weight['high']:.3f}]"
    )


def save(path: Path, document: Document) -> None:
    """Write the document as JSON."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise IrlError(f"{path}: cannot be written ({error.strerror}).") from error


def read(path: Path) -> Document:
    """Read a document.

    Raises
    ------
    IrlError
        It is none.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise IrlError(f"{path}: more than {_MAX_BYTES} bytes is no fit of ours.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IrlError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise IrlError(f"{path}: this is no JSON in UTF-8.") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise IrlError(f"{path}: this is not what `gridrl irl fit` or `exchange` wrote ({KIND}).")
    if not _complete(content):
        raise IrlError(f"{path}: parts of it are missing or of another type. Fit again.")
    return content


def _complete(content: Document) -> bool:
    """Whether everything is there that a report shows."""
    lists = ("shared", "weights", "rates", "agents", "rounds", "misaligned", "scale", "units")
    if not all(isinstance(content.get(key), list) for key in lists):
        return False
    groups: list[tuple[Any, list[Any], Any]] = [(content["weights"], content["units"], str)]
    for agent in content["agents"]:
        fits = isinstance(agent, dict) and {"name", "decisions", "converged", "reason"} <= set(
            agent
        )
        if not fits or not all(isinstance(agent.get(k), list) for k in ("told", "not_told")):
            return False
        groups.append((agent.get("weights"), agent["told"], int | float))
    return (
        len(groups) > 1
        and all(_complete_weights(*group) for group in groups)
        and all(map(_complete_round, content["rounds"]))
        and all(map(_complete_rate, content["rates"]))
        and all(_is_number(content.get(key)) for key in ("likeness", "log_evidence"))
        and isinstance(content.get("made"), str)
        and "converged" in content
    )


def _complete_weights(weights: Any, beside: list[Any], kind: Any) -> bool:
    if not isinstance(weights, list) or not weights or len(weights) != len(beside):
        return False
    return all(isinstance(x, kind) for x in beside) and all(
        isinstance(w, dict)
        and isinstance(w.get("name"), str)
        and all(_is_number(w.get(k)) for k in ("mean", "low", "high"))
        for w in weights
    )


def _complete_round(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("told"), dict):
        return False
    return (entry.get("change") is None or _is_number(entry["change"])) and all(
        isinstance(told, dict) and all(_is_number(told.get(k)) for k in ("heard", "said"))
        for told in entry["told"].values()
    )


def _complete_rate(rate: Any) -> bool:
    if not isinstance(rate, dict) or not all(isinstance(rate.get(k), str) for k in ("of", "per")):
        return False
    return all(
        k in rate and (rate[k] is None or _is_number(rate[k])) for k in ("value", "low", "high")
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e300
