"""Weights of order-scoring networks as files: safetensors, with shape and history in the header."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from gridrl.arrays import Floats
from gridrl.errors import PolicyError
from gridrl.graphs.batch import GraphBatch
from gridrl.policies.gnn import GraphTensors, OrderScorer, Shape
from gridrl.policies.tokens import Tokens

KIND = "gridrl order scorer 1"
LARGEST = 64 * 2**20  # bytes of a file that is looked at


def save_weights(network: OrderScorer, path: Path, history: dict[str, Any]) -> None:
    """Write a network; ``history`` says what it was trained on and how."""
    header = {
        "kind": KIND, "shape": json.dumps(network.shape.to_dict()), "history": json.dumps(history),
    }  # fmt: skip
    arrays = {name: x.detach().numpy().copy() for name, x in network.state_dict().items()}
    save_file(arrays, path, metadata=header)


def load_weights(source: str) -> OrderScorer:
    """A network by the name of weights that come along, or from a file.

    Raises
    ------
    PolicyError
        There is no such file, or it holds no network of this kind.
    """
    path = _path(source)
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if header.get("kind") != KIND:
                raise PolicyError(
                    f"{path.name} holds no weights of a policy. `gridrl train policy` writes them."
                )
            shape = Shape(**json.loads(header["shape"]))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as broken:
        raise PolicyError(f"Weights {path.name} cannot be read: {broken}.") from broken
    network = OrderScorer(shape)
    wanted = {name: tuple(x.shape) for name, x in network.state_dict().items()}
    if {name: x.shape for name, x in arrays.items()} != wanted:
        raise PolicyError(f"Weights {path.name} do not fit the shape that their header states.")
    network.load_state_dict({name: torch.from_numpy(np.array(x)) for name, x in arrays.items()})
    return network.train(False)


def _path(source: str) -> Path:
    shipped = files("gridrl.policies") / f"{source}.safetensors"
    path = Path(str(shipped)) if source.isidentifier() and shipped.is_file() else Path(source)
    if not path.is_file():
        raise PolicyError(
            f"There are no weights '{source}'. Give \"default\" or a file of `gridrl train policy`."
        )
    if path.stat().st_size > LARGEST:
        raise PolicyError(f"{path.name} is larger than any weights of a policy are.")
    return path


@torch.inference_mode()
def score(network: Any, seen: GraphBatch, tokens: Tokens, estimates: Any) -> Floats:
    """[B, K] scores of every order in every graph."""
    found = network(GraphTensors.of(seen), tokens, torch.from_numpy(estimates))
    return np.asarray(found.logit.numpy(), np.float64)
