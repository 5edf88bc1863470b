"""Inverse reinforcement learning: what several operators want, read from what they do.

The core knows no grid: decision processes, likelihoods, priors, messages and their exchange.
Names load on first use, so ``import irl`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from irl.agent import Agent as Agent
    from irl.priors import TurboPrior as TurboPrior
    from irl.turbo import TurboIRL as TurboIRL

_HOME = {"Agent": "irl.agent", "TurboIRL": "irl.turbo", "TurboPrior": "irl.priors"}
__all__ = ["Agent", "TurboIRL", "TurboPrior"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'irl' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
