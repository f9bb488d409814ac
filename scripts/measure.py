"""Run every measurement that the README states, and write what came out into ``results/measured.md`` and ``.json``, and
what ``seqlra bench`` said into the README.

    python scripts/measure.py --data-dir DATA --out runs/measured               # run what is missing, then write
    python scripts/measure.py --data-dir DATA --out runs/measured --only text   # one table of them
    python scripts/measure.py --out runs/measured --render                      # only write, from what is there

DATA holds mnist/, fashion_mnist/ (IDX files) and tiny_shakespeare/input.txt. A run that is finished is not run again,
one that was stopped goes on. ``--threads`` are those of each run, ``--jobs`` how many run at a time.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = """# What was measured

Written by `scripts/measure.py`; every seed is in `measured.json`. Validation chose the epoch and the settings; the test
set was looked at once a run. Times of an update are of a machine that did other work, too.
"""
MARKS = ("<!-- measured: scripts/measure.py writes what follows -->\n", "<!-- end of measured -->\n")


@dataclass(frozen=True)
class Run:
    """One command, and the row that it fills in.

    Attributes:
        group: the table.
        name: of its run directory.
        label: first cell of the row; runs of one label are seeds, told as mean and spread.
        command: after ``seqlra train``.
        paper: the paper's figure, as text.
    """

    group: str
    name: str
    label: str
    command: str
    paper: str = ""


NULL = "mlp --dataset mnist --hidden 128x8 --weight-init zeros --epochs 10 --optimizer sgd --batch-size 50"
TABLE2 = "mlp --hidden 800x3 --weight-init zeros --batch-size 20 --optimizer adam --epochs 1"
DIFF = "mlp --dataset mnist --hidden 64x3 --optimizer sgd --lr 0.01 --batch-size 50 --epochs 1"
TEXT = "rnn --dataset tiny_shakespeare --hidden 256 --streams 64 --unroll 50 --steps 2500"
UNITS = {
    "softsign": ("--lr 0.0002 --activation softsign", "5.94"),
    "relu6": ("--lr 0.0002 --activation relu6", "8.6"),
    "softplus": ("--lr 0.00005 --activation softplus", "14.94"),
    "LWTA-1": ("--lr 0.0002 --discretizer lwta", "7.02"),
    "SLWTA-1": ("--lr 0.0002 --discretizer slwta", "9.15"),
    "signum": ("--lr 0.0002 --discretizer sign", "6.88"),
}
TUNING = {
    "null initialization": "--weight-init zeros",
    "uniform fan-in (eq. 5)": "--weight-init fan-in",
    "Gaussian 0.05": "--weight-init gaussian",
    "lr 0.005": "--lr 0.005",
    "lr 0.02": "--lr 0.02",
    "beta 1": "--beta 1",
    "c2 10": "--c2 10",
    "log-penalty": "--loss log-penalty",
    "E of std 0.1": "--feedback-std 0.1",
    "RMSprop, lr 0.003": "--optimizer rmsprop --lr 0.003",
    "backprop, lr 0.005": "--rule backprop --lr 0.005",
    "backprop, lr 0.02": "--rule backprop --lr 0.02",
    "backprop, uniform fan-in": "--rule backprop --weight-init fan-in",
    "lra-diff, lr 0.005": "--rule lra-diff --lr 0.005",
    "lra-diff, lr 0.02": "--rule lra-diff --lr 0.02",
}
RUNS = (
    *(
        Run(
            "null",
            f"null-{rule}-{unit}",
            f"{rule}, {unit}",
            f"{NULL} --lr 0.01 --activation {unit} --rule {rule}",
            paper,
        )
        for unit, sigmoid in (("sigmoid", True), ("tanh", False))
        for rule, paper in (
            ("lra-fdbk", "2.75 (100 epochs)" if sigmoid else "2.69 (100 epochs)"),
            ("backprop", "fails"),
        )
    ),
    *(
        Run("table2", f"table2-{unit}", unit, f"{TABLE2} --dataset mnist {options}", paper)
        for unit, (options, paper) in UNITS.items()
    ),
    Run(
        "fashion",
        "fashion-signum",
        "signum, 3x800, 1 epoch",
        f"{TABLE2} --lr 0.0002 --dataset fashion_mnist --discretizer sign",
        "19.23",
    ),
    Run(
        "fashion",
        "fashion-null-tanh",
        "tanh, 8x128, 10 epochs",
        f"{NULL} --lr 0.01 --activation tanh".replace("mnist", "fashion_mnist"),
        "11.85 (100 epochs)",
    ),
    Run("diff", "diff-fdbk", "lra-fdbk", DIFF),
    *(Run("diff", f"diff-{k}", f"lra-diff, K = {k}", f"{DIFF} --rule lra-diff --inner-steps {k}") for k in (1, 5, 30)),
    *(
        Run("text", f"text-{rule}-{seed}", rule, f"{TEXT} --rule {rule} --seed {seed}")
        for rule in ("lra-fdbk", "lra-diff", "backprop")
        for seed in (0, 1, 2)
    ),
    *(
        Run(
            "text",
            f"text-skip-{eps}-{seed}",
            f"lra-fdbk, epsilon {eps}, skip",
            f"{TEXT} --epsilon {eps} --skip --seed {seed}",
        )
        for eps, seeds in ((0.003, (0, 1, 2)), (0.01, (0, 1, 2)), (0.03, (0,)), (0.1, (0,)))
        for seed in seeds
    ),
    *(Run("tuning", f"tuning-{label}", label, f"{TEXT} {options}") for label, options in TUNING.items()),
)


@dataclass(frozen=True)
class Comparison:
    """One ``seqlra compare``, told as a table.

    Attributes:
        name: of its directory.
        title: what it is.
        command: after ``seqlra compare``.
        paper: by label, the paper's figure, as text.
        samples: over how many draws posteriors are averaged; 0: the network draws nothing.
    """

    name: str
    title: str
    command: str
    paper: dict[str, str]
    samples: int = 0


RIVALS_NULL = (
    "mlp --rules lra-fdbk,dfa,fa,dtp,backprop --dataset mnist --hidden 128x8 --weight-init zeros --batch-size 50 "
    '--epochs 10 --optimizer sgd --lr 0.01 --seeds 3 --own "backprop: --lr 0.1" '
    '--own "dtp: --optimizer rmsprop --lr 0.0003"'
)
STOCHASTIC = (
    "mlp --rules lra-fdbk,ste,ste-sigmoid,ste-slope,reinforce,reinforce-va,dtp --dataset mnist --hidden 200x2 "
    "--discretizer bernoulli --batch-size 50 --schedule linear --epochs 20 --lr 0.01 --seeds 3 "
    '--own "ste: --lr 0.001" --own "ste-slope: --lr 0.003 --set slope=10" --own "reinforce: --lr 0.003" '
    '--own "reinforce-va: --lr 0.005" --own "dtp: --set target_step=0.1 --set noise=0.1"'
)
BINARY_RNN = (
    "rnn --rules tanh=lra-fdbk,sign=lra-fdbk,bernoulli=lra-fdbk "
    '--own "sign: --discretizer sign" --own "bernoulli: --discretizer bernoulli"'
)
COMPARISONS = (
    Comparison(
        "rivals-null-tanh",
        "Table 1, null initialization, tanh: MNIST, 8x128, 10 epochs (paper: 100); test error in percent",
        f'{RIVALS_NULL} --activation tanh --own "lra-fdbk: --lr 0.0025 --c1 off --c2 10" '
        '--own "dfa: --lr 1" --own "fa: --lr 0.5"',
        {"lra-fdbk": "2.69", "dfa": "5.24", "fa": "16.1", "dtp": "X", "backprop": "X"},
    ),
    Comparison(
        "rivals-null-sigmoid",
        "Table 1, null initialization, sigmoid: MNIST, 8x128, 10 epochs (paper: 100); test error in percent",
        f'{RIVALS_NULL} --activation sigmoid --own "dfa: --lr 10" --own "fa: --lr 1"',
        {"lra-fdbk": "2.75", "dfa": "30.84", "fa": "88.65", "dtp": "X", "backprop": "X"},
    ),
    Comparison(
        "stochastic",
        "Table 3: MNIST, 2x200 Bernoulli units, 20 epochs (paper: 500); test accuracy in percent, 100 samples",
        STOCHASTIC,
        {
            "lra-fdbk": "98.28",
            "ste": "85.41",
            "ste-sigmoid": "96.04",
            "ste-slope": "97.18",
            "reinforce": "88.81",
            "reinforce-va": "94.11",
            "dtp": "98.46",
        },
        samples=100,
    ),
    Comparison(
        "binary-rnn",
        "Elman RNNs of 256 units on the embedded text by LRA-fdbk: tanh, binary, stochastic; test bits per character",
        BINARY_RNN,
        {},
    ),
)
BENCHES = ("mlp", "stack", "rnn")
BITS = ("text", "tuning")
TITLES = {
    "null": "Null initialization (Section 3.2): MNIST, 8x128, SGD, 10 epochs; test error in percent",
    "table2": "Table 2: MNIST, null initialization, 3x800, Adam, after 1 epoch; test error in percent",
    "fashion": "Fashion-MNIST, null initialization; test error in percent",
    "diff": "K of LRA-diff (Section 3.1): MNIST, 3x64 tanh, fan-in, SGD, after 1 epoch; test error in percent",
    "text": "Tiny Shakespeare: Elman RNN, 256 tanh units, 64 streams, K = 50, 2,500 updates; test bits per character",
    "tuning": "What helps there and what does not: one thing changed, seed 0; validation bits per character",
}


def train(run: Run, out: Path, data_dir: Path, threads: int) -> None:
    """Run or resume one measurement."""
    folder = out / run.name
    if (folder / "result.json").exists():
        return
    if (folder / "config.json").exists():
        arguments = [run.command.split()[0], "--resume", str(folder)]
    else:
        arguments = [*run.command.split(), "--data-dir", str(data_dir), "--out", str(folder)]
    seqlra("train", *arguments, "--threads", str(threads))


def compare(comparison: Comparison, out: Path, data_dir: Path, threads: int) -> None:
    """Run or resume one comparison, and sample the posteriors of its runs."""
    folder = out / comparison.name
    if (folder / "compare.json").exists():
        seqlra("compare", "--resume", str(folder))
    else:
        own = ["--threads", str(threads), "--out", str(folder), "--data-dir", str(data_dir)]
        seqlra("compare", *shlex.split(comparison.command), *own)
    for run in sorted(folder.glob("*-seed*/")) if comparison.samples else []:
        if not (run / "evaluation-test" / "posterior.json").exists():
            seqlra("evaluate", str(run), "--samples", str(comparison.samples))


def bench(which: str, out: Path) -> None:
    """One ``seqlra bench``, if it has not been run; nothing else should be running."""
    target = out / f"bench-{which}.json"
    if not target.exists():
        target.write_text(seqlra("bench", which, "--json").splitlines()[-1] + "\n")


def bench_table(which: str, measured: dict[str, object]) -> str:
    """What a bench said, in Markdown."""
    lines = [
        f"**`seqlra bench {which}`: {measured['device']}, {measured['threads']} threads; rival's time over ours**\n",
        "| case | rival | ratio | ours ms | rival ms | of the rate of products |",
        "|" + "---|" * 6,
    ]
    for case in measured["cases"]:  # type: ignore[attr-defined]
        ratio = f"{case['ratio']:.2f} ({case['ratio_low']:.2f} to {case['ratio_high']:.2f})"
        limit = "-" if case["of_limit"] is None else f"{100 * case['of_limit']:.0f}%"
        cells = (case["case"], case["rival"], ratio, f"{case['ours_ms']:.2f}", f"{case['rival_ms']:.2f}", limit)
        lines.append("| " + " | ".join(cells) + " |")
    means = measured["geometric_means"]
    told = "; ".join(f"{which} {mean:.2f}" for which, mean in means.items())  # type: ignore[attr-defined]
    return "\n".join(lines) + f"\n\nGeometric means: {told}.\n"


def seqlra(*arguments: str) -> str:
    """One command in a process of its own; what it printed."""
    print("seqlra", shlex.join(arguments), flush=True)
    command = [sys.executable, "-c", "from seqlra.cli import main; main()", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def compared(comparison: Comparison, out: Path) -> dict[str, object]:
    """What a comparison came to: by label, its figures over seeds."""
    results = json.loads((out / comparison.name / "results.json").read_text())
    for row in results["rows"]:
        row["paper"] = comparison.paper.get(row["label"], "-")
        posteriors = [
            json.loads((out / comparison.name / member["run"] / "evaluation-test" / "posterior.json").read_text())
            for member in row["members"]
            if comparison.samples
        ]
        if posteriors:
            row["posterior_accuracies"] = [100 - p["test_error"] for p in posteriors]
            row["one_draw_accuracies"] = [100 - p["one_draw"]["error"] for p in posteriors]
            row["mean_field_accuracies"] = [100 - p["mean_field"]["error"] for p in posteriors]
    return {"command": comparison.command, **results}


def compared_table(comparison: Comparison, results: dict[str, object]) -> str:
    """One comparison in Markdown."""
    metric = str(results["metric"])
    drawn = ("100 samples", "one draw", "mean field") if comparison.samples else (f"test {metric}",)
    lines = [
        f"**{comparison.title}**\n",
        "| | " + " | ".join(drawn) + f" | validation {metric} | paper | mean depth | ms an update |",
        "|" + "---|" * (len(drawn) + 5),
    ]
    for row in results["rows"]:  # type: ignore[attr-defined]
        figures = [[member[f"test_{metric}"] for member in row["members"]]]
        if comparison.samples:
            figures = [row[f"{way}_accuracies"] for way in ("posterior", "one_draw", "mean_field")]
        cells = [row["label"], *map(spread, figures), f"{row[f'valid_{metric}']['mean']:.2f}", row["paper"]]
        cells += [f"{row[name]['mean']:.2f}" for name in ("mean_depth", "ms_per_update")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\n`compare {comparison.command}`\n"


def spread(figures: list[float]) -> str:
    """Mean, and range where there are several."""
    mean = f"{statistics.mean(figures):.2f}"
    return mean if len(figures) == 1 else f"{mean} ({min(figures):.2f} to {max(figures):.2f})"


def rows(group: str, results: dict[str, dict[str, object]]) -> list[dict[str, object]]:
    """The rows of one table: for each label, the figure over its seeds, the paper's, and how to get it again."""
    made: dict[str, dict[str, object]] = {}
    for run in RUNS:
        if run.group == group and run.name in results:
            row = made.setdefault(
                run.label, {"label": run.label, "paper": run.paper, "command": run.command, "seeds": []}
            )
            row["seeds"].append(results[run.name])  # type: ignore[attr-defined]
    metric = {"text": "test_bpc", "tuning": "valid_bpc"}.get(group, "test_error")
    for row in made.values():
        seeds = row.pop("seeds")
        figures = [seed[metric] for seed in seeds]  # type: ignore[union-attr, attr-defined]
        row["figures"], row["figure"] = figures, statistics.mean(figures)
        row["spread"] = max(figures) - min(figures) if len(figures) > 1 else None
        row["valid"] = statistics.mean(seed[metric.replace("test", "valid")] for seed in seeds)  # type: ignore[attr-defined]
        row["ms"] = statistics.mean(1e3 * seed["train_seconds"] / seed["steps"] for seed in seeds)  # type: ignore[attr-defined]
        row["depth"] = statistics.mean(seed["mean_depth"] for seed in seeds)  # type: ignore[attr-defined]
        row["metric"], row["n"] = metric, len(figures)
    return list(made.values())


def table(group: str, results: dict[str, dict[str, object]]) -> str:
    """One table in Markdown."""
    lines = [
        f"**{TITLES[group]}**\n",
        "| | here | on validation | paper | mean depth | ms an update | command |",
        "|" + "---|" * 7,
    ]
    for row in rows(group, results):
        figure = f"{row['figure']:.3f}" if group in BITS else f"{row['figure']:.2f}"
        if row["n"] > 1:  # type: ignore[operator]
            figure += f" ({row['n']} seeds, {min(row['figures']):.3f} to {max(row['figures']):.3f})"  # type: ignore[call-overload]
        valid = f"{row['valid']:.3f}" if group in BITS else f"{row['valid']:.2f}"
        cells = (row["label"], figure, valid, row["paper"] or "-", f"{row['depth']:.2f}", f"{row['ms']:.1f}")
        lines.append("| " + " | ".join(map(str, cells)) + f" | `train {str(row['command']).split(' --seed')[0]}` |")
    return "\n".join(lines) + "\n"


def render(out: Path) -> None:
    """Write results/measured.json, results/measured.md and the part of the README between the marks."""
    results = {
        run.name: json.loads((out / run.name / "result.json").read_text())
        for run in RUNS
        if (out / run.name / "result.json").exists()
    }
    first = next(iter(results.values()))
    where = f"One {first['device']} device, {first['threads']} thread(s) a run, versions {first['versions']}.\n"
    comparisons = [(c, compared(c, out)) for c in COMPARISONS if (out / c.name / "results.json").exists()]
    tables = [table(group, results) for group in TITLES if rows(group, results)]
    tables += [compared_table(comparison, came_to) for comparison, came_to in comparisons]
    benches = {
        which: json.loads((out / f"bench-{which}.json").read_text())
        for which in BENCHES
        if (out / f"bench-{which}.json").exists()
    }
    readme, page = ROOT / "README.md", ROOT / "results" / "measured.md"
    page.write_text("\n".join([PAGE, where, *tables]))
    before, rest = readme.read_text().split(MARKS[0])
    timed = "\n".join(bench_table(which, said) for which, said in benches.items())
    readme.write_text(before + MARKS[0] + timed + MARKS[1] + rest.split(MARKS[1])[1])
    target = ROOT / "results" / "measured.json"
    target.parent.mkdir(exist_ok=True)
    measured = {group: rows(group, results) for group in TITLES}
    measured |= {comparison.name: came_to for comparison, came_to in comparisons}
    measured |= {f"bench {which}": said for which, said in benches.items()}
    target.write_text(json.dumps(measured, indent=1) + "\n")
    print(f"{len(results)} of {len(RUNS)} runs written to {page} and {target}, benches to {readme}")


def main() -> None:
    """Run what is missing and write what is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=[*TITLES, *(comparison.name for comparison in COMPARISONS), "bench"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    if not options.render:
        if options.data_dir is None:
            parser.error("--data-dir is needed to run")
        chosen = [run for run in RUNS if options.only in (None, run.group)]
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda run: train(run, options.out, options.data_dir, options.threads), chosen))
            asked = [c for c in COMPARISONS if options.only in (None, c.name)]
            list(pool.map(lambda c: compare(c, options.out, options.data_dir, options.threads), asked))
        for which in BENCHES if options.only in (None, "bench") else ():
            bench(which, options.out)
    render(options.out)


if __name__ == "__main__":
    main()
