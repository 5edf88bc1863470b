"""Contingency lists: what is in them by default, and files that users write, good and bad."""

import json

import pytest

from gridrl.errors import CaseError, ElementError
from gridrl.security import n_minus_1, read_contingencies
from gridrl.security.contingency import contingencies_of


def test_n_minus_1_is_every_branch_and_generator_in_service(case118):
    grid = case118.grid
    every = n_minus_1(case118)
    kinds = [grid.element_kind[e[0]] for e in every.elements]
    assert kinds.count("line") == 173
    assert kinds.count("trafo") == 13
    assert kinds.count("gen") == 53
    assert len(every) == 239


FILES = {
    "list.csv": "double,line:0,line:1\n# a comment\nsingle,gen:2\n",
    "list.json": json.dumps(
        {
            "contingency": [
                {"name": "double", "elements": ["line:0", "line:1"]},
                {"name": "single", "elements": ["gen:2"]},
            ]
        }
    ),
    "list.toml": '[[contingency]]\nname = "double"\nelements = ["line:0", "line:1"]\n'
    '[[contingency]]\nname = "single"\nelements = ["gen:2"]\n',
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_format_say_the_same(tmp_path, case14, name):
    path = tmp_path / name
    path.write_text(FILES[name])
    got = read_contingencies(path, case14)
    want = contingencies_of(case14, [("line:0", "line:1"), ("gen:2",)])
    assert got.name == ("double", "single")
    assert got.elements == want.elements


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    (
        ("a.csv", "x,line:99\n", ElementError, r"a\.csv, line 1: No element 'line:99'"),
        ("a.csv", "x\n", ElementError, r"line 1: .* names no element"),
        ("a.csv", "", CaseError, "holds no contingency"),
        ("a.json", "{", CaseError, "not valid JSON"),
        ("a.json", "[" * 100_000, CaseError, "not valid JSON"),
        ("a.toml", "contingency = 3", CaseError, "needs a list 'contingency'"),
        ("a.toml", "[[contingency]]\nelements = 'line:0'", CaseError, "contingency 1: 'elements'"),
        ("a.txt", "line:0", CaseError, r"end in \.csv, \.json or \.toml"),
        ("a.json", '[{"elements": ["1"]}]', ElementError, "fits .* elements.*Write kind:id"),
    ),
)
def test_bad_files_get_one_sentence(tmp_path, case14, name, text, error, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(error, match=message) as caught:
        read_contingencies(path, case14)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files(tmp_path, case14):
    with pytest.raises(CaseError, match="No such file"):
        read_contingencies(tmp_path / "none.csv", case14)
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(CaseError, match="not a text file"):
        read_contingencies(tmp_path / "b.csv", case14)


def test_a_set_names_an_element_once(case14):
    assert contingencies_of(case14, [("line:0", "line:0")]).elements == (
        (case14.grid.find_element("line:0"),),
    )
