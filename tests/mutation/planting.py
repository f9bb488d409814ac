"""One-line defects as data, and what must hold of each before it is planted.

``defects/rules/lra.toml`` holds the defects of ``seqlra/rules/lra.py``, and so on: the folders are the package's.
"""

from __future__ import annotations

import ast
import difflib
import shutil
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEFECTS = Path(__file__).with_name("defects")


class Unfit(Exception):
    """The source or the tests have moved on, and a defect no longer fits them."""


@dataclass(frozen=True)
class Defect:
    """One thing to get wrong.

    Attributes:
        name: what is wrong, in a few words.
        file: the file to plant it in, from the project's root: ``seqlra/rules/lra.py``.
        find, put: the text to replace, which stands there once, and its replacement.
        tests: what must fail, in pytest's words: ``tests/rules/test_lra.py`` or ``tests/rules/test_lra.py::test_...``.
    """

    name: str
    file: str
    find: str
    put: str
    tests: str

    @property
    def module(self) -> str:
        """The module that the file is."""
        return ".".join(Path(self.file).with_suffix("").parts).removesuffix(".__init__")

    def planted(self, source: str) -> str:
        """The source with the defect.

        Raises:
            Unfit: where the text to replace does not stand there just once, or the result is no Python.
        """
        found = source.count(self.find)
        if found != 1:
            raise Unfit(f"{self.name}: the text stands {found} times in {self.file}, not once{_near(self, source)}")
        broken = source.replace(self.find, self.put)
        try:
            ast.parse(broken)
        except SyntaxError as error:
            raise Unfit(f"{self.name}: {self.file} is no Python with it: {error}") from None
        return broken

    def check(self, root: Path = ROOT) -> None:
        """Its text stands in the source once, and its tests exist.

        Raises:
            Unfit: otherwise, with the defect's name and what is wrong.
        """
        file = root / self.file
        if not file.exists():
            raise Unfit(f"{self.name}: there is no {self.file}")
        self.planted(file.read_text())
        path, *names = self.tests.split("::")
        if not (root / path).exists():
            raise Unfit(f"{self.name}: there is no {path}")
        if names and "::".join(names).partition("[")[0] not in _tests_of(root / path):
            raise Unfit(f"{self.name}: there is no {self.tests}")


@cache
def _tests_of(path: Path) -> set[str]:
    """The functions, classes and methods of a file: ``test_...``, ``TestX`` and ``TestX::test_...``."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
            inner = node.body if isinstance(node, ast.ClassDef) else []
            names |= {f"{node.name}::{each.name}" for each in inner if isinstance(each, ast.FunctionDef)}
    return names


def _near(defect: Defect, source: str) -> str:
    """The text that was looked for, and the lines of the source that come closest."""
    lines = {line.strip(): number for number, line in enumerate(source.splitlines(), 1)}
    sought = max(defect.find.splitlines(), key=len, default="").strip()
    holding = [line for line in lines if sought in line]
    report = f"\n    find = {defect.find!r}"
    for line in holding or sorted(lines, key=lambda line: -_overlap(sought, line))[:2]:
        report += f"\n    {defect.file}:{lines[line]}: {line}"
    return report


def _overlap(sought: str, line: str) -> int:
    """How many characters of the text the line has in the same order, in runs of 4 and more."""
    blocks = difflib.SequenceMatcher(None, sought, line, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks if block.size >= 4)


def read_defects(folder: Path = DEFECTS) -> list[Defect]:
    """All defects of a folder, in the order of its files.

    A file names ``tests`` once, for all of its defects that have none of their own.
    """
    defects = []
    for path in sorted(folder.rglob("*.toml")):
        table = tomllib.loads(path.read_text())
        file = f"seqlra/{path.relative_to(folder).with_suffix('.py').as_posix()}"
        defects += [Defect(file=file, **{"tests": table.get("tests"), **row}) for row in table["defect"]]
    return defects


def unfit(defects: Iterable[Defect], root: Path = ROOT) -> list[str]:
    """One report for each defect that no longer fits."""
    reports = []
    for defect in defects:
        try:
            defect.check(root)
        except Unfit as error:
            reports.append(str(error))
    return reports


@contextmanager
def copy_of_the_package(source: Path = ROOT) -> Iterator[Path]:
    """A temporary folder with the package and its tests, as they are in ``source``."""
    with tempfile.TemporaryDirectory(prefix="seqlra-defect-") as folder:
        copy = Path(folder).resolve()
        for part in ("seqlra", "tests"):
            shutil.copytree(source / part, copy / part)
        shutil.copy(source / "pyproject.toml", copy)
        (copy / "data").symlink_to((source / "data").resolve())  # the embedded samples: large, and only read
        yield copy


def plant(defect: Defect, copy: Path) -> None:
    """Write the defect into that copy; no bytecode of the file outlives it."""
    file = copy / defect.file
    file.write_text(defect.planted(file.read_text()))
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
        compiled.unlink()
