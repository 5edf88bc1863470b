"""Study files: what a good one means, and one sentence with the line for every bad one."""

import os
from pathlib import Path

import pytest

from gridrl.errors import GridrlError
from gridrl.whatif import Study
from gridrl.whatif.toml_places import Places

GOOD = """\
# an evening in New England
name = "evening peak"
case = "case39"
base = [{scale_load = 1.02}]
q_limits = true
threads = 2

[[variant]]
name = "tie out"
edits = [
  {open = "line:26"},
  {redispatch = "gen:3", p_mw = 500},  # within limits
]

[[variant]]
name = "calm"
edits = [{scale_load = 0.9, area = 2}]

[[series]]
name = "day"
file = "day.csv"
edits = [{outage = "gen:5"}]
"""


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "study.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "day.csv").write_text("time,scale_load\n1,0.9\n2,1.0\n")
    return path


def test_a_study_file_means_what_it_says(tmp_path: Path) -> None:
    study = Study.read(written(tmp_path, GOOD))
    assert study.name == "evening peak"
    assert [v.name for v in study.variants] == ["tie out", "calm", "day 1", "day 2"]
    assert [str(v) for v in study.variants] == [
        "open line:26; dispatch gen:3 to 500 MW",
        "scale load in area 2 by 0.9",
        "outage of gen:5; scale load by 0.9",
        "outage of gen:5; scale load by 1",
    ]
    assert study.settings.flow.enforce_q_limits
    assert study.settings.flow.threads == 2
    before = study.case.injection.p.min()
    assert study.base_case.injection.p.min() == pytest.approx(1.02 * before)


def test_a_case_file_is_found_beside_the_study(tmp_path: Path) -> None:
    content = Path("tests/cases/features.raw").read_bytes()
    (tmp_path / "mine.raw").write_bytes(content)
    study = Study.read(written(tmp_path, 'case = "mine.raw"\n'))
    assert study.case.grid.name == "mine"
    assert study.name == "study"


def test_a_stressed_base_case_is_the_recipe_s(tmp_path: Path) -> None:
    from gridrl.whatif.stress import Stress, stressed_case

    text = "\ufeffstress = {case = 'case14', load_scale = 1.1, seed = 4, outage = ['line:2']}\r\n"
    case = Study.read(written(tmp_path, text)).case
    want = stressed_case(Stress(case="case14", load_scale=1.1, seed=4, outage=("line:2",)))
    assert case.digest == want.digest
    assert case.source == "case14 (stressed)"
    assert "load x 1.1; line:2 out of service" in case.notes[-1]


def test_outages_come_from_a_file_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "outages.csv").write_text("pair,line:1,line:2\n")
    study = Study.read(written(tmp_path, 'case = "case39"\ncontingencies = "outages.csv"\n'))
    assert study.settings.outages == (("pair", ("line:1", "line:2")),)


TWO_VARIANTS = """\
case = 'case39'
[[variant]]
name = 'a'
[[variant]]
name = 'b'
edits = [
  {open = 'line:1'},

  {open = 'line:99'},
]
"""
THERE_AND_BACK = """\
case = 'case39'
[[variant]]
name = 'a'
edits = [{open = 'line:1'},
# and back
{close = 'line:1'}]
"""
BAD = (
    ("name = 'x'\n", "names no case"),
    ("case = 'case39'\nvarient = 3\n", "line 2: a study has no 'varient'. Did you mean 'variant'?"),
    ("case = 'case39'\nzzz = 3\n", "line 2: a study has no 'zzz'. It may have name, case"),
    ("case = 39\n", "line 1: 'case' must be text in quotes"),
    ("case = 'case39'\nthreads = true\n", "line 2: 'threads' must be a whole number"),
    ("case = 'case39'\n\nthreads = 0\n", "line 3: threads is 0; give 1 or more"),
    ("case = 'case39'\nisland_rule = 'x'\n", "line 2: island_rule is 'x'; give 'dead'"),
    ("case = 'case93'\n", "line 1: 'case93' is neither a file nor a name"),
    ("case = 'case39'\ncontingencies = 'no.csv'\n", "Cannot read contingency file"),
    ("case = 'case39\n", "not valid TOML"),
    ("case = 'case39'\ncase = 'case14'\n", "not valid TOML"),
    ("[[[[[[[[", "not valid TOML"),
    ("case = 'case39'\n[variant]\nname = 'a'\n",
     "line 2: 'variant' must be a list: write [[variant]]"),
    ("case = 'case39'\n[[variant]]\nedits = []\n", "line 2: a variant needs a name"),
    ("case = 'case39'\n[[variant]]\nname = 'a'\nedit = []\n",
     "line 4: a variant has no 'edit'. Did you mean 'edits'?"),
    ("case = 'case39'\n[[variant]]\nname = 'a'\nedits = ['line:1']\n",
     "line 4: an edit is a table like"),
    ("case = 'case39'\nvariant = [3]\n", "line 2: a variant is a table with name, edits"),
    ("case = 'case39'\n[[variant]]\nname = 'a'\n\n[[variant]]\nname = 'a'\n",
     "line 6: two variants are called 'a'"),
    ("case = 'case39'\n[[variant]]\nname = 'base'\n", "line 3: 'base' is the case itself"),
    (TWO_VARIANTS, "line 9: No element 'line:99'"),
    (THERE_AND_BACK,
     "line 6: 'close line:1' contradicts 'open line:1'. Keep one of them."),
    ("case = 'case39'\nbase = [{scale_load = -1.0}]\n", "line 2: 'scale_load' is -1; give 0 to 10"),
    ("case = 'case39'\nbase = [{scale_load = 1.1}, {open = 'lin:1'}]\n",
     "line 2: No element 'lin:1' in case39. Did you mean"),
    ("case = 'case39'\n[[variant]]\nname = 'a'\nedits = [{redispatch = 'gen:3', p_mw = '5 GW'}]\n",
     "line 4: 'p_mw' must be a plain number of MW, not '5 GW'"),
    ("case = 'case39'\n[[variant]]\nname = 'a'\nedits = [{redispatch = 'gen:3', p_mw = 550000}]\n",
     "line 4: gen:3 cannot feed in 550000 MW: its limits are"),
    ("case = 'case39'\n[[variant]]\nname = '''a\nb'''\nedits = [{opn = 'line:1'}]\n",
     "line 5: unknown edit 'opn'. Did you mean 'open'?"),
    ("case = 'case39'\n[[series]]\nname = 'a'\n", "line 2: a series needs a file"),
    ("stress = {}\n", "line 1: stress needs a case"),
    ("stress = 'case14'\n", "line 1: 'stress' must be a table"),
    ("case = 'case14'\nstress = {case = 'case39'}\n", "line 2: the case is named twice"),
    ("case = 'case14'\n\nstress = {lod_scale = 2}\n",
     "line 3: a stress recipe has no 'lod_scale'. Did you mean 'load_scale'?"),
    ("case = 'case14'\nstress = {load_scale = -1}\n", "line 2: scales, margins and floor must be"),
    ("case = 'case14'\nstress = {load_scale = nan}\n", "line 2: scales, margins and floor must be"),
    ("case = 'case14'\nstress = {seed = 1.5}\n", "line 2: scales, margins and floor must be"),
    ("case = 'case14'\nstress = {outage = [3]}\n", "line 2: scales, margins and floor must be"),
    ("case = 'case14'\nstress = {outage = ['line:99']}\n", "line 2: No element 'line:99'"),
    ("stress = {case = 'case41'}\n", "line 1: 'case41' is neither a file nor a name"),
    ("case = 'case39'\nbase = [{voltage = 'gen:3', vm_pu = 110}]\n",
     "line 2: 'vm_pu' is 110; give 0.5 to 1.5 p.u. It is"),
    ("case = 'case39'\nbase = [{voltage = 'load:3', vm_pu = 1}]\n",
     "line 2: load:3 holds no voltage"),
    ("case = 'case39'\nbase = [{tap = 'trafo:1', position = 2}]\n",
     "line 2: The file states no tap positions for trafo:1"),
    ("case = 'case39'\nbase = [{tap = 'trafo:1', position = 2.5}]\n",
     "line 2: 'position' must be a whole number, not 2.5"),
    ("case = 'case39'\nbase = [{tap = 'trafo:1'}]\n",
     "line 2: 'tap' needs position or ratio_percent"),
    ("case = 'case14'\nbase = [{shunt = 'shunt:0', step = nan}]\n",
     "line 2: 'step' must be a whole number"),
    ("case = 'case39'\n[[series]]\nname = 'a'\nfile = 'none.csv'\n", "Cannot read time series"),
    ("case = 'case39'\nx = " + "[" * 5000 + "]" * 5000, "nests its brackets too deep"),
    ("case = 'case39'\nx = " + "9" * 5000, "not valid TOML"),
    ("case = '" + "x" * 5000 + "'", "line 1: "),
    ("case = 'case39'\n[[series]]\nname = 'a'\nfile = \"a\\u0000b\"\n", "Cannot read time series"),
    ("case = 'case39'\n[[series]]\nname = 'a'\nfile = '" + "x" * 300 + "'\n", "File name too long"),
    ("case = 'case39'\ncontingencies = \"a\\u0000b\"\n", "Cannot read contingency file"),
    (b"\xff\xfe\x00", "is not a text file in UTF-8 (byte 0)"),
    (b"\x00" * 10, "not valid TOML"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "words"), BAD)
def test_a_bad_file_is_one_sentence_with_its_place(
    tmp_path: Path, text: str | bytes, words: str
) -> None:
    with pytest.raises(GridrlError) as caught:
        Study.read(written(tmp_path, text))
    said = str(caught.value)
    assert words in said
    assert "\n" not in said
    assert len(said) < 500


def test_ten_megabytes_of_garbage_are_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(GridrlError, match=r"has 10\.0 MiB; a study file may have 4"):
        Study.read(written(tmp_path, os.urandom(10 * 2**20)))


@pytest.mark.parametrize("name", ("missing.toml", "."))
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(GridrlError, match=r"Cannot read study file|is a folder"):
        Study.read(tmp_path / name)


def test_places_survive_every_kind_of_string_and_bracket() -> None:
    text = (
        'a = "x = 1 # no [[comment]]"\n'
        "b = '''\n[[variant]]\n'''\n"
        "[[variant]] # here\n"
        "'name' = 'n' # {\n"
        "edits = [ # first\n"
        "  {open = 'a]'},\n"
        "  {split = \"s\", busbar2 = [\n 'a', 'b' ]},\n"
        "  {merge = 's'} ]\n"
        "[ [variant] ]\n"
        "[[ variant ]]\n"
        "name = 'm'\n"
    ).replace("[ [variant] ]\n", "\n")
    places = Places(text)
    assert places.line("variant", 0) == 5
    assert places.line("variant", 0, "name") == 6
    assert [places.line("variant", 0, "edits", k) for k in range(3)] == [8, 9, 11]
    assert places.line("variant", 1) == 13
    assert places.line("variant", 1, "name") == 14
    assert places.line(key="b") == 2
