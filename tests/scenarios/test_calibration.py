"""The generator stays near the public series that it was set from."""

import json

import pytest

from benchmarks.calibration import ROOT, ROWS, of_generator, statistics

# Figures of SimBench and of Grid2Op's chronics, as `python -m benchmarks.calibration` found them.
PUBLISHED = json.loads((ROOT / "benchmarks" / "results" / "calibration.json").read_text())["rows"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(ROWS))
def test_figures_are_near_public_ones(kind: str) -> None:
    found = statistics(of_generator()[kind], kind)
    for row in PUBLISHED:
        if row["kind"] != kind or row["name"] not in found:
            continue
        known = [row[name] for name in ("simbench", "grid2op") if row[name] is not None]
        # between the two, or within 30 % of the nearer; 104 weeks leave some per cent of chance
        low, high = min(known), max(known)
        assert low - 0.3 * abs(low) <= found[row["name"]] <= 1.3 * high, row["name"]
