"""The cache of converted cases: fast, exact, and absent rather than wrong."""

import json
import subprocess
import sys
from dataclasses import fields
from operator import attrgetter

import numpy as np
import pandapower as pp
import pytest

from gridrl import io
from gridrl.case import Case
from gridrl.errors import CaseError
from gridrl.io import cache
from gridrl.io.pandapower import build_named, load_pandapower
from tests.cases import zoo


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRIDRL_CACHE_DIR", str(tmp_path))
    return tmp_path / "cases"


@pytest.fixture(scope="module")
def fresh():
    net = zoo.wild_indices()
    net.load["controllable"] = True
    pp.create_poly_cost(net, 44, "load", cp1_eur_per_mw=20.0, cp0_eur=3.0)
    pp.create_pwl_cost(net, 8, "ext_grid", [[-50, 0, 1.0], [0, 90, 4.0]])
    return load_pandapower(net, name="wild", source="w.json")


def never():
    raise AssertionError("built although it was stored")


def test_the_stored_case_is_the_case(fresh):
    cache.through("k", lambda: fresh)
    stored = cache.through("k", never)
    assert stored.digest == fresh.digest
    assert stored.report == fresh.report
    assert (stored.source, stored.origin, stored.notes) == (
        fresh.source,
        fresh.origin,
        fresh.notes,
    )
    assert fresh.grid.costs.n_cost
    for part in ("grid", "grid.costs", "grid.steps", "topology", "injection"):
        for item in fields(attrgetter(part)(fresh)):
            mine, theirs = (attrgetter(f"{part}.{item.name}")(c) for c in (stored, fresh))
            if item.name in ("costs", "steps"):
                continue
            assert type(mine) is type(theirs)
            if isinstance(mine, np.ndarray):
                assert mine.dtype == theirs.dtype
                np.testing.assert_array_equal(mine, theirs)
            else:
                assert mine == theirs


def test_a_cached_load_imports_neither_pandapower_nor_pandas_nor_scipy():
    first = io.load("case14")
    program = (
        "import sys, json; from gridrl import io; case = io.load('case14');"
        "print(json.dumps([case.digest, sorted(sys.modules)]))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    digest, modules = json.loads(answer.stdout)
    assert digest == first.digest
    assert not {"pandapower", "pandas", "scipy", "numba", "torch"} & set(modules)


@pytest.mark.parametrize("damage", ("cut", "empty", "text", "flip", "pickle"))
def test_a_damaged_file_is_rebuilt(fresh, folder, damage):
    cache.through("k", lambda: fresh)
    file = folder / "k.npz"
    data = bytearray(file.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "empty":
        data = bytearray()
    elif damage == "text":
        data = bytearray(b"not a zip")
    elif damage == "flip":
        for k in range(len(data) // 2, len(data) // 2 + 64):  # one byte may mean nothing
            data[k] ^= 0xFF
    else:
        with file.open("wb") as stream:
            np.savez(stream, texts=np.array([{}], dtype=object))
        data = bytearray(file.read_bytes())
    file.write_bytes(data)
    built = []
    case = cache.through("k", lambda: built.append(1) or fresh)
    assert built == [1]
    assert case.digest == fresh.digest
    assert cache.through("k", never).digest == fresh.digest


def test_contents_that_do_not_fit_their_digest_are_rebuilt(fresh, folder):
    cache.through("k", lambda: fresh)
    with np.load(folder / "k.npz") as stored:
        arrays = dict(stored)
    arrays["grid.y_ff"] = arrays["grid.y_ff"] * 1.01
    np.savez(folder / "k.npz", **arrays)
    assert cache.through("k", lambda: fresh).digest == fresh.digest


def test_without_a_writeable_folder_there_is_no_cache(fresh, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("GRIDRL_CACHE_DIR", str(blocked))
    built = []

    def build() -> Case:
        built.append(1)
        return fresh

    for _ in range(2):
        assert cache.through("k", build).digest == fresh.digest
    assert built == [1, 1]


def test_nothing_but_whole_files_is_left_behind(fresh, folder):
    cache.through("k", lambda: fresh)
    assert [file.name for file in folder.iterdir()] == ["k.npz"]


def test_keys_tell_names_contents_and_versions_apart(tmp_path, monkeypatch):
    path = tmp_path / "a.m"
    keys = [cache.key_of_name("case14"), cache.key_of_name("case118")]
    keys += [cache.key_of_file(path, b"1"), cache.key_of_file(path, b"2")]
    real = cache.version
    monkeypatch.setattr(cache, "version", lambda package: real(package) + ".1")
    cache._own_code.cache_clear()
    keys.append(cache.key_of_name("case14"))
    cache._own_code.cache_clear()
    assert len(set(keys)) == 5


def test_an_edited_file_is_read_again(tmp_path):
    import pandapower as pp

    net = build_named("case14")
    path = tmp_path / "net.json"
    pp.to_json(net, str(path))
    first = io.load(path)
    net.load.loc[0, "p_mw"] += 1.0
    pp.to_json(net, str(path))
    assert io.load(path).digest != first.digest


@pytest.mark.parametrize(
    ("source", "message"),
    (
        ("case188", r"neither a file nor a name.*case118"),
        ("pandapower:case15", r"no network 'case15'.*case14"),
        ("missing/net.m", "neither a file nor a name"),
        (".", "is a folder"),
    ),
)
def test_unknown_sources_are_answered_with_near_names(source, message):
    with pytest.raises(CaseError, match=message):
        io.load(source)


@pytest.mark.parametrize("suffix", (".p", ".pkl", ".pickle"))
def test_pickles_are_never_opened(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"\x80\x04")
    with pytest.raises(CaseError, match="could run any code"):
        io.load(path)


def test_an_unknown_suffix_names_the_known_ones(tmp_path):
    path = tmp_path / "net.xlsx"
    path.write_bytes(b"x")
    with pytest.raises(CaseError, match=r"unknown suffix '\.xlsx'.*\.json.*\.m"):
        io.load(path)


def test_a_name_may_say_where_it_comes_from():
    assert io.load("pandapower:case9").digest == io.load("case9").digest
