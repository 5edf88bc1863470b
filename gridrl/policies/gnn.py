"""A graph network that scores switching orders, any order on any grid with the same weights.

Messages run over the candidate graph (`gridrl.graphs.candidate`), in which every terminal has an
edge to each busbar that it could sit on. An order is the set of edges and lines that it touches;
its score is a function of their sum and of the whole graph, so that neither the numbering of
elements nor the number of orders matters. Beside each score stands what the loading after the
order is expected to be, as quantiles.

With ``Shape.screen`` it also reads a DC estimate of every order (`gridrl.policies.screen`).
Messages over a few hops cannot say where flows go after a split far away; a linear solve does.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.utils import scatter

from gridrl.arrays import Ints
from gridrl.graphs.batch import Features, GraphBatch, Relation
from gridrl.graphs.candidate import SIBLING, CandidateView
from gridrl.policies.screen import FEATURES
from gridrl.policies.tokens import Tokens

QUANTILES = (0.05, 0.5, 0.95)  # of the highest loading after an order
MOST_HIDDEN, MOST_LAYERS = 512, 16
WHOLE = 5  # features of the whole graph


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Size of a network: with the defaults fewer than 250,000 weights.

    Raises
    ------
    ValueError
        A size is no whole number, or out of all proportion.
    """

    hidden: int = 48
    layers: int = 4
    screen: bool = True  # whether it reads DC estimates of orders

    def __post_init__(self) -> None:
        for name, most in (("hidden", MOST_HIDDEN), ("layers", MOST_LAYERS)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"{name} is {value!r}; give a whole number from 1 to {most}")

    def to_dict(self) -> dict[str, int | bool]:
        """For the header of a file of weights."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Scores:
    """What the network says of a batch of graphs."""

    logit: Tensor  # [B, n_choice] the higher, the better
    loading: Tensor  # [B, n_choice, quantiles] highest loading afterwards, 1 is the rating
    value: Tensor  # [B] of the state


class GraphTensors:
    """A batch of candidate graphs as tensors; its edges are the same in every member."""

    nodes: dict[str, Tensor]
    index: dict[Relation, Tensor]
    active: dict[Relation, Tensor]
    whole: Tensor

    def __init__(
        self,
        nodes: Mapping[str, Features],
        index: Mapping[Relation, Ints],
        active: Mapping[Relation, Features],
        whole: Features,
    ) -> None:
        """From arrays: features [B, n, m], edges [2, m], whether in use [B, m, 1]."""
        self.nodes = {kind: torch.from_numpy(x) for kind, x in nodes.items()}
        self.index = {relation: torch.from_numpy(x.copy()) for relation, x in index.items()}
        self.active = {relation: torch.from_numpy(x) for relation, x in active.items()}
        self.whole = torch.from_numpy(whole)

    @classmethod
    def of(cls, graphs: GraphBatch) -> "GraphTensors":
        """From a batch of the candidate view."""
        index = {relation: index[0] for relation, index in graphs.edge_index.items()}
        active = {relation: x for relation, x in graphs.edges.items() if x.shape[2]}
        return cls(graphs.nodes, index, active, graphs.whole)


class OrderScorer(nn.Module):
    """The network; see the module."""

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = shape or Shape()
        h = self.shape.hidden
        features = CandidateView.node_features
        self.kinds = tuple(features)
        self.relations: tuple[Relation, ...] = tuple(CandidateView.edge_features)
        self.encode = nn.ModuleDict(
            {kind: nn.Sequential(Squash(), nn.Linear(len(names), h), nn.SiLU())
             for kind, names in features.items()}
        )  # fmt: skip
        self.layers = nn.ModuleList(
            Layer(self.kinds, self.relations, h) for _ in range(self.shape.layers)
        )
        self.attach = nn.ModuleDict({_key(r): nn.Linear(h, h) for r in self._attached})
        self.place = nn.Linear(h, h)
        self.used = nn.Parameter(torch.zeros(2, h))  # not in use now, in use
        self.joined = nn.Sequential(nn.SiLU(), nn.Linear(h, h), nn.SiLU())
        self.switched = nn.ModuleList(
            nn.Sequential(nn.Linear(h, h), nn.SiLU()) for _ in ("open", "close")
        )
        self.pool = nn.Sequential(nn.Linear(3 * h + WHOLE, h), nn.SiLU())
        self.read = nn.Sequential(nn.Linear(len(FEATURES), h), nn.SiLU())
        self.mix = nn.Sequential(nn.Linear(4 * h, h), nn.SiLU(), nn.Linear(h, h), nn.SiLU())
        self.score = nn.Linear(h, 1)
        self.loading = nn.Linear(h, len(QUANTILES))
        self.value = nn.Sequential(nn.Linear(h, h), nn.SiLU(), nn.Linear(h, 1))

    @property
    def _attached(self) -> tuple[Relation, ...]:
        return tuple(r for r in self.relations if r != SIBLING)

    def forward(self, graphs: GraphTensors, tokens: Tokens, estimates: Tensor) -> Scores:
        """Scores of the orders ``tokens`` in every member of a batch.

        ``estimates`` [B, n_choice, n] are those of `gridrl.policies.screen.Estimates.features`.
        """
        hidden = {kind: self.encode[kind](x) for kind, x in graphs.nodes.items()}
        for layer in self.layers:
            hidden = layer(hidden, graphs)
        whole = self._whole(hidden, graphs.whole)
        touched = self._orders(self._tokens(hidden, graphs), tokens)
        if not self.shape.screen:
            estimates = torch.zeros_like(estimates)
        parts = [touched, whole[:, None].expand(-1, touched.shape[1], -1), self.read(estimates)]
        mixed = self.mix(torch.cat(parts, dim=2))
        spread = self.loading(mixed)
        # quantiles in order: the lowest, then steps upward; relative to what is known of it
        steps = torch.cat([spread[..., :1], functional.softplus(spread[..., 1:])], dim=2)
        highest = graphs.nodes["line"][..., :1].amax(dim=1, keepdim=True)
        known = estimates[..., :1] > 0
        base = torch.where(known, estimates[..., 1:2], highest)
        return Scores(
            self.score(mixed)[..., 0], base + steps.cumsum(dim=2), self.value(whole)[:, 0]
        )

    def _tokens(self, hidden: Mapping[str, Tensor], graphs: GraphTensors) -> Tensor:
        """[B, n_token, h] edges of each relation, then lines opened, then closed."""
        out = []
        place = self.place(hidden["busbar"])
        for relation in self._attached:
            index, active = graphs.index[relation], graphs.active[relation]
            element = self.attach[_key(relation)](hidden[relation[0]])
            used = self.used[0] + active * (self.used[1] - self.used[0])
            out.append(self.joined(element[:, index[0]] + place[:, index[1]] + used))
        out += [way(hidden["line"]) for way in self.switched]
        return torch.cat(out, dim=1)

    @staticmethod
    def _orders(token: Tensor, tokens: Tokens) -> Tensor:
        """[B, n_choice, 2 h] sum and mean of the tokens of each order."""
        member = torch.from_numpy(tokens.member)
        begin = torch.from_numpy(tokens.begin[:-1])
        batch, n, h = token.shape
        # one bag call for all members: their tokens side by side as features
        table = token.permute(1, 0, 2).reshape(n, batch * h)
        total = functional.embedding_bag(member, table, begin, mode="sum")
        count = torch.from_numpy(tokens.begin[1:] - tokens.begin[:-1]).clamp(min=1)
        total = total.reshape(-1, batch, h).permute(1, 0, 2)
        return torch.cat([total, total / count[None, :, None]], dim=2)

    def _whole(self, hidden: Mapping[str, Tensor], whole: Tensor) -> Tensor:
        line = hidden["line"]
        parts = [line.mean(dim=1), line.amax(dim=1), hidden["busbar"].mean(dim=1), whole]
        out: Tensor = self.pool(torch.cat(parts, dim=1))
        return out


class Layer(nn.Module):
    """Messages over every relation, both ways, then a step of every node."""

    def __init__(
        self, kinds: tuple[str, ...], relations: tuple[Relation, ...], hidden: int
    ) -> None:
        super().__init__()
        self.ways = tuple(
            (relation, back)
            for relation in relations
            for back in ((False,) if relation == SIBLING else (False, True))
        )
        self.message = nn.ModuleDict(
            {_key(relation, back): nn.Linear(hidden, hidden) for relation, back in self.ways}
        )
        self.used = nn.ParameterDict(
            {_key(relation, back): nn.Parameter(torch.zeros(hidden))
             for relation, back in self.ways if relation != SIBLING}
        )  # fmt: skip
        self.update = nn.ModuleDict({kind: nn.Linear(2 * hidden, hidden) for kind in kinds})
        self.norm = nn.ModuleDict({kind: nn.LayerNorm(hidden) for kind in kinds})

    def forward(self, hidden: Mapping[str, Tensor], graphs: GraphTensors) -> dict[str, Tensor]:
        """The next hidden state of every kind of node."""
        heard: dict[str, Tensor] = {}
        for relation, back in self.ways:
            source, _, target = relation
            index = graphs.index[relation]
            if back:
                source, target, index = target, source, index.flip(0)
            sent = self.message[_key(relation, back)](hidden[source])[:, index[0]]
            if relation in graphs.active:
                sent = sent + graphs.active[relation] * self.used[_key(relation, back)]
            n = hidden[target].shape[1]
            got = scatter(functional.silu(sent), index[1], dim=1, dim_size=n, reduce="sum")
            heard[target] = got if target not in heard else heard[target] + got
        out = {}
        for kind, x in hidden.items():
            both = torch.cat([x, heard.get(kind, torch.zeros_like(x))], dim=2)
            out[kind] = self.norm[kind](x + functional.silu(self.update[kind](both)))
        return out


class Squash(nn.Module):
    """sign(x) log(1 + |x|): powers of small and large grids on one scale."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return torch.sign(x) * torch.log1p(torch.abs(x))


def _key(relation: Relation, back: bool = False) -> str:
    return "_".join(relation) + ("_back" if back else "")
