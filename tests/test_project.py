"""What holds for the project as a whole: packaging, public names, start-up, forbidden calls."""

import ast
import doctest
import re
import shlex
import subprocess
import sys
import time
import tomllib
from importlib.metadata import entry_points, packages_distributions, version
from pathlib import Path
from typing import Any

import pytest

import gridrl
from gridrl.case import Case

ROOT = Path(__file__).parent.parent
PACKAGES = ("gridrl", "marl", "irl", "scenarios")
SOURCES = sorted(
    path
    for folder in (*PACKAGES, "benchmarks", "tests", "docs", "tools")
    for path in (ROOT / folder).rglob("*.py")
    if "_build" not in path.parts
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
HEAVY = (
    *("torch", "torch_geometric", "pandapower", "numba", "scipy", "pandas", "matplotlib"),
    *("sqlalchemy", "jinja2"),
)


# --- packaging --------------------------------------------------------------------------------
@pytest.mark.parametrize("package", PACKAGES)
def test_this_distribution_owns_its_four_packages(package: str) -> None:
    assert set(packages_distributions()[package]) == {"gridrl"}


def test_nothing_else_is_installed_at_the_top_level() -> None:
    owned = {name for name, owners in packages_distributions().items() if "gridrl" in owners}
    assert {name for name in owned if not name.startswith("__editable__")} == set(PACKAGES)


def test_the_version_is_one_number() -> None:
    assert version("gridrl") == gridrl.__version__
    assert f"## {gridrl.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_command_is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="gridrl")
    assert script.value == "gridrl.cli:main"


def test_every_file_of_kernels_is_known_to_the_tools() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    kernels = [file for package in PACKAGES for file in (ROOT / package).rglob("kernels*.py")]
    files = [*kernels, ROOT / "gridrl" / "sparse" / "lanes.py"]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files}
    assert set(tool["mypy"]["untyped_calls_exclude"]) == names
    (untyped,) = [rule for rule in tool["mypy"]["overrides"] if rule.get("ignore_errors")]
    assert set(untyped["module"]) == names
    contracts = tool["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract.get("id") == "kernels"]
    assert set(contract["source_modules"]) == names


# --- public names -----------------------------------------------------------------------------
def test_public_names_are_few_and_all_there() -> None:
    assert len(gridrl.__all__) <= 25
    for name in gridrl.__all__:
        assert getattr(gridrl, name) is not None
    assert set(gridrl.__all__) <= set(dir(gridrl))


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "gridrl" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname: f"{node.module}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == gridrl._HOME


@pytest.mark.parametrize(
    "first",
    (
        "gridrl.security",
        "gridrl.security.tables",
        "gridrl.security.contingency",
        "gridrl.powerflow",
    ),
)
def test_security_can_be_called_whatever_was_imported_first(first: str) -> None:
    program = (
        f"import {first}, gridrl\n"
        "result = gridrl.security(gridrl.load('case14'))\n"
        "import gridrl.security as package\n"
        "assert isinstance(result, package.SecurityResult)\n"
        "assert isinstance(result, gridrl.SecurityResult)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = gridrl.nothing


# --- start-up ---------------------------------------------------------------------------------
def loaded_by(*arguments: str) -> set[str]:
    """Heavy packages that a fresh Python has loaded after running the command line."""
    program = (
        "import sys\n"
        "try:\n"
        "    from gridrl.cli import main\n"
        f"    sys.argv = {['gridrl', *arguments]!r}\n"
        "    main()\n"
        "except SystemExit:\n"
        "    pass\n"
        f"print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "arguments",
    (
        ("--help",),
        ("--version",),
        ("flow", "--help"),
        ("security", "--help"),
        ("whatif", "run", "--help"),
    ),
)
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert loaded_by(*arguments) == set()


def test_a_power_flow_loads_only_its_engine(case14: Case) -> None:
    assert case14.source  # loading it once has put it into the cache of converted cases
    assert loaded_by("flow", "case14") <= {"numba", "scipy"}


def test_import_loads_nothing_heavy() -> None:
    program = f"import sys, gridrl; print(*[m for m in {(*HEAVY, 'numpy')!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_help_answers_at_once() -> None:
    def seconds() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "gridrl", "--help"], check=True, capture_output=True)
        return time.perf_counter() - began

    # 0.3 s on two idle cores; the best of three, because a busy machine is no fault of ours.
    assert min(seconds() for _ in range(3)) < 1.0


# --- documents --------------------------------------------------------------------------------
def commands_in(page: Path) -> list[list[str]]:
    """Arguments of every ``gridrl ...`` line in the console blocks of a page."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:console|bash|sh)\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("gridrl ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_documented_command_exists(page: Path) -> None:
    from typer.main import get_command

    from gridrl.cli import app

    known: Any = get_command(app)
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`gridrl ([a-z]+)", text):
        assert name in known.commands, f"{page.name}: gridrl {name}"
    for name, *arguments in commands_in(page):
        command = known.commands[name]
        while hasattr(command, "commands"):  # a group: its command is the next word
            command = command.commands[arguments.pop(0)]
        options = {
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        used = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
        assert used - {"--help"} <= options, f"{page.name}: gridrl {name}"


def test_the_python_example_of_the_readme_runs() -> None:
    found = doctest.testfile(
        str(ROOT / "README.md"), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert found.attempted > 3
    assert found.failed == 0


@pytest.mark.parametrize(
    "name",
    ("gridrl", "gridrl.powerflow.flow", "gridrl.security.sweep", "gridrl.whatif.study"),
)
def test_the_examples_in_docstrings_run(name: str) -> None:
    __import__(name)
    found = doctest.testmod(sys.modules[name], optionflags=doctest.ELLIPSIS)
    assert found.attempted > 1
    assert found.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


# --- forbidden calls --------------------------------------------------------------------------
FORBIDDEN_CALLS = {"eval", "exec", "from_json", "from_pickle", "from_json_string"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill"}
# Tests that need one of them, and for what.
PERMITTED = {
    ("tests/io/test_json_safety.py", "from_json()"),  # shows the attack that our reader refuses
    ("tests/io/test_powerio.py", "eval()"),  # Python as the judge of our arithmetic
}
FORBIDDEN_ARGUMENTS = {("weights_only", False), ("fastmath", True), ("allow_pickle", True)}


def offences(tree: ast.AST) -> list[str]:
    """Calls and imports that could run code from a file, or break IEEE arithmetic."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = (
                function.attr
                if isinstance(function, ast.Attribute)
                else function.id
                if isinstance(function, ast.Name)
                else ""
            )
            if name in FORBIDDEN_CALLS:
                found.append(f"line {node.lineno}: {name}()")
            found.extend(
                f"line {node.lineno}: {keyword.arg}={keyword.value.value}"
                for keyword in node.keywords
                if isinstance(keyword.value, ast.Constant)
                and (keyword.arg, keyword.value.value) in FORBIDDEN_ARGUMENTS
            )
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        found.extend(
            f"line {node.lineno}: import {module}"  # type: ignore[attr-defined]
            for module in modules
            if module.partition(".")[0] in FORBIDDEN_MODULES
        )
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_of_ours_calls_what_could_run_code(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    found = offences(ast.parse(path.read_text(encoding="utf-8")))
    assert [what for what in found if (name, what.partition(": ")[2]) not in PERMITTED] == []


@pytest.mark.parametrize(
    "code",
    (
        "import pickle",
        "from pickle import load",
        "eval('1')",
        "pandapower.from_json(path)",
        "torch.load(path, weights_only=False)",
        "njit(fastmath=True)",
        "numpy.load(path, allow_pickle=True)",
    ),
)
def test_the_search_for_forbidden_calls_finds_them(code: str) -> None:
    assert len(offences(ast.parse(code))) == 1
