"""Write the hashes of training and test packs into the scenario files that come along.

    python -m tools.freeze_packs [NAME ...]

Only for a change of series that is meant: results of before and after cannot be compared.
"""

import sys
from pathlib import Path

import scenarios

FOLDER = Path(scenarios.__file__).parent / "data"


def freeze(name: str) -> None:
    """Replace the table [packs] of one file."""
    path = FOLDER / f"{name}.toml"
    text = path.read_text(encoding="utf-8").partition("\n[packs]\n")[0].rstrip("\n")
    found = {pack: scenarios.load(name).pack_digest(pack) for pack in ("train", "test")}
    lines = "\n".join(f'{pack} = "{digest}"' for pack, digest in found.items())
    path.write_text(f"{text}\n\n[packs]\n{lines}\n", encoding="utf-8")
    print(name, *(f"{pack} {digest[:12]}" for pack, digest in found.items()))


if __name__ == "__main__":
    for chosen in sys.argv[1:] or scenarios.names():
        freeze(chosen)
