"""Operators whose logs are all in one place: one call from files to a result."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from irl.agent import Agent
from irl.agreement import Agreement, read_agreement
from irl.decisions import DecisionLog, read_decisions
from irl.errors import IrlError
from irl.evidence import candidate_priors
from irl.exchange import check_name
from irl.priors import TurboPrior, iid
from irl.record import of_result
from irl.turbo import TurboIRL

# Standard deviation of a weight of scaled features before anything is known: two nats or so.
_SD = 2.0


def fit_files(
    paths: Sequence[Path], shared: Sequence[str], agreement: Path | None = None
) -> dict[str, Any]:
    """Fit operators from CSV files of decisions; the document of `irl.record`.

    Without an agreement the shared features are ``shared``, scaled by their standard deviation
    over all operators, and evidence chooses how alike the operators are.
    """
    names = [check_name(path.stem) for path in paths]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise IrlError(f"Two files are called {twice[0]}: an operator's name is that of its file.")
    logs = [read_decisions(path) for path in paths]
    priors: Sequence[TurboPrior]
    if agreement is not None:
        if shared:
            raise IrlError("Give --shared or --agreement, not both.")
        agreed = read_agreement(agreement)
        priors = (agreed.prior,)
    else:
        agreed = _agreed(logs, shared)
        priors = candidate_priors(len(shared), variances=(1.0, _SD**2, 16.0))
    ordered = [log.ordered(agreed.shared, agreed.scale) for log in logs]
    n = len(agreed.shared)
    agents = [
        Agent(
            name=name,
            likelihood=log.choice,
            own_covariance=iid(len(log.features) - n, agreed.own_sd**2),
        )
        for name, log in zip(names, ordered, strict=True)
    ]
    found = TurboIRL(agents, agreed.shared, priors).fit()
    if len(priors) > 1:  # once more from nothing, so that rounds show how the exchange went
        cold = TurboIRL(agents, agreed.shared, found.prior).fit()
        found = replace(cold, evidence=found.evidence)
    return of_result(
        found, [log.features for log in ordered], agreed.own_sd, units=agreed.units,
        scale=agreed.scale,
    )  # fmt: skip


def _agreed(logs: Sequence[DecisionLog], shared: Sequence[str]) -> Agreement:
    if not shared:
        raise IrlError("Name the features that all share: --shared overload,losses.")
    columns = []
    for name in shared:
        parts = [
            log.choice.features[:, log.features.index(name)] for log in logs if name in log.features
        ]
        columns.append(np.concatenate(parts) if parts else np.zeros(1))
    spread = [float(column.std()) or 1.0 for column in columns]
    return Agreement(
        shared=tuple(shared), units=("-",) * len(shared), scale=tuple(spread), own_sd=_SD
    )
