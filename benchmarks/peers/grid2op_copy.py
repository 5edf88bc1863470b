"""An environment that ships in Grid2Op's wheel, copied into a scenario on disk.

    python -m benchmarks.peers.grid2op_copy rte_case5_example copies/rte_case5
    gridrl evaluate --scenario copies/rte_case5/scenario.toml --policy greedy

Grid, chronics with their forecasts, maintenance, rules, ramps, storage and the opponent, where
ours knows its kind, are kept; the scenario plays as the environment does.
"""

import argparse
import warnings
from pathlib import Path

from benchmarks.peers.grid2op_world import shipped
from scenarios.write import write_world


def copy(name: str, folder: Path, *, episodes: int | None = None) -> Path:
    """Write the scenario file and what it needs; returns its path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = shipped(name, episodes=episodes)
    theirs = type(both.env._oppSpace.opponent).__name__  # noqa: SLF001 - it has no public name
    title = f"{name} of Grid2Op"
    if not both.world.opponent.exists and theirs != "BaseOpponent":
        title += f", without its {theirs}"
    return write_world(both.world, folder, title=title, family="grid2op")


def main() -> None:
    """Print the path of the scenario file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environment", help="as grid2op.make knows it")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--episodes", type=int, help="the first so many chronics")
    asked = parser.parse_args()
    print(copy(asked.environment, asked.folder, episodes=asked.episodes))


if __name__ == "__main__":
    main()
