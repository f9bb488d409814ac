#!/usr/bin/env bash
# Install the project with its tools in an environment of its own, then lint, check types and imports, build the
# documentation, and run the tests.
# Usage: bash scripts/test.sh [pytest arguments]    (SEQLRA_VENV: where the environment goes, default .venv-test)
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${SEQLRA_VENV:-.venv-test}"
export OMP_NUM_THREADS=1  # a process of tests for each core, and no threads that wait for each other
python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e ".[dev]"
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy" &
types=$!  # meanwhile
"$venv/bin/lint-imports" --no-cache --no-logo
NO_MKDOCS_2_WARNING=1 "$venv/bin/mkdocs" build --quiet --strict --site-dir "$venv/site"
wait "$types"
"$venv/bin/pytest" -n auto --dist worksteal "$@"
