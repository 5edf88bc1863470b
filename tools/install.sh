#!/usr/bin/env bash
# Make .venv hold gridrl in editable form, with the extras given as the first argument.
#
#   tools/install.sh [EXTRAS]        e.g.  tools/install.sh dev
#
# A finished installation leaves .venv/.installed with a key made of pyproject.toml, the Python
# version and the extras; as long as the key fits, this script returns at once. A half-made .venv
# has no such file, so the next call carries on or starts over. It never downloads CUDA libraries
# to a machine without an NVIDIA GPU.
#
# GRIDRL_PYTHON chooses the interpreter, GRIDRL_VENV the folder.
set -euo pipefail
cd "$(dirname "$0")/.."

EXTRAS="${1:-}"
VENV="${GRIDRL_VENV:-.venv}"
TORCH_VERSION="2.13.0"
TORCH_CPU_INDEX="https://download.pytorch.org/whl/cpu"

say() { printf '==> %s\n' "$*" >&2; }
die() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in ${GRIDRL_PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    die "no Python 3.11 or newer found. Install one, or name it: GRIDRL_PYTHON=/path/to/python make"
}

PYTHON="$(find_python)"
KEY="$("$PYTHON" - <<'PY'
import hashlib, pathlib, sys
files = [pathlib.Path(name).read_bytes() for name in ("pyproject.toml", "tools/install.sh")]
text = b"".join(files) + repr((sys.version, str(pathlib.Path.cwd()))).encode()
print(hashlib.sha256(text).hexdigest())
PY
)"
STAMP="$VENV/.installed"

# The stamp's first line is the key, its second the extras. A .venv with more than is asked for
# will do, and asking for more keeps what is there.
if [[ -f "$STAMP" ]]; then
    have="$(sed -n 2p "$STAMP")"
    wanted="$(printf '%s\n' "${EXTRAS//,/ }" "${have//,/ }" | xargs -n1 | sort -u | paste -sd,)"
    if [[ "$(sed -n 1p "$STAMP")" == "$KEY" && "$wanted" == "$have" ]]; then
        exit 0
    fi
    EXTRAS="$wanted"
fi

rm -f "$STAMP"
started=$SECONDS
have="$("$VENV/bin/python" -c 'import pip, sys; print(sys.version)' 2>/dev/null || true)"
if [[ "$have" != "$("$PYTHON" -c 'import sys; print(sys.version)')" ]]; then
    if [[ -e "$VENV" && ! -f "$VENV/pyvenv.cfg" ]]; then
        die "$VENV exists and is no virtual environment. Move it away, or choose another: GRIDRL_VENV=..."
    fi
    say "Making $VENV with $("$PYTHON" --version)"
    rm -rf "$VENV"
    "$PYTHON" -m venv "$VENV" ||
        die "could not make $VENV. On Debian and Ubuntu: apt install python3-venv"
fi
PY="$VENV/bin/python"
pip() { "$PY" -m pip --disable-pip-version-check --no-input "$@"; }

# pip before 23.3 downloads whole wheels to answer "what would you install?".
pip install -qq --upgrade "pip>=24" || die "pip could not be updated. Is there a network?"

# Says which torch pip would take: "cpu", "cuda" or "none".
torch_offered() {
    pip install -qq --dry-run --no-deps --ignore-installed --report - "torch==$TORCH_VERSION" \
        2>/dev/null | "$PY" -c '
import json, sys
try:
    metadata = json.load(sys.stdin)["install"][0]["metadata"]
except (ValueError, LookupError):
    print("none")
else:
    needs = " ".join(metadata.get("requires_dist", []))
    print("cuda" if "nvidia" in needs or "+cu" in metadata["version"] else "cpu")
' || true
}

if "$PY" -c 'import torch' >/dev/null 2>&1; then
    :
elif "$PY" -m pip show --quiet torch >/dev/null 2>&1; then
    die "the torch in $VENV cannot be imported ($VENV/bin/python -c 'import torch' says why). \
Remove $VENV and repeat."
elif command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then
    say "Installing torch with CUDA: an NVIDIA GPU is here"
    pip install -qq "torch==$TORCH_VERSION" || die "torch could not be installed."
else
    say "Installing torch for the CPU (about 200 MB)"
    if [[ "$(torch_offered)" == cpu ]]; then
        pip install -qq "torch==$TORCH_VERSION" || die "torch could not be installed."
    else
        pip install -qq "torch==$TORCH_VERSION" --index-url "$TORCH_CPU_INDEX" ||
            die "torch $TORCH_VERSION could not be installed, neither from your package index (it \
offers no CPU build) nor from $TORCH_CPU_INDEX. Install a CPU build into $VENV by hand and repeat."
    fi
fi

# Pin the torch that is there, or pip may trade it for one with 3 GB of CUDA libraries.
CONSTRAINT="$(mktemp)"
trap 'rm -f "$CONSTRAINT"' EXIT
"$PY" -c 'from importlib.metadata import version; print("torch==" + version("torch"))' >"$CONSTRAINT"

say "Installing gridrl${EXTRAS:+ with [$EXTRAS]} and what it needs (a few minutes the first time)"
pip install -qq --constraint "$CONSTRAINT" --editable ".${EXTRAS:+[$EXTRAS]}" ||
    die "the installation failed, see above. What is in $VENV is incomplete and will not be used."
pip check >&2 || die "the installed packages contradict each other, see above."
"$VENV/bin/gridrl" --version >/dev/null || die "gridrl was installed but does not start."

printf '%s\n%s\n' "$KEY" "$EXTRAS" >"$STAMP"
say "Ready after $((SECONDS - started)) s: $VENV"
