"""Files that are none, or nearly none: each is refused in one sentence, and none crashes."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest

from gridrl.errors import CaseError, GridError
from gridrl.io import files
from gridrl.io.powerio import load_powerio

powerio = pytest.importorskip("powerio")

CASES = Path("tests/cases")
FEATURES, FEEDER, RAW = CASES / "features.m", CASES / "baran_wu_33.m", CASES / "features.raw"


def written(tmp_path, text, name="case.m"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_unreadable_files_are_refused_in_one_sentence(tmp_path):
    folder = tmp_path / "folder.m"
    folder.mkdir()
    empty = written(tmp_path, " \n", "empty.m")
    binary = tmp_path / "binary.m"
    binary.write_bytes(b"\x7fELF\0\0\1")
    prose = written(tmp_path, "Dear reader,\nthis is no case.\n", "prose.m")
    for path, message in (
        (folder, "is a folder"),
        (tmp_path / "none.m", "does not exist"),
        (empty, "is empty"),
        (binary, "is a binary file"),
        (prose, "is not a MATPOWER case"),
        (written(tmp_path, "{}", "x.json"), "cannot be read as powermodels-json"),
        (written(tmp_path, '{"a":' * 5000, "deep.json"), "cannot be read as powermodels-json"),
        (written(tmp_path, "x", "x.txt"), "has no format"),
        (tmp_path / "nul\0.m", "cannot be read|does not exist"),
    ):
        with pytest.raises(CaseError, match=message):
            load_powerio(path)


@pytest.mark.skipif(os.name != "posix", reason="needs a named pipe")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.m")
    with pytest.raises(CaseError, match="no regular file"):
        load_powerio(tmp_path / "pipe.m")


def test_size_is_limited(tmp_path):
    path = written(tmp_path, "x" * 101)
    with pytest.raises(CaseError, match="101 bytes; gridrl reads at most 100"):
        files.read_bytes(path, limit=100)


def test_latin_1_is_read(tmp_path):
    path = tmp_path / "features.m"
    path.write_bytes(FEATURES.read_text().replace("'North'", "'Zürich'").encode("latin-1"))
    assert load_powerio(path).grid.bus_name[0] == "Zürich"


def mutate(data, rng):
    """Bytes changed, stretches cut out or doubled, numbers replaced."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(max(len(out), 1)))
        what = rng.integers(4)
        if what == 0:
            out[at : at + 1] = bytes([int(rng.integers(256))])
        elif what == 1:
            del out[at : at + int(rng.integers(1, 200))]
        elif what == 2:
            out[at:at] = out[at : at + int(rng.integers(1, 200))]
        else:
            words = (b"NaN", b"-1", b" 0 ", b"1e308", b"Inf", b"", b"]", b"'", b"\0", b"9" * 30)
            out[at : at + 2] = words[rng.integers(len(words))]
    return bytes(out)


def fuzz(tmp_path, count, seed):
    """Load mutated files; whatever happens must be a `Case` or one of our two errors."""
    rng = np.random.default_rng(seed)
    model = powerio.emit(powerio.parse(str(FEATURES)), "powermodels-json").artifacts[0].data
    sources = [(FEATURES.read_bytes(), "m"), (FEEDER.read_bytes(), "m"), (RAW.read_bytes(), "raw")]
    sources.append((bytes(model), "json"))
    loaded = 0
    for k in range(count):
        data, suffix = sources[k % len(sources)]
        path = tmp_path / f"x.{suffix}"
        path.write_bytes(mutate(data, rng))
        with contextlib.suppress(CaseError, GridError):
            case = load_powerio(path)
            assert np.isfinite(case.injection.p).all()
            assert np.isfinite(case.grid.y_ff).all()
            loaded += 1
    assert 0 < loaded < count


def test_mutated_files_never_crash(tmp_path):
    fuzz(tmp_path, 300, seed=1)


@pytest.mark.slow
def test_many_mutated_files_never_crash(tmp_path):
    fuzz(tmp_path, 10_000, seed=2)
