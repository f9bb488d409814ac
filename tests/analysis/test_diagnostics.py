"""Oracles: autograd's gradient, outer products written out step by step, counts on cases made by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import as_rows, batch_for, chain_over_time, filled, skip_net, small_mlp, updates
from torch import Tensor
from torch.nn.functional import one_hot
from twin import Twin

from seqlra import (
    Backprop,
    Graph,
    Input,
    LRADiff,
    LRAFeedback,
    SeqlraError,
    SlopeAnnealing,
    Subgraph,
    diagnose,
    elman,
    initialize,
    mlp,
    update,
)
from seqlra.analysis import plotting
from seqlra.analysis.diagnostics import Averages
from seqlra.engine.update import Step
from seqlra.training import checkpoint
from seqlra.training.configure import configure
from seqlra.training.experiment import prepare
from seqlra.training.run_directory import RunDirectory
from seqlra.training.runs import begin, train
from seqlra.training.settings import Config
from seqlra.training.trainer import Stopped, Trainer

pytestmark = pytest.mark.draws

NETS: dict[str, Any] = {
    "mlp": small_mlp,
    "skips, shared weights": skip_net,
    "over time": chain_over_time,
    "two layers over time": lambda: elman(5, [7, 4], 3, 4),
    "units without a derivative": lambda: skip_net(g="sign"),
}
save = plotting.save_figure
LAYERS = {
    "layer1": ["weights.W1", "biases.b1"],
    "layer2": ["weights.W2", "biases.b2"],
    "layer3": ["weights.W3", "biases.b3"],
    "output": ["weights.W4", "biases.b4"],
}


def by_arc_cosine(one: Iterable[Tensor], other: Iterable[Tensor]) -> float:
    """The formula of Section 3.5."""
    a, b = (torch.cat([tensor.flatten() for tensor in tensors]) for tensors in (one, other))
    return math.degrees(math.acos((a @ b / (a.norm() * b.norm())).item()))


def one_step(graph: Graph, rule: Any, batch: int = 6) -> tuple[Step, dict[str, Tensor], dict[str, Tensor]]:
    """A step on random data, with its inputs and targets by full name."""
    inputs, targets = batch_for(graph, batch)
    return update(graph, rule, as_rows(inputs), as_rows(targets)), inputs, targets


class TestAngles:
    @pytest.mark.parametrize("nodes", NETS.values(), ids=NETS.keys())
    @pytest.mark.parametrize("reduction", ["sum", "mean"])
    def test_backprop_has_none_to_itself(self, nodes: Any, reduction: Any) -> None:
        found = diagnose(one_step(filled(nodes()), Backprop(reduction=reduction))[0])
        steps = [] if found.angle_steps is None else found.angle_steps.tolist()
        angles = [found.angle.item(), *(layer.item() for layer in found.angle_layers.values()), *steps]
        assert angles == pytest.approx([0] * len(angles), abs=1e-6)

    @pytest.mark.parametrize("nodes", NETS.values(), ids=NETS.keys())
    @pytest.mark.parametrize("rule", [LRAFeedback(c1=0.2, c2=0.5), LRADiff(steps=3)], ids=["fdbk", "diff"])
    def test_that_of_the_whole_network_is_the_one_to_autograd(self, nodes: Any, rule: Any) -> None:
        graph = filled(nodes())
        step, inputs, targets = one_step(graph, rule)
        gradient = Twin(graph).updates(inputs, targets, "sum")
        ours = updates(graph)
        expected = by_arc_cosine(ours.values(), [gradient[name] for name in ours])
        assert 1 < expected < 179
        assert diagnose(step).angle.item() == pytest.approx(expected, abs=1e-6)

    def test_that_of_a_layer_is_the_one_of_its_weights_and_bias(self) -> None:
        graph = filled(small_mlp())
        step, inputs, targets = one_step(graph, LRAFeedback(beta=1.0))
        gradient, ours, found = Twin(graph).updates(inputs, targets, "mean"), updates(graph), diagnose(step)
        assert list(found.angle_layers) == list(LAYERS)
        for layer, names in LAYERS.items():
            expected = by_arc_cosine(*([held[name] for name in names] for held in (ours, gradient)))
            assert found.angle_layers[layer].item() == pytest.approx(expected, abs=1e-5), layer
        assert found.angle_steps is None

    def test_shared_parameters_belong_to_every_layer_that_uses_them(self) -> None:
        graph = filled(skip_net())
        step, inputs, targets = one_step(graph, LRAFeedback())
        gradient, ours, found = Twin(graph).updates(inputs, targets, "mean"), updates(graph), diagnose(step)
        for layer, names in {
            "a": ["weights.x-a", "biases.a"],
            "c": ["weights.x-a", "weights.b-c", "biases.a"],
        }.items():
            expected = by_arc_cosine(*([held[name] for name in names] for held in (ours, gradient)))
            assert found.angle_layers[layer].item() == pytest.approx(expected, abs=1e-5), layer

    @pytest.mark.parametrize("tokens", [False, True], ids=["vectors", "tokens"])
    @pytest.mark.parametrize(
        "rule", [LRAFeedback(), LRAFeedback(beta=1.0, epsilon=0.3, skip=True)], ids=["fdbk", "skipping"]
    )
    def test_that_of_a_time_step_is_the_one_of_what_it_adds(self, tokens: bool, rule: Any) -> None:
        steps, batch = 4, 6
        graph = filled(chain_over_time(steps))
        inputs, targets = batch_for(graph, batch)
        if tokens:
            inputs |= {name: torch.randint(5, (batch,)) for name in inputs if name.startswith("x")}
        step = update(graph, rule, as_rows(inputs), as_rows(targets))
        x = torch.stack([inputs[f"x[{t}]"] for t in range(1, steps + 1)])
        x = one_hot(x, 5).double() if tokens else x
        # its own backward pass, against backprop's through the states of autograd
        states = [inputs["hidden[0]"]]
        pre: list[Tensor] = []
        W, V, U = (graph.weights[name].detach() for name in "WVU")
        b, c = (graph.biases[name].detach() for name in "bc")
        loss = torch.zeros(())
        for t in range(steps):
            pre.append((x[t] @ W + states[-1] @ V + b).requires_grad_())
            states.append(pre[-1].tanh())
            outputs = states[-1] @ U + c
            loss = loss + torch.nn.functional.cross_entropy(outputs, targets[f"output[{t + 1}]"], reduction="sum")
        theirs = torch.stack(torch.autograd.grad(loss, pre))
        ours = step.backward.all_rows(0)
        assert ours is not None
        ours = ours.unflatten(0, (steps, batch))
        read = torch.cat([x, torch.stack(states[:-1]).detach(), torch.ones(steps, batch, 1)], -1)
        added = [torch.einsum("tbi,tbj->tij", read, d) for d in (ours, theirs)]
        expected = [by_arc_cosine([one], [other]) for one, other in zip(*added, strict=True)]
        found = diagnose(step).angle_steps
        assert found is not None
        assert found.tolist() == pytest.approx(expected, abs=1e-6)
        assert min(expected) > 1

    def test_those_of_layers_over_time_are_taken_together(self) -> None:
        # one step is all there is to the update, so its angle is that of all hidden layers together
        graph = filled(elman(5, [7, 4], 3, 2))
        inputs, targets = batch_for(graph)
        inputs["x[2]"].zero_()
        step = update(graph, LRAFeedback(), as_rows(inputs), as_rows(targets))
        found = diagnose(step)
        hidden = [i for i, layer in enumerate(graph.layers) if not layer.subgraph.is_output]
        backprop = update(graph, Backprop(), as_rows(inputs), as_rows(targets))
        added: list[list[Tensor]] = [[], []]
        for parts, walk in zip(added, (step.backward, backprop.backward), strict=True):
            for i in hidden:
                d = walk.errors[i]
                assert d is not None
                for read in graph.layers[i].into:
                    parts.append(step.forward.source(read, range(1)).T @ d[:6])
                parts.append(d[:6].sum(0))
        assert found.angle_steps is not None
        assert found.angle_steps[0].item() == pytest.approx(by_arc_cosine(*added), abs=1e-6)

    def test_each_model_of_a_stack_has_that_of_its_run_alone(self) -> None:
        for nodes in (small_mlp, chain_over_time):
            stack, rule = filled(nodes(), stack=3), LRAFeedback(c1=0.05, c2=0.6)
            inputs, targets = (as_rows(named) for named in batch_for(stack))
            together = rows_of(diagnose(update(stack, rule, inputs, targets)))
            for nth in range(3):
                alone = filled(nodes())
                alone.load_state_dict({name: tensor[nth] for name, tensor in stack.state_dict().items()})
                single = rows_of(diagnose(update(alone, rule, inputs, targets)))
                assert single.keys() == together.keys()
                for name, value in single.items():
                    torch.testing.assert_close(together[name][nth], value, rtol=1e-9, atol=1e-6)

    def test_there_is_none_where_an_update_is_zero(self) -> None:
        # null initialization of tanh units: backprop updates nothing but the bias of the output
        graph = initialize(Graph(mlp(5, [4], 3)).double(), 0, "zeros")
        averages = Averages()
        step, _, _ = one_step(graph, LRAFeedback())
        averages.add(diagnose(step))
        row = averages.row()
        assert row["angle_layers"]["layer1"] is None
        assert 0 < row["angle"] < 90
        json.loads(json.dumps(row, allow_nan=False))

    def test_vanishing_gradients_in_float32_have_one(self) -> None:
        graph = filled(small_mlp()).float()
        with torch.no_grad():
            for weight in list(graph.weights.values())[1:]:
                weight.mul_(1e-9)  # the gradient of the first layer is of the order 1e-27: its square is 0 in float32
        inputs, targets = batch_for(graph)
        inputs = {name: tensor.float() for name, tensor in inputs.items()}
        found = diagnose(update(graph, Backprop(), as_rows(inputs), as_rows(targets)))
        assert found.angle_layers["layer1"].item() == pytest.approx(0, abs=1e-3)

    @pytest.mark.parametrize("leak", [0.3, (0.2, 0.9, 0.5, 0.35, 0.7)])
    def test_trained_leaks_are_part_of_their_layer_and_of_every_step(self, leak: Any) -> None:
        graph = filled(elman(4, [5], 3, 3, leak=leak, train_leak=True))
        assert diagnose(one_step(graph, Backprop())[0]).angle_steps.max() < 1e-6  # type: ignore[union-attr]
        step, inputs, targets = one_step(graph, LRAFeedback())
        ours, found = {name: grad.clone() for name, grad in updates(graph).items()}, diagnose(step)
        exact = update(graph, Backprop(), as_rows(inputs), as_rows(targets))
        names = ["weights.W", "weights.V", "biases.b", "leaks.a"]
        expected = by_arc_cosine(*([held[name] for name in names] for held in (ours, updates(graph))))
        assert found.angle_layers["hidden"].item() == pytest.approx(expected, abs=1e-6)
        assert "leaks.a" in found.update_norms
        read = torch.cat([inputs["hidden[0]"], step.forward.z[0][:-6]])
        read = torch.cat([as_rows(inputs)["x"], read, torch.ones(18, 1)], -1).unflatten(0, (3, 6))
        by_step = []
        for t in range(3):
            added = []
            for backward in (step.backward, exact.backward):
                d, by_logit = (each[0].unflatten(0, (3, 6))[t] for each in (backward.errors, backward.leaks))  # type: ignore[union-attr]
                by_logit = by_logit.sum(0) if isinstance(leak, tuple) else by_logit.sum().view(1)
                added.append([read[t].T @ d, by_logit])
            by_step.append(by_arc_cosine(*added))
        assert found.angle_steps is not None
        assert found.angle_steps.tolist() == pytest.approx(by_step, abs=1e-6)

    def test_a_slope_that_is_annealed_belongs_to_the_chain_rule(self) -> None:
        rule = SlopeAnnealing()
        graph = filled(small_mlp("sigmoid", "bernoulli"))
        rule.setup(graph)
        rule.anneal(graph, 0.5)
        found = diagnose(one_step(graph, rule)[0])
        assert found.angle.item() == pytest.approx(0, abs=1e-6)

    def test_targets_by_name_and_as_vectors_are_found_again(self) -> None:
        graph = filled(
            [
                Input("x", 5),
                Subgraph("a", 7, ["x"], "sigmoid"),
                Subgraph("one", 3, ["a"], loss="cross-entropy"),
                Subgraph("two", 2, ["a"], loss="gaussian"),
            ]
        )
        inputs = {"x": torch.randn(6, 5)}
        targets = {"one": torch.randint(3, (6,)), "two": torch.randn(6, 2)}
        step = update(graph, LRAFeedback(beta=1.0), inputs, targets)
        gradient, ours = Twin(graph).updates(inputs, targets, "sum"), updates(graph)
        expected = by_arc_cosine(ours.values(), [gradient[name] for name in ours])
        assert diagnose(step).angle.item() == pytest.approx(expected, abs=1e-6)


class TestNothingIsDisturbed:
    def test_updates_stay_as_they_are(self) -> None:
        graph = filled(chain_over_time())
        step, _, _ = one_step(graph, LRAFeedback(c1=0.1))
        before = {name: (grad, grad.clone()) for name, grad in updates(graph).items()}
        diagnose(step)
        for name, grad in updates(graph).items():
            assert grad is before[name][0]
            assert torch.equal(grad, before[name][1])

    def test_no_unit_draws_again(self) -> None:
        graph = filled(small_mlp("sigmoid", "bernoulli"))
        step, inputs, targets = one_step(graph, LRAFeedback())
        drawn = [step.forward.output(i).clone() for i in range(len(graph.layers))]
        random = torch.get_rng_state()
        found = diagnose(step)
        assert torch.equal(torch.get_rng_state(), random)
        # the gradient on those very draws
        z, total, leaves = inputs["x"], torch.zeros(()), Twin(graph).own
        for nth, layer in enumerate(LAYERS, start=1):
            h = z @ leaves[f"weights.W{nth}"] + leaves[f"biases.b{nth}"]
            if layer == "output":
                total = torch.nn.functional.cross_entropy(h, targets["output"])
            else:
                z = h.sigmoid()
                z = z + (drawn[nth - 1] - z).detach()
        gradient = dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))
        ours = updates(graph)
        expected = by_arc_cosine(ours.values(), [gradient[name] for name in ours])
        assert found.angle.item() == pytest.approx(expected, abs=1e-6)

    def test_without_an_update_there_is_nothing_to_diagnose(self) -> None:
        graph = filled(small_mlp())
        step, _, _ = one_step(graph, LRAFeedback())
        graph.zero_grad()
        with pytest.raises(SeqlraError, match=r"weights\.W1 has no update"):
            diagnose(step)


class TestNormsAndClips:
    def test_norms_are_those_of_the_updates(self) -> None:
        graph = filled(skip_net())
        found = diagnose(one_step(graph, LRAFeedback())[0])
        expected = {name: grad.norm().item() for name, grad in updates(graph).items()}
        assert {name: norm.item() for name, norm in found.update_norms.items()} == pytest.approx(expected)

    def test_c1_cut_what_has_its_norm(self) -> None:
        graph = filled(small_mlp())
        step, _, _ = one_step(graph, LRAFeedback())
        free = {name: grad.norm().item() for name, grad in updates(graph).items()}
        middle = sorted(free.values())[len(free) // 2] * 0.999
        again = update(graph, LRAFeedback(c1=middle), step.forward._store["x"], step.backward.targets[-1])
        expected = {name: float(norm > middle) for name, norm in free.items()}
        assert {name: cut.item() for name, cut in diagnose(again).clipped_c1.items()} == expected
        assert set(expected.values()) == {0.0, 1.0}
        assert diagnose(step).clipped_c1 == {}

    @pytest.mark.parametrize("kind", [LRAFeedback, LRADiff])
    @pytest.mark.parametrize("nodes", NETS.values(), ids=NETS.keys())
    def test_a_tiny_c2_cuts_every_displacement_and_a_huge_one_none(self, kind: Any, nodes: Any) -> None:
        graph = filled(nodes())
        hidden = [layer for layer in graph.layers if not layer.subgraph.is_output]
        # a displacement that was cut leaves little to displace what lies below
        top = {layer.name for layer in hidden if any(graph.layers[c.reader].subgraph.is_output for c in layer.out_of)}
        for per in ("sample", "batch"):
            tiny, huge = (diagnose(one_step(graph, kind(c2=c2, c2_per=per))[0]).clipped_c2 for c2 in (1e-9, 1e9))
            assert {name: cut.item() for name, cut in tiny.items() if name in top} == dict.fromkeys(top, 1.0)
            assert {name: cut.item() for name, cut in huge.items()} == {layer.name: 0.0 for layer in hidden}

    def test_one_sample_of_four_and_one_step_of_two(self) -> None:
        # the error of the output is softmax(0) - t; a zero row of E takes it from those whose target is class 0
        graph = Graph(mlp(2, [3], 2)).double()
        graph.feedback["E2"].copy_(torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
        x = torch.randn(4, 2)
        found = diagnose(update(graph, LRAFeedback(c2=0.99), x, torch.tensor([0, 1, 1, 1]))).clipped_c2
        assert found["layer1"].item() == 1.0  # every displacement has the norm 1
        assert diagnose(update(graph, LRAFeedback(c2=1.01), x, torch.tensor([0, 1, 1, 1]))).clipped_c2["layer1"] == 0
        with torch.no_grad():
            graph.biases["b2"].copy_(torch.tensor([0.0, math.log(3)]))  # softmax is (1/4, 3/4): norms 1.5 and 0.5
        mixed = diagnose(update(graph, LRAFeedback(c2=1.0), x, torch.tensor([0, 1, 1, 1]))).clipped_c2
        assert mixed["layer1"].item() == 0.25
        whole = LRAFeedback(c2=1.6, c2_per="batch")  # the norms of batches: sqrt(1.5^2 + 3 * 0.5^2) = 1.73 and 1
        assert diagnose(update(graph, whole, x, torch.tensor([0, 1, 1, 1]))).clipped_c2["layer1"] == 1
        assert diagnose(update(graph, whole, x, torch.tensor([1, 1, 1, 1]))).clipped_c2["layer1"] == 0

        net = Graph(elman(2, [3], 2, 2)).double()
        net.feedback["E"].copy_(graph.feedback["E2"])
        with torch.no_grad():
            net.biases["c"].copy_(graph.biases["b2"])
        data = {"x": torch.randn(8, 2), "hidden": torch.zeros(4, 3)}
        targets = torch.tensor([0, 1, 1, 1, 1, 1, 1, 1])
        assert diagnose(update(net, LRAFeedback(c2=1.0), data, targets)).clipped_c2["hidden"] == 1 / 8
        assert diagnose(update(net, whole, data, targets)).clipped_c2["hidden"] == 1 / 2

    def test_lra_diff_displaces_through_the_derivative(self) -> None:
        # sigmoid at h = 0 has the derivative 1/4, so that the displacement of norm 2 becomes 0.5
        graph = Graph(mlp(2, [3], 2, "sigmoid")).double()
        with torch.no_grad():
            graph.weights["W2"].copy_(torch.tensor([[2.0, -2.0], [0, 0], [0, 0]]))
            graph.biases["b2"].copy_(-graph.weights["W2"][0] * 0.5)
        data = torch.randn(4, 2), torch.randint(2, (4,))
        for rule, share in (
            (LRADiff(c2=0.51, steps=2), 0.0),
            (LRADiff(c2=0.49, steps=2), 1.0),
            (LRADiff(c2=1.99, form="post"), 1.0),
            (LRADiff(c2=2.01, form="post"), 0.0),
        ):
            assert diagnose(update(graph, rule, *data)).clipped_c2["layer1"] == share

    def test_rows_that_were_left_out_are_not_cut(self) -> None:
        graph = filled(small_mlp())
        inputs, targets = (as_rows(named) for named in batch_for(graph, 40))
        shares = []
        for skip in (False, True):
            step = update(graph, LRAFeedback(beta=1.0, c2=0.5, epsilon=0.05, skip=skip), inputs, targets)
            assert any(rows is not None for rows in step.backward.rows) == skip
            shares.append({name: cut.item() for name, cut in diagnose(step).clipped_c2.items()})
        assert shares[0] == shares[1]
        assert 0 < shares[0]["layer1"] < 1

    def test_other_rules_and_no_bound_clip_nothing(self) -> None:
        for rule in (Backprop(), LRAFeedback(c2=None)):
            found = diagnose(one_step(filled(small_mlp()), rule)[0])
            assert (found.clipped_c1, found.clipped_c2) == ({}, {})


def rows_of(found: Any) -> dict[str, Tensor]:
    """Every tensor of a diagnosis by a name of its own."""
    flat: dict[str, Tensor] = {}
    for field, value in vars(found).items():
        if isinstance(value, dict):
            flat |= {f"{field} {name}": tensor for name, tensor in value.items()}
        elif value is not None:
            flat[field] = value
    return flat


def test_a_mean_leaves_out_what_was_not_defined() -> None:
    averages = Averages()
    assert averages.row() == {}
    found = diagnose(one_step(filled(chain_over_time()), LRAFeedback())[0])
    assert found.angle_steps is not None
    steps = found.angle_steps.clone()
    for angle in (30.0, math.nan, 60.0):
        found.angle.fill_(angle)
        found.angle_steps.copy_(steps)[1] = angle
        found.angle_steps[0] = math.nan
        averages.add(found)
    row = averages.row()
    assert row["angle"] == 45
    assert row["angle_steps"] == [None, 45, *steps[2:].tolist()]
    assert set(row["update_norms"]) == {"weights.W", "weights.V", "weights.U", "biases.b", "biases.c"}


def small(**given: Any) -> Config:
    """A run of 80 updates on the embedded sample."""
    torch.set_default_dtype(torch.float32)
    return configure("mlp", **{"hidden": (20, 12), "valid": 13_000, "epochs": 2, **given}, device="cpu", threads=1)


def trained(path: Path, config: Config) -> RunDirectory:
    run, experiment = RunDirectory.create(path), prepare([config])
    begin(experiment, run)
    train(experiment, run)
    return run


class TestInTraining:
    @pytest.mark.parametrize("g", [None, "bernoulli"], ids=["tanh", "bernoulli units"])
    def test_it_changes_nothing_that_is_learned(self, g: str | None, tmp_path: Path) -> None:
        rows, weights = [], []
        for every in (7, 0):
            config = small(discretizer=g, activation="sigmoid" if g else "tanh", diagnose=every)
            run = trained(tmp_path / str(every), config)
            rows.append(run.read_metrics())
            weights.append(checkpoint.load(run.checkpoint)["graph"])
        assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
        new = {"angle", "angle_layers", "update_norms", "clipped_c2", "alignment"}
        for one, other in zip(*rows, strict=True):
            assert one.keys() - other.keys() == new
            assert all(one[key] == other[key] for key in other if key != "seconds")

    def test_the_row_is_the_mean_over_the_diagnosed_updates_of_the_epoch(self, tmp_path: Path) -> None:
        experiment = prepare([small()])
        angles = []
        for number in range(80):
            step = update(experiment.graph, experiment.rule, *experiment.task.batch(number))
            if number % 40 % 10 == 0:  # four an epoch of 40, at the least
                angles.append(diagnose(step).angle.item())
            experiment.optimizer.step()
        rows = trained(tmp_path / "run", small(diagnose=30)).read_metrics()
        assert [row["angle"] for row in rows] == pytest.approx([sum(angles[:4]) / 4, sum(angles[4:]) / 4], abs=1e-6)
        assert list(rows[0]["angle_layers"]) == ["layer1", "layer2", "output"]

    @pytest.mark.parametrize("task", ["mlp", "rnn"])
    def test_a_resumed_run_has_the_same_ones(
        self, task: str, short_text: Path, tmp_path: Path, monkeypatch: Any
    ) -> None:
        config = small(diagnose=3)
        if task == "rnn":
            shape = {"hidden": (12,), "streams": 8, "unroll": 11}
            given = {"text": str(short_text), **shape, "steps": 80, "diagnose": 30}
            config = configure("rnn", **given, device="cpu", threads=1)
        monkeypatch.setattr(Trainer, "CHECK_EVERY", 1)
        alone = trained(tmp_path / "alone", config)
        run = RunDirectory.create(tmp_path / "stopped")
        begin(prepare([config]), run)

        def stop(trainer: Trainer) -> None:
            trainer.interrupted = trainer.step == 35

        with pytest.raises(Stopped):
            train(prepare([config]), run, watch=stop)
        train(prepare([config]), run)
        rows = [[{**row, "seconds": 0} for row in each.read_metrics()] for each in (alone, run)]
        assert rows[0] == rows[1]
        assert ("angle_steps" in rows[0][0]) == (task == "rnn")

    @pytest.mark.parametrize("steps", [300, 600])
    def test_lra_fdbk_descends_on_the_embedded_sample(self, steps: int, tmp_path: Path) -> None:
        config = small(hidden=(64, 64, 64), valid=2500, steps=steps, diagnose=10)
        assert all(0 < row["angle"] < 90 for row in trained(tmp_path / "run", config).read_metrics())

    def test_lra_fdbk_descends_on_mnist(self, real_data: Path, tmp_path: Path) -> None:
        config = small(
            dataset="mnist", data_dir=str(real_data), valid=None, hidden=(64, 64, 64), steps=500, diagnose=25
        )
        (row,) = trained(tmp_path / "run", config).read_metrics()
        assert 0 < row["angle"] < 90
        assert all(angle < 90 for angle in row["angle_layers"].values())

    def test_a_configuration_from_before_is_read(self) -> None:
        plain = small().to_dict()
        del plain["diagnose"]
        assert Config.from_dict(plain).diagnose == 100

    def test_a_negative_number_of_updates_is_refused(self) -> None:
        with pytest.raises(SeqlraError, match="diagnose must be at least 0, not -1"):
            small(diagnose=-1)


ROW: dict[str, Any] = {"epoch": 1, "depth": 3.0}
FULL = ROW | {
    "angle": 50.0,
    "angle_layers": {"hidden": 91.0, "output": None},
    "angle_steps": [None, 40.0],
    "update_norms": {"weights.W": 1.0, "biases.b": 0.0},
    "clipped_c1": {"weights.W": 1.0},
    "clipped_c2": {"hidden": 0.5},
}


@pytest.mark.parametrize(
    ("history", "panels"),
    [
        ([ROW], ["Depth"]),
        ([FULL], ["Angle", "The same", "Norm", "How often", "Depth"]),
        ([ROW, FULL | {"epoch": 2, "angle": None}], ["Angle", "The same", "Norm", "How often", "Depth"]),
        ([ROW | {"epoch": n, "angle": 30.0} for n in range(1, 99)], ["Angle", "Depth"]),
    ],
)
def test_the_picture_has_the_panels_for_which_there_is_something(
    history: Any, panels: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(plotting, "save_figure", lambda figure, path: (drawn.append(figure), save(figure, path)))
    plotting.save_diagnostics(tmp_path / "diagnostics.png", history, "a run")
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert len(titles) == len(panels)
    assert all(title.startswith(panel) for title, panel in zip(titles, panels, strict=True))
    assert all(axes.get_ylabel() and axes.get_xlabel() for axes in drawn[0].axes)
    assert (tmp_path / "diagnostics.png").read_bytes().startswith(b"\x89PNG")
