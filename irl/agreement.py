"""What parties agree on before they exchange messages: a small TOML file that all of them hold.

::

    shared = ["overload", "losses"]   # names of the shared features, in this order
    units = ["p.u.", "MW"]
    scale = [0.1, 5.0]                # features are divided by this
    shared_sd = 2.0                   # how far shared weights may lie from zero
    deviation_sd = 0.3                # and an operator from what is shared
    own_sd = 2.0                      # and weights of features that are nobody else's

All of it enters the schema of a message: parties that agreed on different things cannot mix.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irl.errors import IrlError
from irl.messages import schema_hash
from irl.priors import TurboPrior, iid

_MAX_SHARED = 100
_MAX_BYTES = 100_000
_LARGEST = 1e9  # of a scale or standard deviation
_KEYS = ("shared", "units", "scale", "shared_sd", "deviation_sd", "own_sd")


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The shared features, their scale, and the prior."""

    shared: tuple[str, ...]
    units: tuple[str, ...]
    scale: tuple[float, ...]
    shared_sd: float = 2.0
    deviation_sd: float = 0.3
    own_sd: float = 2.0

    def __post_init__(self) -> None:
        n = len(self.shared)
        if not 1 <= n <= _MAX_SHARED or len(set(self.shared)) < n or "" in self.shared:
            raise IrlError(f"shared must name 1 to {_MAX_SHARED} features, none twice.")
        if len(self.units) != n or len(self.scale) != n:
            raise IrlError(f"units and scale must have one entry for each of {n} shared features.")
        sizes = {"shared_sd": self.shared_sd, "own_sd": self.own_sd}
        sizes |= {f"scale of {k}": x for k, x in zip(self.shared, self.scale, strict=True)}
        for name, value in sizes.items():
            if not 1 / _LARGEST <= value <= _LARGEST:
                raise IrlError(f"{name} is {value:g}; it must be above 0 and below {_LARGEST:g}.")
        if not 0 <= self.deviation_sd <= _LARGEST:
            raise IrlError(f"deviation_sd is {self.deviation_sd:g}; it must be at least 0.")

    @property
    def schema(self) -> str:
        """Fingerprint that every message carries."""
        numbers = [*self.scale, self.shared_sd, self.deviation_sd]
        return schema_hash(self.shared, [*self.units, *map(repr, map(float, numbers))])

    @property
    def prior(self) -> TurboPrior:
        n = len(self.shared)
        return TurboPrior(shared=iid(n, self.shared_sd**2), deviation=iid(n, self.deviation_sd**2))


def read_agreement(path: Path) -> Agreement:
    """Read an agreement.

    Raises
    ------
    IrlError
        It cannot be read, or says what no agreement can say.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise IrlError(f"{path}: an agreement has less than {_MAX_BYTES} bytes.")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IrlError(f"{path}: cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise IrlError(f"{path}: this is no TOML file ({error!s:.100}).") from error
    strange = sorted(set(content) - set(_KEYS))
    if strange:
        raise IrlError(f"{path}: nothing is called {strange[0]!r:.60}; known: {', '.join(_KEYS)}.")
    shared = _texts(path, content, "shared", [])
    if not shared:
        raise IrlError(f'{path}: name the shared features, such as shared = ["overload"].')
    sizes = {
        key: _numbers(path, {key: [content[key]]}, key)[0]
        for key in ("shared_sd", "deviation_sd", "own_sd")
        if key in content
    }
    return Agreement(
        shared=tuple(shared),
        units=tuple(_texts(path, content, "units", ["-"] * len(shared))),
        scale=tuple(_numbers(path, {"scale": [1.0] * len(shared)} | content, "scale")),
        **sizes,
    )


def _texts(
    path: Path, content: Mapping[str, Any], key: str, default: Sequence[str]
) -> Sequence[str]:
    values = content.get(key, default)
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise IrlError(f"{path}: {key} must be a list of texts.")
    return values


def _numbers(path: Path, content: Mapping[str, Any], key: str) -> list[float]:
    values = content[key]
    plain = isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e100 for v in values
    )
    if not plain:
        raise IrlError(f"{path}: {key} must hold numbers.")
    return [float(v) for v in values]
