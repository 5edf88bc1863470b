"""Rewards by neural networks: Deep MaxEnt IRL, and network modules for Turbo-IRL.

The network maps the inputs of each parameter's place (features of a state, say) to one number,
so a reward is the vector ``theta`` of its outputs at all places. Gradients of the likelihood with
respect to ``theta`` come from the same compiled code as everywhere; torch carries them on to the
weights. The only module of `irl` that loads torch.

- `deep_maxent`: after Wulfmeier, Ondruska and Posner (2015), a network without a prior.
- `DeepModule`: a network under a Gaussian prior of its outputs. Its messages are those of the
  convex module, because both speak of ``theta`` and not of network weights.
- `encode`: a frozen public encoder, whose outputs are features of a linear head. Such a head is an
  ordinary convex module; `fingerprint` makes sure that all parties use one encoder.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from irl.errors import IrlError
from irl.likelihood import Likelihood
from irl.maxent import Fit
from irl.priors import check_covariance, square_root

_FLOAT = torch.float64


@dataclass(frozen=True, kw_only=True)
class Network:
    """A fully connected network from inputs to one number, and how long it is trained."""

    hidden: tuple[int, ...] = (64, 64)
    steps: int = 100
    rate: float = 3e-3  # of Adam
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        if self.steps < 1 or self.rate <= 0 or self.weight_decay < 0 or min(self.hidden) < 1:
            raise IrlError("A network needs at least one step, unit and a rate above zero.")


class _Loss(torch.autograd.Function):
    """A likelihood of ours as a function that torch can differentiate once."""

    @staticmethod
    def forward(ctx: Any, theta: torch.Tensor, likelihood: Likelihood) -> torch.Tensor:
        value, gradient = likelihood.value(theta.detach().numpy())
        ctx.save_for_backward(torch.from_numpy(gradient))
        return torch.tensor(value, dtype=_FLOAT)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return outer[0] * gradient, None


def _loss(theta: torch.Tensor, likelihood: Likelihood) -> torch.Tensor:
    value: torch.Tensor = _Loss.apply(theta, likelihood)  # type: ignore[no-untyped-call]
    return value


def _layers(
    inputs: torch.Tensor, hidden: tuple[int, ...], rng: np.random.Generator
) -> torch.nn.Sequential:
    """Layers whose weights come from ``rng`` alone."""
    sizes = [inputs.shape[1], *hidden, 1]
    parts: list[torch.nn.Module] = []
    for below, above in pairwise(sizes):
        layer = torch.nn.Linear(below, above, dtype=_FLOAT)
        bound = np.sqrt(3.0 / below)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(rng.uniform(-bound, bound, (above, below))))
            layer.bias.zero_()
        parts += [layer, torch.nn.Tanh()]
    return torch.nn.Sequential(*parts[:-1])


def _places(inputs: ArrayLike, likelihood: Likelihood) -> torch.Tensor:
    table = np.array(inputs, dtype=np.float64)
    if table.ndim != 2 or len(table) != likelihood.n_parameter or not np.isfinite(table).all():
        raise IrlError(
            f"inputs have shape {table.shape}; they must be finite and "
            f"[{likelihood.n_parameter}, k], one row for each parameter of the likelihood."
        )
    spread = table.std(axis=0)
    scaled = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return torch.from_numpy(scaled)


def deep_maxent(
    likelihood: Likelihood,
    inputs: ArrayLike,
    rng: np.random.Generator,
    network: Network | None = None,
) -> NDArray[np.float64]:
    """Deep MaxEnt IRL: a network that maximises the likelihood, and its outputs [d].

    Parameters
    ----------
    likelihood : of one parameter for each row of ``inputs``
        `irl.likelihood.FeatureMatching` gives the gradient of the paper, expected minus observed
        visits.
    inputs : [d, k]
        What the network sees of each place; scaled to mean 0 and variance 1.
    """
    settings = network or Network()
    places = _places(inputs, likelihood)
    net = _layers(places, settings.hidden, rng)
    optimiser = torch.optim.Adam(
        net.parameters(), lr=settings.rate, weight_decay=settings.weight_decay
    )
    share = 1.0 / likelihood.n_observation
    with _one_thread():
        for _ in range(settings.steps):
            optimiser.zero_grad()
            loss = share * _loss(net(places)[:, 0], likelihood)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            return np.asarray(net(places)[:, 0].numpy(), np.float64)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Layers of this size are slower on several threads, on a busy machine a hundred times."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, eq=False, kw_only=True)
class DeepModule:
    """Fits an agent with a network under a Gaussian prior of its outputs (`irl.agent.Fitter`).

    ``theta = f(X)`` at the rows X of ``inputs``, a public anchor set: all states of a table. The
    loss is the likelihood plus half the squared distance of ``theta`` from the prior, so the best
    network that is wide enough has the outputs of `irl.maxent.fit_map`. Every fit begins with the
    weights of ``seed``: only what was heard changes.
    """

    inputs: NDArray[np.float64]  # [d, k]
    seed: int = 0
    hidden: tuple[int, ...] = (64, 64)
    steps: int = 200

    def __call__(
        self,
        likelihood: Likelihood,
        mean: NDArray[np.float64],
        covariance: NDArray[np.float64],
        *,
        start: Fit | None = None,  # noqa: ARG002 - of the interface; outputs are no weights
        tolerance: float = 1e-8,
    ) -> Fit:
        wide = check_covariance("covariance", covariance, likelihood.n_parameter)
        places = _places(self.inputs, likelihood)
        net = _layers(places, self.hidden, np.random.default_rng(self.seed))
        with _one_thread():
            theta, steps, settled = _levenberg_marquardt(
                net, places, likelihood, mean, wide, self.steps, tolerance
            )
        loss, gradient = likelihood.value(theta)
        curvature = likelihood.curvature(theta)
        inner = np.eye(theta.size) + wide @ curvature
        return Fit(
            theta=theta,
            loss=loss,
            gradient=gradient,
            curvature=curvature,
            covariance=np.asarray(np.linalg.solve(inner, wide)),
            iterations=steps,
            converged=settled,
            reason="converged" if settled else f"stopped after {steps} steps of the network",
        )


def _levenberg_marquardt(
    net: torch.nn.Sequential,
    places: torch.Tensor,
    likelihood: Likelihood,
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    limit: int,
    tolerance: float,
) -> tuple[NDArray[np.float64], int, bool]:
    """Outputs of the trained network, steps taken, and whether the objective settled.

    With J the outputs' derivatives, A the curvature of loss and prior and g their slope, a step
    is ``-J' (A J J' + damping)^-1 g``, multiplied by the prior covariance so that it needs no
    inverse (a smooth field has none).
    """
    inverse_root = np.linalg.pinv(square_root(covariance), rcond=1e-5)
    weights = {name: value.detach() for name, value in net.named_parameters()}

    def outputs(given: dict[str, torch.Tensor]) -> torch.Tensor:
        made: torch.Tensor = torch.func.functional_call(net, given, (places,))
        return made[:, 0]

    def objective(theta: NDArray[np.float64]) -> float:
        away = inverse_root @ (theta - mean)
        return likelihood.value(theta)[0] + 0.5 * float(away @ away)

    theta = outputs(weights).numpy()
    before, damping, calm = objective(theta), 1.0, 0
    for count in range(limit):
        jacobian = _jacobian(outputs, weights)
        kernel = jacobian @ jacobian.T
        slope = covariance @ likelihood.value(theta)[1] + theta - mean
        curved = kernel + covariance @ (likelihood.curvature(theta) @ kernel)
        for _ in range(12):
            push = np.linalg.solve(curved + damping * covariance, slope)
            tried = _moved(weights, -(jacobian.T @ push))
            reached = outputs(tried).numpy()
            after = objective(reached)
            if after < before:
                break
            damping *= 4.0
        else:
            return theta, count, True
        calm = calm + 1 if before - after <= tolerance * (1.0 + abs(after)) else 0
        weights, theta, before, damping = tried, reached, after, damping / 4.0
        if calm == 3:
            return theta, count + 1, True
    return theta, limit, False


def _jacobian(
    outputs: Callable[[dict[str, torch.Tensor]], torch.Tensor], weights: dict[str, torch.Tensor]
) -> NDArray[np.float64]:
    """Derivatives of every output with respect to every weight, [d, n_weight]."""
    parts = torch.func.jacrev(outputs)(weights)
    return np.concatenate([part.flatten(1).numpy() for part in parts.values()], axis=1)


def _moved(weights: dict[str, torch.Tensor], step: NDArray[np.float64]) -> dict[str, torch.Tensor]:
    ends = np.cumsum([value.numel() for value in weights.values()])
    return {
        name: value + torch.from_numpy(part).reshape(value.shape)
        for (name, value), part in zip(weights.items(), np.split(step, ends[:-1]), strict=True)
    }


def encode(encoder: torch.nn.Module, inputs: ArrayLike) -> NDArray[np.float64]:
    """Outputs [n, d] of a frozen encoder at ``inputs`` [n, k]: features of a linear head.

    All parties must use the same encoder: give its `fingerprint` to `irl.messages.schema_hash`.
    """
    table = torch.as_tensor(np.array(inputs, dtype=np.float64))
    first = next(encoder.parameters(), None)
    if first is not None:
        table = table.to(first.dtype)
    was_training = encoder.training
    encoder.train(False)
    with torch.no_grad():
        made = encoder(table)
    encoder.train(was_training)
    features = made.to(_FLOAT).numpy()
    if features.ndim != 2 or len(features) != len(table) or not np.isfinite(features).all():
        raise IrlError(
            f"The encoder gives {features.shape}; it must give finite numbers [{len(table)}, d]."
        )
    return np.asarray(features, np.float64)


def fingerprint(encoder: torch.nn.Module) -> str:
    """Hash of an encoder's weights and their names, for the schema of a message."""
    sha = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        sha.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        sha.update(value.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]
