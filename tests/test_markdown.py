"""Oracle: the table written by hand, and a reader of tables that undoes the writing."""

from __future__ import annotations

import re

import pytest

from seqlra import markdown


def test_a_table_is_a_header_a_rule_and_a_line_for_each_row() -> None:
    assert markdown.table([("a", "b", ""), ("1", "", "3")]) == "| a | b |  |\n|---|---|---|\n| 1 |  | 3 |"
    assert markdown.table([("alone",)]) == "| alone |\n|---|"


def test_no_cell_can_break_the_table() -> None:
    rows = [("|x|", "y"), ("one\ntwo", "a | b")]
    header, rule, *lines = markdown.table(rows).splitlines()
    assert rule == "|---|---|"
    read = [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in (header, *lines)
    ]
    assert read == [["|x|", "y"], ["one two", "a | b"]]


@pytest.mark.parametrize("rows", [[], [("a", "b"), ("1",)], [("a",), ("1", "2")]])
def test_rows_of_unequal_lengths_are_refused(rows: list[tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match="header"):
        markdown.table(rows)
