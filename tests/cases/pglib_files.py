"""PGLib's cases and their published objectives; see pglib/README.md."""

import csv
from pathlib import Path

FOLDER = Path(__file__).parent / "pglib"
with (FOLDER / "baseline.csv").open() as _file:
    PUBLISHED = {row["case"]: float(row["ac_objective"]) for row in csv.DictReader(_file)}
NAMES = tuple(name.removeprefix("pglib_opf_case") for name in PUBLISHED)


def path_of(name):
    """Path of "14_ieee", "118_ieee__api", ..."""
    return FOLDER / f"pglib_opf_case{name}.m"


def published(name):
    return PUBLISHED[f"pglib_opf_case{name}"]
