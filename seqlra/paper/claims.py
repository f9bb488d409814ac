"""The claims of the paper, and whether they hold here: each claim reads the runs in the store, and reports its numbers.

Where a claim compares rules, it does so at equal epochs: the most that all of them have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from statistics import fmean

from seqlra.paper import figure2, figure3, figure5, figure6, figure7, table1, table2, table3, table4
from seqlra.paper.cells import Cell, Scale
from seqlra.paper.exhibit import Exhibit, Page
from seqlra.paper.published import STDS, TABLE1, TABLE2
from seqlra.paper.reproduction import Found, Reproduction


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds here, and the numbers behind it."""

    holds: bool
    seen: str


Judge = Callable[[Reproduction], Verdict | None]
"""None if the runs that it needs do not exist."""

CHANCE = 85.0
"""Percent: a network of ten classes with more error has learned almost nothing."""


def _mean(found: Found, figure: str = "test_error") -> float:
    values = [value for value in found.figure(figure)["all"] if value is not None]
    return fmean(values) if values else 100.0


def _equal(reproduction: Reproduction, cells: Iterable[Cell]) -> list[Found] | None:
    """The runs of these cells of the most epochs that all of them have been trained."""
    cells = list(cells)
    lengths = [reproduction.lengths(cell) for cell in cells]
    shared = set.intersection(*lengths) if lengths else set()
    if not shared:
        return None
    return [found for cell in cells if (found := reproduction.found(cell, max(shared)))]


def _from_zero(reproduction: Reproduction) -> Verdict | None:
    cells = [table1.cell(data, unit, "lra-fdbk", 0.0) for data, unit in product(table1.DATA, table1.UNITS)]
    found = [reproduction.found(cell) for cell in cells]
    known = [each for each in found if each]
    if len(known) < len(cells):
        return None
    errors = [_mean(each) for each in known]
    shown = ", ".join(f"{e:.2f}%" for e in errors)
    return Verdict(max(errors) < CHANCE / 4, f"MNIST sigmoid and tanh, Fashion-MNIST sigmoid and tanh: {shown}")


def _robust(reproduction: Reproduction) -> Verdict | None:
    ranges = []
    for data, unit in product(table1.DATA, table1.UNITS):
        found = _equal(reproduction, [table1.cell(data, unit, "lra-fdbk", std) for std in STDS])
        if found is None:
            return None
        errors = [_mean(each) for each in found]
        ranges.append((max(errors) - min(errors), found[0].epochs))
    shown = ", ".join(f"{spread:.2f}" for spread, _ in ranges)
    epochs = ", ".join(sorted({str(epochs) for _, epochs in ranges}))
    # the paper's own figures lie up to 1.03 points apart
    return Verdict(
        max(spread for spread, _ in ranges) <= 1.1, f"over the four initializations: {shown} points ({epochs} epochs)"
    )


def _same_errors(reproduction: Reproduction) -> Verdict | None:
    apart = {"mnist": 0.5, "fashion_mnist": 1.0}
    beyond, worst, count = [], -100.0, 0
    for data, unit in product(table1.DATA, table1.UNITS):
        for std, paper in zip(STDS, TABLE1[data, unit, "lra-fdbk"], strict=True):
            found = reproduction.found(table1.cell(data, unit, "lra-fdbk", std))
            if found is None or paper is None:
                return None
            difference = _mean(found) - paper
            count, worst = count + 1, max(worst, difference)
            beyond += [f"{data} {unit} {std:g}"] if difference > apart[data] else []
    near = f"{count - len(beyond)} of {count} cells within 0.5 points (MNIST) or 1 (Fashion-MNIST), or better"
    seen = f"{near}; the worst {worst:+.2f}"
    return Verdict(not beyond, seen)


def _backprop_fails(reproduction: Reproduction) -> Verdict | None:
    cells = [table1.cell(data, "sigmoid", "backprop", std) for data in table1.DATA for std in STDS]
    found = [each for cell in cells if (each := reproduction.found(cell))]
    if len(found) < len(cells):
        return None
    best, epochs = min(map(_mean, found)), max(each.epochs for each in found)
    return Verdict(best > CHANCE, f"the best of eight cells: {best:.1f}% after {epochs} epochs")


def _beats(rule: str) -> Judge:
    """LRA-fdbk against a rival, cell by cell of Table 1."""

    def judge(reproduction: Reproduction) -> Verdict | None:
        wins, count, epochs = 0, 0, set()
        for data, unit, std in product(table1.DATA, table1.UNITS, STDS):
            pair = _equal(reproduction, [table1.cell(data, unit, name, std) for name in ("lra-fdbk", rule)])
            if pair is not None:
                ours, theirs = pair
                wins, count = wins + (_mean(ours) < _mean(theirs)), count + 1
                epochs.add(str(ours.epochs))
        if count < 16:
            return None
        return Verdict(wins == count, f"better in {wins} of {count} cells ({', '.join(sorted(epochs))} epochs)")

    return judge


def _all_units(reproduction: Reproduction) -> Verdict | None:
    differences = []
    for network, data in product(table2.NETWORKS, table1.DATA):
        found = reproduction.found(table2.cell(network, data), 1)
        if found is None:
            return None
        differences.append(_mean(found) - TABLE2[network, data][0])
    near = sum(difference <= 1.5 for difference in differences)
    seen = f"after one epoch {near} of {len(differences)} within 1.5 points of the paper or better"
    seen += f"; the worst {max(differences):+.2f}"
    return Verdict(near == len(differences), seen)


def _accuracies(reproduction: Reproduction, data: str) -> tuple[dict[str, float], int] | None:
    found = _equal(reproduction, [table3.cell(method, data) for method in table3.METHODS])
    if found is None:
        return None
    shown = {}
    for method, each in zip(table3.METHODS, found, strict=True):
        errors = table3.posterior_errors(each)
        if not errors:
            return None
        shown[method] = 100 - fmean(errors)
    return shown, found[0].epochs


def _stochastic(rivals: tuple[str, ...], margin: float) -> Judge:
    """LRA-fdbk at most ``margin`` points behind every one of these, on both datasets."""

    def judge(reproduction: Reproduction) -> Verdict | None:
        seen, holds = [], True
        for data in table1.DATA:
            known = _accuracies(reproduction, data)
            if known is None:
                return None
            shown, epochs = known
            ours, best = shown["lra-fdbk"], max(rivals, key=shown.__getitem__)
            holds = holds and ours >= shown[best] - margin
            seen.append(f"{data} {ours:.2f} against {shown[best]:.2f} ({best}, {epochs} epochs)")
        return Verdict(holds, "; ".join(seen))

    return judge


def _fine_tuning(reproduction: Reproduction) -> Verdict | None:
    found = _equal(reproduction, [table4.cell("lra", phase) for phase in table4.PHASES])
    if found is None:
        return None
    before, after = ([_mean(each, f"{split}_error") for split in ("train", "valid", "test")] for each in found)
    shown = ", ".join(
        f"{split} {one:.2f} to {two:.2f}"
        for split, one, two in zip(("training", "validation", "test"), before, after, strict=True)
    )
    return Verdict(after[0] < before[0] and after[1] < before[1], f"{shown} ({found[0].epochs} epochs each)")


def _slower_to_overfit(reproduction: Reproduction) -> Verdict | None:
    found = _equal(reproduction, [table4.cell(rule, "pretrained") for rule in table4.RULES])
    if found is None:
        return None
    lra, backprop = ([_mean(each, f"{split}_error") for split in ("train", "test")] for each in found)
    seen = (
        f"training and test error of LRA {lra[0]:.2f} and {lra[1]:.2f}, of backprop {backprop[0]:.2f} and "
        f"{backprop[1]:.2f} ({found[0].epochs} epochs)"
    )
    return Verdict(lra[0] > backprop[0] and abs(lra[1] - backprop[1]) < 1.5, seen)


def _steps_help(reproduction: Reproduction) -> Verdict | None:
    seen, holds = [], True
    for data in table1.DATA:
        found = _equal(reproduction, [figure2.diff(data, steps) for steps in (5, 30)])
        if found is None:
            return None
        few, many = (fmean(history[-1]["valid_error"] for history in each.histories) for each in found)
        holds = holds and many < few
        seen.append(f"{data} K = 5 {few:.2f}, K = 30 {many:.2f} ({found[0].epochs} epochs)")
    return Verdict(holds, "; ".join(seen))


def _one_step_is_enough(reproduction: Reproduction) -> Verdict | None:
    seen, holds = [], True
    for data in table1.DATA:
        cells = [figure2.fdbk(data, 1.0), *(figure2.diff(data, steps) for steps in figure2.STEPS)]
        found = _equal(reproduction, cells)
        if found is None:
            return None
        ours, *others = (fmean(history[-1]["valid_error"] for history in each.histories) for each in found)
        holds = holds and ours < min(others) + 1
        seen.append(f"{data} {ours:.2f}, the best K {min(others):.2f} ({found[0].epochs} epochs)")
    return Verdict(holds, "; ".join(seen))


def _depth_falls(reproduction: Reproduction) -> Verdict | None:
    cells = {f"{data} {unit}": figure5.halting(data, unit) for data, unit in product(table1.DATA, table1.UNITS)}
    seen, falls = [], []
    for name, cell in cells.items():
        found = reproduction.found(cell)
        if found is None:
            return None
        depths = [history[nth]["depth"] for nth in (0, -1) for history in found.histories[:1]]
        falls.append(depths[-1] < depths[0])
        seen.append(f"{name} {depths[0]:.1f} to {depths[-1]:.1f} ({found.epochs} epochs)")
    return Verdict(all(falls), "; ".join(seen))


def _descends(reproduction: Reproduction) -> Verdict | None:
    found = reproduction.found(figure7.CELL)
    angles = [row["angle"] for row in found.histories[0] if row.get("angle") is not None] if found else []
    if found is None or not angles:
        return None
    seen = f"from {angles[0]:.0f} to {angles[-1]:.0f} degrees, at most {max(angles):.0f} ({found.epochs} epochs)"
    return Verdict(max(angles) < figure7.RIGHT_ANGLE, seen)


def _clear_filters(reproduction: Reproduction) -> Verdict | None:
    page = figure3.Figure3().page(reproduction)
    smooth = (
        {e.name.removesuffix(", correlation"): e.mean for e in page.entries if "correlation" in e.name} if page else {}
    )
    if smooth.keys() != figure3.CELLS.keys():
        return None
    lra = [value for name, value in smooth.items() if name.startswith("LRA")]
    backprop = [value for name, value in smooth.items() if name.startswith("backprop")]
    seen = "correlation of neighboring pixels: " + ", ".join(f"{name} {value:.2f}" for name, value in smooth.items())
    return Verdict(min(lra) > max(backprop), seen)


def _separates(reproduction: Reproduction) -> Verdict | None:
    page = figure6.Figure6().page(reproduction)
    shown = {e.name: e.mean for e in page.entries if "layer" in e.name} if page else {}
    layers = {rule: [mean for name, mean in shown.items() if name.startswith(rule)] for rule in figure6.CELLS}
    if not all(layers.values()):
        return None
    listed = [f"{rule} " + ", ".join(f"{mean:.0f}%" for mean in means) for rule, means in layers.items()]
    seen = "images whose neighbors in a latent layer have their class: " + "; ".join(listed)
    return Verdict(min(layers["LRA-fdbk"]) > min(layers["backprop"]) - 5, seen)


CLAIMS: dict[str, tuple[str, Judge]] = {
    "LRA-fdbk trains eight layers from all-zero weights, with both units": ("Table 1", _from_zero),
    "it is robust to the initialization": ("Table 1", _robust),
    "its errors are those of the table": ("Table 1", _same_errors),
    "backprop does not train the sigmoid net from any of them": ("Table 1", _backprop_fails),
    "LRA-fdbk is better than FA": ("Table 1", _beats("fa")),
    "LRA-fdbk is better than DFA": ("Table 1", _beats("dfa")),
    "LRA-fdbk is better than DTP": ("Table 1", _beats("dtp")),
    "all eight kinds of units learn from zero weights, as fast as reported": ("Table 2", _all_units),
    "with stochastic units LRA-fdbk is level with DTP": ("Table 3", _stochastic(("dtp",), 0.5)),
    "it outperforms the pass-through estimator and REINFORCE": (
        "Table 3",
        _stochastic(("ste", "reinforce", "reinforce-va"), 0.0),
    ),
    "it outperforms the sigmoid-adjusted and slope-annealed estimators": (
        "Table 3",
        _stochastic(("ste-sigmoid", "ste-slope"), 0.0),
    ),
    "fine-tuning by backprop improves what LRA learned, on training and validation images": ("Table 4", _fine_tuning),
    "LRA optimizes, but is slower to overfit than backprop": ("Table 4", _slower_to_overfit),
    "more steps K of LRA-diff generalize better, sooner": ("Figure 2", _steps_help),
    "LRA-fdbk, with one step, reaches the level of the best K": ("Figure 2", _one_step_is_enough),
    "after one epoch LRA has clear filters, backprop far noisier ones": ("Figure 3", _clear_filters),
    "the depth of credit assignment falls while networks learn": ("Figure 5", _depth_falls),
    "what LRA learned separates the classes, in every latent layer": ("Figure 6", _separates),
    "LRA's updates are within 90 degrees of backprop's": ("Figure 7", _descends),
}
"""The claims, their place in the paper, and their tests."""


class Claims(Exhibit):
    """Every claim with its verdict; it trains nothing."""

    name = "claims"
    title = "what of the paper holds here"
    quick = Scale(epochs=1)
    paper = Scale(epochs=1)

    def cells(self) -> list[Cell]:
        """None: the runs of the tables and figures."""
        return []

    def page(self, reproduction: Reproduction) -> Page | None:
        """One row a claim."""
        rows = [("the paper says", "where", "here", "what was seen")]
        for claim, (where, judge) in CLAIMS.items():
            verdict = judge(reproduction)
            shown = (
                ("not run", "-") if verdict is None else ("holds" if verdict.holds else "does not hold", verdict.seen)
            )
            rows.append((claim, where, *shown))
        return Page(rows, (), [NOTE]) if any(row[2] != "not run" for row in rows[1:]) else None


NOTE = "Errors in percent on the test images. Rules are compared at equal epochs, the most that all have been trained."
