"""A network learns from the expert's marks of all orders, on many grids in turn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gridrl.graphs.candidate import SIBLING, CandidateView
from gridrl.policies.gnn import QUANTILES, GraphTensors, OrderScorer
from gridrl.policies.tokens import Tokens
from gridrl.training.expert import CEILING, Lesson

TEMPERATURE = 0.05  # marks this far apart are told apart
BEST = 6  # orders of each state that are always among those looked at
CLIP = 1.0  # of gradients


@dataclass(frozen=True, eq=False, kw_only=True)
class Course:
    """Lessons on one grid, and what the network needs of it."""

    name: str
    view: CandidateView
    tokens: Tokens
    lessons: Lesson

    def graphs(self, which: np.ndarray) -> GraphTensors:
        """Graphs of some lessons."""
        lessons = self.lessons
        index = {relation: pairs for relation, (pairs, _) in self.view.attached.items()}
        index[SIBLING] = self.view.siblings
        return GraphTensors(
            {kind: x[which] for kind, x in lessons.nodes.items()}, index,
            {kind: x[which] for kind, x in lessons.active.items()}, lessons.whole[which],
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long and how fast to learn."""

    steps: int = 4000
    batch: int = 32
    orders: int = 192  # that are looked at in a batch
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    loading: float = 2.0  # weight of the error of predicted loadings

    def rate(self, step: int) -> float:
        """Learning rate: a short rise, then half a cosine."""
        share = step / max(self.steps, 1)
        rise = min(1.0, (step + 1) / 50)
        return self.learning_rate * rise * (0.02 + 0.49 * (1.0 + float(np.cos(np.pi * share))))


@dataclass(frozen=True)
class Losses:
    """Mean losses of some batches."""

    choice: float  # nats between the expert's and the network's preferences
    loading: float  # pinball loss of quantiles of the loading


class Learner:
    """A network, its optimiser and the number of steps taken: all that a checkpoint holds."""

    def __init__(self, network: OrderScorer, pace: Pace, seed: int) -> None:
        self.network, self.pace, self.seed = network, pace, seed
        self.optimiser = torch.optim.AdamW(
            network.parameters(), pace.learning_rate, weight_decay=pace.weight_decay
        )
        self.step = 0

    def learn(self, courses: Sequence[Course]) -> Losses:
        """One step on a batch of one grid; what is drawn follows from the seed and the step."""
        rng = np.random.default_rng([self.seed, self.step])
        size = np.sqrt([len(course.lessons) for course in courses])
        course = courses[int(rng.choice(len(courses), p=size / size.sum()))]
        n = len(course.lessons)
        which = rng.choice(n, min(self.pace.batch, n), replace=False)
        choice, loading = losses(self.network, course, which, rng, self.pace.orders)
        self.optimiser.param_groups[0]["lr"] = self.pace.rate(self.step)
        self.optimiser.zero_grad(set_to_none=True)
        total: Tensor = choice + self.pace.loading * loading
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimiser.step()
        self.step += 1
        return Losses(float(choice.detach()), float(loading.detach()))


def losses(
    network: OrderScorer, course: Course, which: np.ndarray, rng: np.random.Generator, most: int
) -> tuple[Tensor, Tensor]:
    """Of the choice and of the loading, on some lessons and at most about ``most`` orders."""
    lessons, tokens = course.lessons.some(which), course.tokens
    column = np.arange(tokens.n_choice)
    if column.size > most:
        ranked = np.where(lessons.allowed, lessons.mark, np.inf)
        best = np.argpartition(ranked, BEST, axis=1)[:, :BEST].ravel()
        drawn = rng.choice(column.size, most, replace=False)
        column = np.unique(np.concatenate([[0], best, drawn]))
        tokens = tokens.some(column)
    said = network(course.graphs(which), tokens, torch.from_numpy(lessons.estimates[:, column]))
    may = torch.from_numpy(lessons.allowed[:, column])
    mark = torch.from_numpy(lessons.mark[:, column])
    worst = torch.from_numpy(lessons.worst[:, column])
    better = torch.where(may, mark, torch.inf)
    wanted = torch.softmax((better.amin(dim=1, keepdim=True) - better) / TEMPERATURE, dim=1)
    given = torch.log_softmax(torch.where(may, said.logit, -torch.inf), dim=1)
    given = torch.where(may, given, 0.0)
    apart = (wanted * (wanted.clamp(min=1e-9).log() - given)).sum(dim=1).mean()
    quantile = torch.tensor(QUANTILES)
    error = worst[..., None] - said.loading
    pinball = torch.maximum(quantile * error, (quantile - 1.0) * error).mean(dim=2)
    alive = may & (worst < CEILING)
    return apart, (pinball * alive).sum() / alive.sum().clamp(min=1)


@dataclass(frozen=True)
class Score:
    """How well a network proposes, on lessons that it has not learned from."""

    gain: float  # of the expert's gain, what the best of the first k orders brings
    found: float  # share of states where the best of the first k is as good as the expert's
    explained: float  # share of the variance of loadings after orders
    covered: float  # share of these within the outer quantiles


@torch.no_grad()
def rate(network: OrderScorer, course: Course, k: int = 10, side_by_side: int = 64) -> Score:
    """The network's first ``k`` proposals beside the expert's choice."""
    logit, loading = [], []
    for first in range(0, len(course.lessons), side_by_side):
        which = np.arange(first, min(first + side_by_side, len(course.lessons)))
        estimates = torch.from_numpy(course.lessons.estimates[which])
        said = network(course.graphs(which), course.tokens, estimates)
        logit.append(said.logit.numpy())
        loading.append(said.loading.numpy())
    spread, lessons = np.concatenate(loading), course.lessons
    alive = lessons.allowed & (lessons.worst < CEILING)
    error = (spread[..., 1] - lessons.worst)[alive]
    inside = (spread[..., 0] <= lessons.worst) & (lessons.worst <= spread[..., -1])
    gain, found = proposed(lessons, np.concatenate(logit), k)
    return Score(
        gain=gain, found=found, covered=float(inside[alive].mean()),
        explained=float(1.0 - (error**2).mean() / lessons.worst[alive].var()),
    )  # fmt: skip


def proposed(lessons: Lesson, scores: np.ndarray, k: int) -> tuple[float, float]:
    """Share of the expert's gain in the first ``k`` orders, and how often its choice is there."""
    mark = np.where(lessons.allowed, lessons.mark, np.inf)
    ranked = np.argsort(-np.where(lessons.allowed, scores, -np.inf), axis=1, kind="stable")[:, :k]
    idle, best = mark[:, 0], mark.min(axis=1)
    got = np.minimum(np.take_along_axis(mark, ranked, axis=1).min(axis=1), idle)
    top = 2.0 * CEILING  # grids that are lost otherwise do not outweigh all others
    gains, total = np.minimum(idle - got, top), np.minimum(idle - best, top).sum()
    hard = idle - best > TEMPERATURE
    near = got[hard] - best[hard] < TEMPERATURE
    return float(gains.sum() / max(total, 1e-9)), float(near.mean()) if hard.any() else 1.0
