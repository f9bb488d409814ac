"""The page of a folder of results: the tables in ``measured.json``, and what ``seqlra bench`` wrote, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqlra import markdown
from seqlra.errors import SeqlraError
from seqlra.training.run_directory import Directory

MEASURED, BENCHES, PAGE = "measured.json", "bench-*.jsonl", "measured.md"


def render(folder: Path) -> Path:
    """Write ``measured.md`` from ``measured.json`` and from every ``bench-NAME.jsonl`` in the folder.

    ``bench-NAME.jsonl`` has what ``seqlra bench NAME --json`` printed, a line each time. ``measured.json`` has a
    ``machine``, in words, and ``tables`` by name, each with a ``heading`` and ``rows``: of single settings
    (`settings_table`) or, where it has a ``command``, of a comparison (`comparison_table`).

    Returns:
        The page.

    Raises:
        SeqlraError: the folder has none of these files, or one of them is damaged, or the page cannot be written.
    """
    directory = Directory(folder)
    sources = [*folder.glob(MEASURED), *sorted(folder.glob(BENCHES))]
    if not sources:
        raise SeqlraError(f"{folder} has neither {MEASURED} nor {BENCHES}")
    parts = [HEAD]
    for path in sources:
        try:
            if path.name == MEASURED:
                parts += _measured(directory.read_json(path))
            else:
                parts.append(bench_table(_bench_name(path), directory.read_json_lines(path)))
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise SeqlraError(f"{path} is damaged: {error!r}") from error
    page = folder / PAGE
    directory.write_text(page, "\n\n".join(parts) + "\n")
    return page


def _bench_name(path: Path) -> str:
    """``rnn --online`` of ``bench-rnn-online.jsonl``."""
    return path.stem.removeprefix("bench-").replace("-", " --")


def _measured(content: Mapping[str, Any]) -> list[str]:
    tables = content["tables"].values()
    return [content["machine"], *((comparison_table if "command" in each else settings_table)(each) for each in tables)]


def settings_table(table: Mapping[str, Any]) -> str:
    """Single settings, each a command of ``seqlra train``, with the mean and the range over its seeds."""
    rows = [("", "here", "on validation", "paper", "mean depth", "ms an update", "command")]
    for row in table["rows"]:
        digits = 3 if row["metric"].endswith("bpc") else 2
        figure, figures = f"{row['figure']:.{digits}f}", row["figures"]
        if len(figures) > 1:
            figure += f" ({len(figures)} seeds, {min(figures):.{digits}f} to {max(figures):.{digits}f})"
        command = f"`train {row['command'].split(' --seed')[0]}`"
        others = (f"{row['valid']:.{digits}f}", row["paper"] or "-", f"{row['depth']:.2f}", f"{row['ms']:.1f}")
        rows.append((row["label"], figure, *others, command))
    return f"**{table['heading']}**\n\n{markdown.table(rows)}"


def comparison_table(table: Mapping[str, Any]) -> str:
    """The ``results.json`` of a comparison; of stochastic networks the accuracies of their posterior, too."""
    metric = table["metric"]
    sampled = all(f"{way}_accuracies" in row for row in table["rows"] for way in POSTERIOR)
    header = tuple(POSTERIOR.values()) if sampled else (f"test {metric}",)
    rows = [("", *header, f"validation {metric}", "paper", "mean depth", "ms an update")]
    for row in table["rows"]:
        figures = [row[f"{way}_accuracies"] for way in POSTERIOR] if sampled else [row[f"test_{metric}"]["all"]]
        others = (f"{row[name]['mean']:.2f}" for name in ("mean_depth", "ms_per_update"))
        rows.append(
            (
                row["label"],
                *map(_mean_and_range, figures),
                f"{row[f'valid_{metric}']['mean']:.2f}",
                row["paper"],
                *others,
            )
        )
    return f"**{table['heading']}**\n\n{markdown.table(rows)}\n\n`compare {table['command']}`"


def _mean_and_range(figures: Sequence[float]) -> str:
    mean = f"{statistics.mean(figures):.2f}"
    return mean if len(figures) == 1 else f"{mean} ({min(figures):.2f} to {max(figures):.2f})"


def bench_table(name: str, runs: Sequence[Mapping[str, Any]]) -> str:
    """What ``seqlra bench NAME --json`` printed, once or several times: medians and ranges over the times; of one time,
    the range within it. The mode of ``torch.compile`` that was fastest may be another each time."""
    cases: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for run in runs:
        for case in run["cases"]:
            cases.setdefault((case["case"], case["rival"].partition(" (")[0]), []).append(case)
    measured = any(case.get("ours_mib") is not None for each in cases.values() for case in each)
    memory = ("ours MiB", "rival MiB") if measured else ()
    rows = [("case", "rival", "ratio", "ours ms", "rival ms", "of the rate of products", *memory)]
    for (case, rival), each in cases.items():
        middle = {key: statistics.median(one[key] for one in each) for key in ("ours_ms", "rival_ms")}
        mib = (f"{statistics.median(one[key] for one in each):.1f}" for key in ("ours_mib", "rival_mib") if measured)
        times = (f"{middle['ours_ms']:.2f}", f"{middle['rival_ms']:.2f}")
        modes = " or ".join(dict.fromkeys(one["rival"].removeprefix(rival).strip(" ()") for one in each))
        rows.append(
            (case, f"{rival} ({modes})" if modes else rival, _ratio(each, len(runs)), *times, _of_limit(each), *mib)
        )
    means = "; ".join(f"{which} {_middle(means)}" for which, means in _geometric_means(runs).items())
    apart = f"; {len(runs)} times, minutes apart" if len(runs) > 1 else ""
    where = f"{runs[0]['device']}, {runs[0]['threads']} threads"
    heading = f"`seqlra bench {name}`: {where}; rival's time over ours{apart}"
    return f"**{heading}**\n\n{markdown.table(rows)}\n\nGeometric means: {means}."


def _ratio(cases: Sequence[Mapping[str, Any]], times: int) -> str:
    if times == 1:
        return f"{cases[0]['ratio']:.2f} ({cases[0]['ratio_low']:.2f} to {cases[0]['ratio_high']:.2f})"
    often = "" if len(cases) == times else f", {len(cases)} of {times} times"
    return _middle([case["ratio"] for case in cases]) + often


def _middle(figures: Sequence[float]) -> str:
    """Their median, and their range where there are several."""
    middle = f"{statistics.median(figures):.2f}"
    return middle if len(figures) == 1 else f"{middle} ({min(figures):.2f} to {max(figures):.2f})"


def _of_limit(cases: Sequence[Mapping[str, Any]]) -> str:
    known = [case["of_limit"] for case in cases if case["of_limit"] is not None]
    return f"{100 * statistics.median(known):.0f}%" if known else "-"


def _geometric_means(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for run in runs:
        for which, mean in run["geometric_means"].items():
            found.setdefault(which, []).append(mean)
    return found


POSTERIOR = {"posterior": "100 samples", "one_draw": "one draw", "mean_field": "mean field"}
"""How a stochastic network was evaluated, with the words of the table."""

HEAD = """# What was measured

Written by `seqlra reproduce render`; every seed is in `measured.json`. Validation chose the epoch and the settings; the
test set was looked at once a run. Times of an update are of a machine that did other work, too; those of `seqlra bench`
are of one that did not."""
