#!/usr/bin/env bash
# Build the wheel and the sdist, check the page that a package index would show, and train with each of the two, installed
# in an environment of its own, from an empty folder. Nothing but the required libraries is installed.
# Usage: bash scripts/check_package.sh    (SEQLRA_PYTHON: one with build and twine, default python3)
set -euo pipefail
cd "$(dirname "$0")/.."
root="$PWD"
python="${SEQLRA_PYTHON:-python3}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

"$python" -m build --outdir "$work/dist" . >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
"$python" -m twine check --strict "$work"/dist/*
python3 -m venv "$work/venv"
pip() { "$work/venv/bin/pip" install --quiet --disable-pip-version-check -c "$root/constraints.txt" "$@"; }

mkdir "$work/elsewhere"
cd "$work/elsewhere"
unset PYTHONPATH
export OMP_NUM_THREADS=1
for package in "$work"/dist/*.whl "$work"/dist/*.tar.gz; do
    pip "$package"
    pip --force-reinstall --no-deps "$package"  # the second of the two has the version of the first
    "$work/venv/bin/seqlra" train mlp --hidden 16 --epochs 1 --json >mlp.json 2>log || { cat log; exit 1; }
    "$work/venv/bin/seqlra" train rnn --hidden 8 --steps 20 --json >rnn.json 2>log || { cat log; exit 1; }
    rm -r runs
    echo "$(basename "$package"): trains"
done
du -sh "$work"/venv/lib/python*/site-packages
