"""Test the tests: plant one-line defects, one at a time, and demand that a test fails for each.

    python scripts/plant_defects.py              # all of them, in two or three minutes
    python scripts/plant_defects.py beta E       # those with one of these words in their name
    python scripts/plant_defects.py --jobs 8     # at a time

Each defect goes into a fresh copy of the package, as it was when the script began, in a temporary folder; the
checkout is never touched. The exit status is 1 if a defect survives its tests, if it stops the package from being
imported (that proves nothing about the tests), or if the text that it replaces no longer stands in the source just
once.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Defect:
    """One thing to get wrong.

    Attributes:
        name: what is wrong, in a few words.
        file: the file under ``seqlra/`` to plant it in.
        find, put: the text to replace, which stands there once, and by what.
        tests: who should notice: ``lra`` for ``tests/test_lra.py``, or ``lra::test_...`` for one test of it.
    """

    name: str
    file: str
    find: str
    put: str
    tests: str

    def planted(self, source: str) -> str:
        """The source with the defect; `Rotten` where the text to replace does not stand there just once."""
        found = source.count(self.find)
        if found != 1:
            raise Rotten(f"{self.name}: {self.find!r} stands {found} times in seqlra/{self.file}, not once")
        broken = source.replace(self.find, self.put)
        compile(broken, self.file, "exec")
        return broken


class Rotten(Exception):
    """The source has moved on, and a defect with it."""


BY_REFERENCE = "test_however_copies_are_tied_the_updates_are_those_of_the_reference"
LAST_ROW = "test_a_walk_ends_with_its_last_row"
PICKED = "test_rows_are_picked_once_from_each_tensor_and_from_no_other"
NO_TARGET = "test_a_copy_without_a_target_asks_nothing_of_what_it_reads"
TWO_STEPS = "test_a_subgraph_that_is_read_at_two_steps_moves_alone"
STACK_ALONE = "test_each_mlp_is_its_run_alone"
STACK_CLI = "test_the_command_trains_each_seed_as_alone"
STACK_KILL = "test_a_kill_before_any_file_loses_nothing"
STACK_LATER = "test_a_model_that_diverges_later_keeps_what_validation_chose"
STACK_SHARED = "test_what_a_training_shares_cannot_differ"
STACK_SWEPT = "stack::test_models_may_differ_in_step_size_and_settings"
STACK_STOPPED = "test_a_stopped_stack_goes_on_bit_for_bit"
STACK_STREAM = "test_on_one_stream_each_is_its_run_alone_on_that_stream"
OWN_TOKENS = "test_each_model_of_a_stack_may_read_tokens_of_its_own"


def in_file(file: str, tests: str, *rows: tuple[str, ...]) -> tuple[Defect, ...]:
    """Defects of one file: (name, find, put), and the tests where they are not those of the file."""
    return tuple(Defect(name, file, find, put, *(own or [tests])) for name, find, put, *own in rows)


DEFECTS = (
    *in_file(
        "rules/lra.py",
        "lra",
        # targets
        ("sign of beta, c2 per sample", "value=-beta *", "value=beta *"),
        ("sign of beta, c2 off", "displacement, alpha=-beta)", "displacement, alpha=beta)", "lemma1"),
        ("sign of a model's own beta", "beta, value=-1)", "beta, value=1)", STACK_SWEPT),
        ("sign of beta over a model's own c2", "c2), value=-1)", "c2), value=1)", STACK_SWEPT),
        ("E transposed", "graph.feedback[read.feedback]", "graph.feedback[read.feedback].mT"),
        ("W for E", "graph.feedback[read.feedback]", "graph.weights[read.weight].mT"),
        ("W not transposed in LRA-diff", "graph.weights[read.weight].mT", "graph.weights[read.weight]", "lemma1"),
        ("f left out of the target", "return walk.f(tie).f(self.displaced(h, inc", "return (self.displaced(h, inc"),
        (
            "g applied to the target",
            "return walk.f(tie).f(self.displaced(h, incoming, rows))",
            "z, g = walk.f(tie).f(self.displaced(h, incoming, rows)), walk.graph.ties[tie].subgraph.g; "
            "return g.g(z) if g else z",
        ),
        # local errors
        ("f' dropped from the local error", "(z, y) * walk.f(tie).derivative(h, z)\n", "(z, y)\n"),
        ("f' taken at the target", "* walk.f(tie).derivative(h, z)\n", "* walk.f(tie).derivative(h, y)\n"),
        ("z and y the wrong way round", "loss.gradient(z, y)", "loss.gradient(y, z)"),
        # Normalize
        ("c2 for c1", "per_model(self.c1, axes)", "per_model(self.c2, axes)"),
        ("c1 for c2", "norm_from(displacement, c2,", "norm_from(displacement, self.c1 or 1e9,"),
        ("Normalize per batch for per sample", "displacement, c2, -1)", "displacement, c2, (-2, -1))"),
        ("Normalize per sample for per batch", "per_model(c2, 3), (-2, -1))", "per_model(c2, 3), -1)"),
        (
            "Normalize over all steps at once",
            "per_model(c2, 3), (-2, -1))",
            "per_model(c2, 3), (-3, -2, -1))",
            "engine",
        ),
        ("c1 for each row of an update", "tuple(range(-axes, 0))", "-1"),
        # halting
        ("epsilon reversed", "(loss >= least).to(", "(loss < least).to("),
        ("one epsilon for all", "self.epsilon if self.epsilon_output is None or not output", "self.epsilon if True"),
        ("epsilon of the outputs for all", "self.epsilon_output is None or not output", "self.epsilon_output is None"),
        ("what is already right has a depth", "torch.finfo(loss.dtype).tiny", "0.0", "engine"),
        ("a selection never halts", "self.epsilon > 0 or (", "False or (", "engine"),
        ("epsilon against the summed loss", ".mean(-1)\n", ".sum(-1)\n"),
        ("halted rows learn", "return d * keep.unsqueeze(-1)", "return d"),
        (
            "halted rows pull in the K loop",
            "return d if kept is None else d * kept[..., rows].unsqueeze(-1)",
            "return d",
            "engine",
        ),
        # LRA-diff
        ("the K loop does not re-run", "            if step:\n", "            if False:\n", "engine"),
        ("K is always 1", "range(self.steps)", "range(1)", "engine"),
        ("form post ignored", 'if self.form == "post":', "if False:", "lemma1"),
        ("form post always", 'if self.form == "post":', "if True:", "lemma1"),
        ("f' dropped from a displacement", "incoming * f.derivative(h_bar, z_bar)", "incoming", "engine"),
        ("two steps moved at once in the K loop", " - other.mine.start == shift", " > -9", "ties::" + TWO_STEPS),
        ("g dropped in the K loop", "(g.g(z_bar) if g else z_bar)", "z_bar", "engine"),
    ),
    *in_file(
        "rules/normalize.py",
        "normalize",
        ("Normalize stretches what is short", ".clamp_min_(c)", ""),
        ("Normalize leaves what is long", ".clamp_min_(c)", ".clamp_max_(c)"),
    ),
    *in_file(
        "rules/feedback.py",
        "feedback",
        (
            "FA through W^T",
            "None if read.feedback is None else graph.feedback[read.feedback]",
            "graph.weights[read.weight].mT",
        ),
        (
            "f' dropped under FA and DFA",
            "return incoming * walk.f(tie).derivative(*walk.state(tie, rows))",
            "return incoming",
        ),
        (
            "DFA from every output there is",
            "in layout.outputs[tie]:",
            "in [n for n, o in enumerate(graph.ties) if o.subgraph.is_output]:",
        ),
        ("DFA with one B for all layers", 'f"B-{output.base}-{tied.base}"', 'f"B-{output.base}"'),
        (
            "DFA from the step after",
            "range(low - theirs.start, high - theirs.start)",
            "range(low - theirs.start + 1, high - theirs.start)",
        ),
    ),
    *in_file(
        "network/layers.py",
        "feedback",
        (
            "states carried in counted as steps",
            "fed_before = sum(block < tied.first",
            "fed_before = sum(block > tied.first",
        ),
        ("outputs that do not depend on it", "found[i].update(*", "found[i].update(range(len(ties)), *"),
    ),
    *in_file(
        "rules/dtp.py",
        "dtp",
        (
            "no difference correction",
            "return f(self._decoded(walk.graph, name, z)) - f",
            "return walk.activity.z[tie] - f",
        ),
        ("first target by E", "return graph.weights[read.weight].mT", "return graph.feedback[str(read.feedback)]"),
        ("the target on the wrong side", "walk.targets[tie] = z - incoming", "walk.targets[tie] = z + incoming"),
        ("f' dropped under DTP", "return incoming * walk.f(tie).derivative(h, z)", "return incoming"),
        ("inverses without their derivative", "* f.derivative(back, decoded) / u", "/ u"),
        ("inverses learn without g", "(u if g is None else g.g(u))", "u"),
        ("inverses climb", "parameter.sub_(", "parameter.add_("),
        ("mean squares decay the other way", "1 - self.inverse_decay)", "self.inverse_decay)"),
        ("inverses learned without noise", "z + self.noise * torch.randn_like(z)", "z"),
        (
            "inverses without bias",
            'z @ graph.feedback[name] + graph.recall(f"{name} bias", self.name)',
            "z @ graph.feedback[name]",
        ),
        ("skips taken for a chain", "len(readers) == tied.copies == 1", "tied.copies == 1"),
    ),
    *in_file(
        "rules/estimators.py",
        "estimators",
        (
            "pass-through with a derivative",
            "        return incoming\n",
            "        return super().hidden_error(walk, tie, rows, incoming)\n",
        ),
        ("slope forgotten on the way back", " * _slope(walk.graph)", ""),
        ("slope from 0", "1 + (self.slope - 1) * progress", "self.slope * progress"),
        (
            "score with the wrong sign",
            "rows.of(walk.activity.output(tie)) - rows.of(walk.activity.z[tie])",
            "rows.of(walk.activity.z[tie]) - rows.of(walk.activity.output(tie))",
        ),
        (
            "every unit answers for all steps",
            ".flip(-2).cumsum(-2).flip(-2)",
            ".sum(-2, keepdim=True).repeat(copies, 1)",
        ),
        ("units answer for the past", ".flip(-2).cumsum(-2).flip(-2)", ".cumsum(-2)"),
        (
            "baseline of this batch",
            "mean.lerp_(now.mean(-2, keepdim=True), 1 - self.decay)",
            "mean.copy_(now.mean(-2, keepdim=True))",
        ),
        ("baseline without its weight", "torch.where(weight > 0, weighted / weight, 0)", "weighted"),
    ),
    *in_file(
        "network/forward.py",
        "estimators",
        ("slope left out of the forward pass", "            h.mul_(self._slope)\n", "            pass\n"),
    ),
    *in_file(
        "rules/backprop.py",
        "backprop",
        ("f' dropped in backprop", "return incoming * walk.f", "return incoming + 0 * walk.f"),
    ),
    *in_file(
        "rules/base.py",
        "backprop",
        ("no error across time", "any(r.tie == i for r in readers), row_by_row", "False, row_by_row"),
        ("time walked forwards", "range(tied.copies, 0, -at_once)", "range(1, tied.copies + 1, at_once)"),
        ("left-out rows forgotten", ".index_copy_(-2, selection.numbers, d)", "", "engine"),
        (
            "the wrong rows left out",
            "still if before is None else before.numbers.index_select(0, still)",
            "still",
            "engine",
        ),
        ("a copy without a target counts", "d.shape[-2] if kept is None else kept.sum(-1)", "d.shape[-2]", "engine"),
        ("picked from another tensor", "get(id(tensor))", "get(tensor.shape)", "engine::" + PICKED),
        (
            "picked from a tensor that is gone",
            "= tensor, tensor.index_select(",
            "= None, tensor.index_select(",
            "engine",
        ),
        ("an empty walk goes on", "and len(selection) == 0", "and False", "engine::" + LAST_ROW),
        ("only a part of a selection kept", "which if kept is None else torch.cat((kept, which))", "which", "engine"),
        ("a copy without a target pulls", "None if all(reached) else tuple(reached)", "None", "ties::" + NO_TARGET),
        ("only one reader heard", "error if total is None else total + error", "error"),
        ("errors of the wrong steps", "range(low + shift, high + shift)", "range(low, high)", "ties::" + BY_REFERENCE),
        ("targets of the wrong steps", "range(tied.first, tied.first + t", "range(0, t", "ties::" + BY_REFERENCE),
    ),
    *in_file(
        "engine/update.py",
        "backprop",
        ("mean for sum", 'rule.reduction == "mean"', 'rule.reduction == "sum"', "lra"),
        ("mean over the batch of one step", "1 / walk.predictions", "1 / walk.activity.batch"),
        ("bias update dropped", "ones(d.shape[-2], d), d, scale", "ones(d.shape[-2], d), d, 0", "lra"),
        ("bias update never a mean", "ones(d.shape[-2], d), d, scale", "ones(d.shape[-2], d), d, 1", "lra"),
        ("shared biases overwritten", "ones(d.shape[-2], d), d, scale, before)", "ones(d.shape[-2], d), d, scale, 0)"),
        (
            "shared weights overwritten",
            "            return total, 1\n",
            "            return total, 0\n",
        ),
        ("updates pile up over steps", "        return total, 0\n", "        return total, 1\n", "engine"),
        ("tokens never a mean", "index_add_(-2, source, d, alpha=scale)", "index_add_(-2, source, d)", "engine"),
        ("tokens of a stack never a mean", "expand_as(d), d * scale)", "expand_as(d), d)", "ties::" + OWN_TOKENS),
        (
            "a stack never a mean",
            "d, beta=before, alpha=scale)\n        return",
            "d, beta=before)\n        return",
            "engine",
        ),
        ("loss summed over predictions", "value.sum(-1) / (", "value.sum(-1) * ("),
        ("c1 never applied", "total.copy_(finished)", "total.copy_(total)", "lra"),
    ),
    *in_file(
        "analysis/diagnostics.py",
        "diagnostics",
        (
            "the rule set beside itself",
            "BackwardPass(chain_rule(reduction=walk.rule.reduction),",
            "BackwardPass(walk.rule,",
        ),
        ("backprop left in p.grad", "updates_of(backprop, torch.empty_like)", "updates_of(backprop, lambda p: p.grad)"),
        ("a slope left out of the chain rule", 'SlopeAnnealing if "slope" in graph.memory else', ""),
        ("angles in radians", "torch.rad2deg(torch.atan2(opposite, cross))", "torch.atan2(opposite, cross)"),
        ("angles folded at 90 degrees", "torch.atan2(opposite, cross)", "torch.atan2(opposite, cross.abs())"),
        ("the cosine without its norms", "(own * other - cross.square())", "(own - cross.square())"),
        ("an angle of nothing is 0", "degrees.where(own * other > 0, torch.nan)", "degrees.where(own * other > 0, 0)"),
        ("inner products in float32", "(one, other)], -2).double()", "(one, other)], -2)"),
        ("a stack as one model", "update.flatten(len(graph.stack))", "update.flatten(0)"),
        ("biases left out of a layer", "used[graph.biases[tied.subgraph.bias]] = None", "pass"),
        ("outputs counted as hidden", "if not tied.subgraph.is_output:", "if True:"),
        (
            "time steps taken in pairs",
            "steps.setdefault(step, ",
            "steps.setdefault(step // 2, ",
        ),
        ("left-out rows misplaced", "[walk.all_rows(i) for i in range(len(walk.errors))]", "walk.errors"),
        ("the first step for every step", "activity.rows(here)", "activity.rows(range(1))"),
        ("c1 counted where it is not reached", "norm > c1 * (1 - 1e-4)", "norm < c1 * (1 - 1e-4)"),
        ("undefined angles counted", "(~value.isnan()).to(value.dtype)", "torch.ones_like(value)"),
        ("nan written as JSON", "mean if math.isfinite(mean) else None", "mean"),
    ),
    *in_file(
        "rules/lra.py",
        "diagnostics",
        (
            "clips counted per sample for per batch",
            'if self.c2_per == "batch" else displacement',
            "if False else displacement",
        ),
        ("clips counted the other way round", "dim=-1) > per_model(", "dim=-1) < per_model("),
        (
            "f' dropped from a counted displacement",
            "incoming * walk.f(tie).derivative(*walk.state(tie, rows))",
            "incoming",
        ),
        ("f' in a counted displacement of Lemma 1", 'incoming if self.form == "post" else', ""),
    ),
    *in_file(
        "training/trainer.py",
        "diagnostics",
        (
            "diagnostics of every epoch so far",
            "        self.diagnostics = Averages()\n        self.save()",
            "        self.save()",
        ),
        ("diagnostics lost by a stop", 'state.get("diagnostics", {})', "{}"),
    ),
    *in_file(
        "network/forward.py",
        "engine",
        ("g not applied", "z_star = z if tied.subgraph.g is None else tied.subgraph.g.g(z)", "z_star = z", "lra"),
        ("g not applied in a recurrence", "= g.g(z_now)", "= z_now"),
        ("a step reads itself", "self.source(read, range(step, after)), w", "z_star[..., now, :], w", "backprop"),
        ("the wrong state carried over", "[..., -rows:, :]", "[..., :rows, :]", "backprop"),
        (
            "no bias for stacks",
            "    return product if bias is None else product + bias.unsqueeze(-2)",
            "    return product",
        ),
        ("no bias for tokens", "weight = weight + bias.unsqueeze(-2)", "weight = weight + 0"),
        ("only the last connection read", "else total + _product(", "else _product("),
    ),
    *in_file(
        "network/units.py",
        "units",
        ("left-hand derivative of relu6", "((h >= low) & (h < high))", "((h > low) & (h <= high))"),
        ("left-hand derivative of relu", "(h >= 0).to(h.dtype)", "(h > 0).to(h.dtype)"),
        ("sigmoid' for tanh'", "torch.addcmul(scalar(1.0, z), z, z, value=-1)", "torch.addcmul(z, z, z, value=-1)"),
        ("softsign' without its square", "(1 - z.abs()).square()", "(1 - z.abs())"),
        ("heaviside(0) = 0", "(z >= 0).to(z.dtype)", "(z > 0).to(z.dtype)"),
        ("Bernoulli the other way round", "torch.rand_like(z) < z", "torch.rand_like(z) > z"),
        (
            "LWTA: the last of equals wins",
            "winner = torch.zeros_like(blocks).scatter_(-1, blocks.argmax(",
            "winner = torch.zeros_like(blocks).scatter_(-1, block - 1 - blocks.flip(-1).argmax(",
        ),
        ("LWTA: the winner becomes 1", "rearrange(winner * blocks,", "rearrange(winner,"),
        ("SLWTA: softmax across blocks", "blocks.softmax(-1)", "blocks.softmax(-2)"),
        ("SLWTA: noise of the wrong sign", "-torch.empty_like(z).exp", "torch.empty_like(z).exp"),
    ),
    *in_file(
        "network/losses.py",
        "losses",
        ("sign of L2", 'lambda z, y: z - y, "half', 'lambda z, y: y - z, "half'),
        ("sign of L1", "(z - y).sign()", "(y - z).sign()"),
        ("log-penalty without its 2", "scalar(0.5, gap), gap, gap, value=0.5", "scalar(1.0, gap), gap, gap, value=1.0"),
        ("softmax error adds 1", "scalar(-1.0, z).expand", "scalar(1.0, z).expand"),
        ("sign of the Gaussian error", "lambda z, t: z - t,", "lambda z, t: t - z,"),
    ),
    *in_file(
        "engine/initialization.py",
        "initialization",
        ("a stack seeded alike", "_stream(own_seed, 0)", "_stream(seeds[0], 0)"),
        ("E and W from one stream", "_stream(own_seed, 1)", "_stream(own_seed, 0)"),
        ("fan-in by n_out", "shape[-2] ** 0.5", "shape[-1] ** 0.5"),
        ("feedback_std ignored", " * feedback_std\n", "\n"),
        ("std ignored", "generator=generator) * std", "generator=generator)"),
        ("input weights of a reservoir fan-in", 'weights == "reservoir" and name in fed', "False"),
        ("recurrent weights of a reservoir fan-in", 'weights == "reservoir" and name in recurrent', "False"),
    ),
    *in_file(
        "analysis/evaluation.py",
        "evaluation",
        ("logits averaged for probabilities", "probabilities.mean(-2),", "_log(probabilities).mean(-2).softmax(-1),"),
        ("variance without centring", "probabilities.var(-2, correction=0)", "probabilities.square().mean(-2)"),
        ("variance divided by M - 1", "correction=0", "correction=1"),
        ("votes for the least likely", "probabilities.argmax(", "probabilities.argmin("),
        ("loss of the posterior for that of a draw", "-_log(probabilities).mean(-2)", "-_log(probabilities.mean(-2))"),
        ("samples of different rows mixed", "few.repeat_interleave(samples, 0)", "few.repeat(samples, 1)"),
        ("variance told as a spread", "chosen).sqrt()", "chosen)"),
        ("the chosen class taken for the true one", "of(self.mean, truth)", "of(self.mean, chosen)"),
        ("the mean-field pass draws", 'of {g.name}", g.mean', 'of {g.name}", g.g'),
        ("bins not weighted by their rows", "bin.count * bin.gap", "bin.gap"),
        ("bins with their lower edge", "edges[1:-1])", "edges[1:-1], right=True)"),
        ("samples of what draws nothing", "    if samples > 1 and not any(", "    if False and not any("),
        ("sampling disturbs training", "    with seeded(seed, x.device):\n", "    if torch.manual_seed(seed):\n"),
    ),
    *in_file(
        "tasks/prediction.py",
        "evaluation",
        ("trajectories of different streams mixed", "x.repeat_interleave(copies, 0)", "x.repeat(copies)"),
    ),
    *in_file(
        "analysis/pictures.py",
        "evaluation",
        ("the most certain images shown twice", "order[::-1][:count]", "order[:count]"),
        ("the least certain first", "descending=True", "descending=False"),
    ),
    *in_file(
        "paper/reproduction.py",
        "reproduce",
        ("other settings go unnoticed", "if run.config.exists() and _settings(", "if False and _settings("),
        ("a run of the fewest epochs is shown", "wanted = max(runs,", "wanted = min(runs,"),
        ("one run twice in a group", "if member not in members:", "if True:"),
        (
            "another seed's weights to start from",
            "self.member(cell.after, epochs, seed)",
            "self.member(cell.after, epochs, 0)",
        ),
    ),
    *in_file(
        "sweeps/run_store.py",
        "reproduce",
        ("fine-tuned with what it starts from", "member.config.network.init_from is not None]", "False]"),
        ("seeds of many cells in one stream", "if member.seed == seed)", "if True)"),
    ),
    *in_file(
        "paper/exhibit.py",
        "reproduce",
        ("the difference turned round", "self.mean - self.paper:+", "self.paper - self.mean:+"),
        ("the variance for the spread", "statistics.stdev(", "statistics.variance("),
    ),
    *in_file(
        "paper/cells.py",
        "reproduce",
        ("a cell before its source", "([cell.after] if cell.after else []), cell)", "[cell], cell.after or cell)"),
        ("the epochs of a cell ignored", "scale if self.epochs is None else", "scale if True else"),
    ),
    *in_file(
        "paper/table1.py",
        "reproduce",
        ("sigmoid's figures for tanh", "TABLE1[data, unit, rule]", 'TABLE1[data, "sigmoid", rule]'),
    ),
    *in_file(
        "paper/table2.py",
        "reproduce",
        (
            "epoch one of the long run",
            "reproduction.found(cell(network, data), 1), ",
            "reproduction.found(cell(network, data)), ",
        ),
    ),
    *in_file(
        "paper/table3.py",
        "reproduce",
        ("error told as accuracy", "tuple(100 - e for e in errors)", "tuple(errors)"),
        ("measured again", "if _path(run).exists() or not", "if not"),
    ),
    *in_file(
        "training/experiment.py",
        "cli::test_the_precision_of_products_is_recorded_and_holds_at_resume",
        (
            "the precision forgotten",
            "set_float32_matmul_precision(PRECISIONS[first.precision])",
            "get_float32_matmul_precision()",
        ),
    ),
    *in_file(
        "training/optimizers.py",
        STACK_SWEPT,
        ("every model steps as the first", "torch.lerp(old, p, share, out=p)", "pass"),
    ),
    *in_file(
        "training/experiment.py",
        STACK_SWEPT,
        ("settings of the first model for all", "if len(set(values)) > 1:", "if False:"),
        ("step sizes over the last", "/ sizes[0]", "/ sizes[-1]"),
    ),
    *in_file(
        "sweeps/run_store.py",
        "stack::TestCompare",
        ("labels never together", "alike.setdefault(json.dumps(kind), [])", "alike.setdefault(member.label, [])"),
    ),
    *in_file(
        "sweeps/run_store.py",
        "compare",
        ("finished members run again", "if self.outcome(member) is None and", "if", "stack::TestCompare"),
        ("seeds one by one", "if not stacked or self.run_of", "if True or self.run_of", "stack::TestCompare"),
        ("--no-stack ignored", "if not stacked or self.run_of", "if self.run_of", "stack::TestCompare"),
        ("a stopped run joins a stack", "or self.run_of(member).checkpoint.exists()]", "]", "stack::TestCompare"),
        ("a stopped stack starts over", ".about.exists():  # it", ".about.is_dir():  # it", "stack::TestCompare"),
        ("stopped members start over", "resume=True", "resume=False"),
        ("members start from nothing", "fresh=not run.checkpoint.exists()", "fresh=False"),
        (
            "a text that changed goes unnoticed",
            "        if run.config.exists():\n            experiment.check_vocabulary(run)",
            "        if run.config.exists():\n            pass",
        ),
    ),
    *in_file(
        "sweeps/comparison.py",
        "compare",
        ("results only at the end", "            comparison.write_results()\n", ""),
        ("microseconds for milliseconds", "1000 * seconds", "1e6 * seconds"),
        ("labels measured on other data", "if value != first:", "if False:"),
        ("A and a in one folder", "member.folder.lower()", "member.folder"),
        (
            "only the first label is tried",
            "for group in groups(members)]",
            "for group in groups(members)[:1]]",
        ),
    ),
    *in_file(
        "training/stacks.py",
        "stack::test_the_spread_of_figures",
        ("diverged seeds count in the mean", "math.fsum(known) / len(known)", "math.fsum(known) / len(every)"),
        ("least and greatest changed round", '"min": min(known), "max": max(', '"min": max(known), "max": min('),
    ),
    *in_file(
        "training/stacks.py",
        "stack::" + STACK_STOPPED,
        ("a stopped stack forgets its checkpoint", "    if stack.checkpoint.exists():\n", "    if False:\n"),
    ),
    *in_file(
        "training/stacks.py",
        "stack::" + STACK_LATER,
        ("one that diverged has a result", "        if record.diverged:\n", "        if False:\n"),
        ("weights of nan left behind", "weights if record.diverged else own(", "own("),
    ),
    *in_file(
        "training/stacks.py",
        "stack::" + STACK_ALONE,
        ("the moments of the first model", "value[at].clone() if", "value[0].clone() if"),
        ("the weights of the first model", "name: tensor[at].clone()", "name: tensor[0].clone()"),
        ("the log of all", "trainer.log[:, :, model].clone()", "trainer.log"),
        ("the checkpoint of all stays", "    stack.checkpoint.unlink(missing_ok=True)\n", "", "stack::" + STACK_KILL),
        ("an update's time not shared out", "seconds / steps / len(members)", "seconds / steps", "stack::" + STACK_CLI),
    ),
    *in_file(
        "training/run_directory.py",
        "stack::" + STACK_LATER,
        ("diverged, told as fine", "(self.failed, True)", "(self.failed, False)"),
        (
            "the members of a stack removed with it",
            "shutil.rmtree(self.path,",
            "shutil.rmtree(self.path.parent,",
            "stack::TestCompare",
        ),
    ),
    *in_file(
        "training/trainer.py",
        "stack::" + STACK_LATER,
        ("one that diverges ends all", "if all(each.diverged for each", "if any(each.diverged for each"),
        (
            "it goes on as if nothing had been",
            "            if record.diverged is None:\n                self._end",
            "            if True:\n                self._end",
        ),
        (
            "the first bad update of any model",
            "zip(self.records, bad.T,",
            "zip(self.records, bad.any(1).expand(len(self.records), -1),",
        ),
        (
            "finite weights of all or none",
            ".all(0).view(-1).tolist()",
            ".all().expand(len(self.records)).tolist()",
        ),
        (
            "divergence forgotten by a stop",
            'state.get("diverged"))',
            "None if not self.graph.stack else [None] * len(self.records))",
            "stack::" + STACK_STOPPED,
        ),
    ),
    *in_file(
        "training/trainer.py",
        "stack::" + STACK_ALONE,
        ("the weights of all where one is best", "[self.slice(model)] = tensor[self.slice(model)]", "[:] = tensor"),
        ("the best of the first model", "return (model,) if self.graph.stack", "return (0,) if self.graph.stack"),
    ),
    *in_file(
        "training/experiment.py",
        "stack::" + STACK_ALONE,
        (
            "every model starts as the first",
            "for each in configs)\n    graph",
            "for each in configs[:1] * len(configs))\n    graph",
        ),
        ("validation by the first seed", "seed = seeds[0] if len(set(seeds)) == 1 else seeds", "seed = seeds[0]"),
        ("rules not equipped for a stack", "    learns.setup(stack)\n", ""),
        ("the parameters of all for those of one", "graph.parameters()) // models", "graph.parameters())"),
        ("data.seed ignored", "each.seed if data.seed is None else data.seed", "each.seed", "stack::" + STACK_STREAM),
        ("models that differ in all ways", "if value != first.get(name):", "if False:", "stack::" + STACK_SHARED),
        ("a model's time not shared out", "trainer.seconds / models\n", "trainer.seconds\n", "stack::" + STACK_CLI),
    ),
    *in_file(
        "data/images.py",
        "stack::" + STACK_ALONE,
        (
            "one validation split for all",
            "for each in ([seed] if isinstance(seed, int) else seed)]",
            "for each in ([seed] if isinstance(seed, int) else [seed[0]] * len(seed))]",
        ),
        (
            "rows of the whole for those of the split",
            "numbers if self.rows is None else self.rows.gather(-1, numbers)",
            "numbers",
        ),
    ),
    *in_file(
        "tasks/classification.py",
        "stack::" + STACK_ALONE,
        ("one order for all", "self._order_of(seed, epoch) for seed", "self._order_of(self.seed, epoch) for seed"),
        (
            "errors of all models added up",
            "(probabilities.argmax(-1) != t).sum(-1)",
            "(probabilities.argmax(-1) != t).sum()",
        ),
    ),
    *in_file(
        "tasks/prediction.py",
        "stack::test_each_rnn_is_its_run_alone",
        ("losses of all models added up", "loss += output.value(h, t).sum(-1)", "loss += output.value(h, t).sum()"),
    ),
    *in_file(
        "analysis/diagnostics.py",
        "stack::" + STACK_ALONE,
        (
            "the diagnostics of the first model",
            "(both[model] for both in sums)",
            "(both[(0,) * len(model)] for both in sums)",
        ),
    ),
    *in_file(
        "training/configure.py",
        "stack::" + STACK_CLI,
        ("--one-stream ignored", '{"data_seed": models.seed} if models.one_stream and task == "mlp" else {}', "{}"),
        ("seeds from 0", "range(models.seed, models.seed + (models.seeds or 1))", "range(models.seeds or 1)"),
    ),
    *in_file(
        "cli/show.py",
        "stack::" + STACK_CLI,
        (
            "progress of the first model",
            "for record in trainer.records if record.history and",
            "for record in trainer.records[:1] if record.history and",
        ),
    ),
    *in_file(
        "cli/compare.py",
        "compare",
        ("options for all win over own ones", "[*context.args, *options[label]]", "[*options[label], *context.args]"),
        ("own options for every label", "options[label] += shlex", "for label in options: options[label] += shlex"),
        ("every comparison from seed 0", 'for name in ("seed", "seeds") if', 'for name in ("seeds",) if'),
        ("Ctrl-C without how to go on", "except (Stopped, KeyboardInterrupt):", "except MemoryError:"),
    ),
    *in_file(
        "analysis/plotting.py",
        "compare",
        ("marks on top of each other", "(np.arange(rounds) + (nth + 0.5) / of)", "(np.arange(rounds) + 0.5 / of)"),
        (
            "seeds that ended count on",
            "[seed[nth] for seed in self.values if len(seed) > nth]",
            "[seed[: nth + 1][-1] for seed in self.values if seed]",
        ),
    ),
    *in_file(
        "paper/panels.py",
        "paper_figures",
        ("colors by what is there", "nth, len(panel.cells), apart)", "len(axes.lines), len(panel.cells), apart)"),
        ("the figure of the next epoch", "seed[epoch - 1]", "seed[min(epoch, len(seed) - 1)]"),
        ("curves of the first seed", "for history in found.histories])", "for history in found.histories[:1]])"),
    ),
    *in_file(
        "paper/figure3.py",
        "paper_figures",
        ("filters and pixels mixed up", "seen.T.reshape(-1, side, side)", "seen.reshape(-1, side, side)"),
        ("a layer left out of the filters", "range(1, layer + 1)", "range(1, layer)"),
        (
            "filters of the longest run",
            "reproduction.found(cell, cell.epochs) for label",
            "reproduction.found(cell) for label",
        ),
    ),
    *in_file(
        "paper/figure5.py",
        "paper_figures",
        ("a walk that never stops", "rule={**base.rule, **HALTING}", "rule=base.rule"),
    ),
    *in_file(
        "paper/figure6.py",
        "paper_figures",
        (
            "laid out every time",
            "and not (path := self._kept(reproduction, each, run)).exists():",
            "and (path := self._kept(reproduction, each, run)):",
        ),
        ("an image its own neighbor", ".predict(None)", ".predict(z)"),
        (
            "the output among the latent layers",
            "enumerate(graph.ties) if not tied.subgraph.is_output)",
            "enumerate(graph.ties))",
        ),
    ),
    *in_file(
        "paper/figure7.py",
        "paper_figures",
        ("angles where epochs end", '[0, *(row["step"] for row in longest)]', '[*(row["step"] for row in longest)]'),
    ),
    *in_file(
        "engine/tracing.py",
        "recorded",
        (
            "one trace for all shapes",
            "[(t.shape, t.dtype, t.device) for t in fed]",
            "[(t.dtype, t.device) for t in fed]",
        ),
        ("tracing leaves its mark", "tensor.copy_(value)", "tensor.copy_(tensor)"),
        ("a branch on numbers taken for good", "if shaped or torch.Tag.data_dependent_output in op.tags", "if shaped"),
        ("rows picked taken for good", "shaped = torch.Tag.dynamic_output_shape in op.tags", "shaped = False"),
        ("truth values taken for numbers", "index.dtype in (torch.bool, torch.uint8)", "index.dtype == torch.uint8"),
        ("a count of a rule's own runs on", "in constants for each in written", "in () for each in written"),
    ),
    *in_file(
        "engine/replay.py",
        "recorded",
        ("a buffer given away too early", "for used in (node, *node.all_input_nodes)", "for used in (node,)"),
        ("a view that holds nothing", "op is operator.getitem or op in QUIET_VIEWS", "op is operator.getitem"),
        ("no buffer used twice", "return free.pop() if free else", "return"),
        ("zeros of the last update", "_bound(aten.zero_.default, (buffers[0],), {})[0]", "partial(len, buffers)"),
    ),
    *in_file(
        "engine/recorded.py",
        "recorded",
        ("the same mini-batch over and over", "place.copy_(tensor)", "place.copy_(place)"),
        ("weights that moved go unnoticed", "if places != self._places:", "if not self._places:"),
        ("gradients left where nobody looks", "if p.grad is not grad:", "if False:"),
        ("the next update's loss for this one's", "if count != self._count:", "if False:"),
        ("what was told is written over", "[tensor.clone() for tensor in replay.told]", "list(replay.told)"),
    ),
    *in_file(
        "training/optimizers.py",
        "optimizers",
        ("steps not counted", "self._steps.add_(1)", "self._steps.add_(0)"),
        ("a loaded state ignored", "if self.optimizer.state is not self._state:", "if self._state is None:"),
        ("steps counted apart from the state", 'state[p]["step"] = step', "pass"),
    ),
)


@contextmanager
def copy_of_the_package(source: Path = ROOT) -> Iterator[Path]:
    """A folder with the package and its tests, and nothing compiled."""
    with tempfile.TemporaryDirectory(prefix="seqlra-defect-") as folder:
        copy, leave = Path(folder).resolve(), shutil.ignore_patterns("__pycache__")
        for part in ("seqlra", "tests"):
            shutil.copytree(source / part, copy / part, ignore=leave)
        shutil.copy(source / "pyproject.toml", copy)
        (copy / "data").symlink_to(source / "data")  # the embedded samples: large, and only read
        yield copy


def python(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on that copy: it stands before an installed seqlra, and bytecode cannot outlive an edit."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )


def imported_from(copy: Path) -> Path:
    """The file that ``import seqlra`` finds there."""
    return Path(python(copy, "-c", "import seqlra; print(seqlra.__file__)").stdout.strip())


def run_tests(copy: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run those tests on the copy, up to the first that fails."""
    named = [test.partition("::") for test in tests]
    where = [
        f"{next(copy.glob(f'tests/*/test_{file}.py')).relative_to(copy)}{colons}{test}" for file, colons, test in named
    ]
    return python(copy, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no", *where)


def verdict(defect: Defect, source: Path = ROOT) -> tuple[bool, str]:
    """Whether a test fails for this defect, and which."""
    with copy_of_the_package(source) as copy:
        file = copy / "seqlra" / defect.file
        file.write_text(defect.planted(file.read_text()))
        done = run_tests(copy, [defect.tests])
    failed = re.search(r"^FAILED (\S+?::\w+)", done.stdout, re.MULTILINE)
    if done.returncode == 1 and failed:
        return True, failed[1]
    if done.returncode == 0:
        return False, f"SURVIVED tests/test_{defect.tests}"
    return False, f"pytest ended with {done.returncode}: {(done.stdout + done.stderr).strip()[-300:]}"


def check_the_ground(defects: Iterable[Defect], copy: Path) -> None:
    """Without a defect, this copy is what gets imported, and its tests pass: else nothing below would mean anything.

    Raises:
        Rotten: otherwise, or where a defect no longer fits the source.
    """
    for defect in defects:
        defect.planted((copy / "seqlra" / defect.file).read_text())
    if imported_from(copy) != copy / "seqlra" / "__init__.py":
        raise Rotten(f"Python imports seqlra from {imported_from(copy)}, not from the copy at {copy}")
    done = run_tests(copy, sorted({defect.tests for defect in defects}))
    if done.returncode != 0:
        raise Rotten(f"the tests fail without any defect:\n{done.stdout[-2000:]}")


def main(arguments: Sequence[str] | None = None, defects: Sequence[Defect] = DEFECTS) -> int:
    """Plant the chosen defects and print what caught each; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("words", nargs="*", help="only defects whose name has one of these")
    parser.add_argument("--jobs", type=int, default=2, help="defects to test at a time (default 2)")
    options = parser.parse_args(arguments)
    chosen = [d for d in defects if not options.words or any(word in d.name for word in options.words)]
    if not chosen:
        print(f"no defect is called {' or '.join(options.words)}")
        return 1
    survivors = 0
    with copy_of_the_package() as as_it_was, ThreadPoolExecutor(max_workers=options.jobs) as pool:
        try:
            check_the_ground(chosen, as_it_was)
        except Rotten as rotten:
            print(rotten)
            return 1
        verdicts = pool.map(lambda defect: verdict(defect, as_it_was), chosen)
        for defect, (caught, by) in zip(chosen, verdicts, strict=True):
            survivors += not caught
            print(f"{defect.name:<42} -> {by}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} defects were caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
