"""Labeled sequences as a task. Oracle: plain loops, one sequence and one step after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import filled
from torch import Tensor
from torch.nn.functional import cross_entropy

from seqlra import Backprop, Graph, SeqlraError, elman, initialize, update
from seqlra.data.arrays import SequenceSplits, sequences_from_arrays, split_sequences
from seqlra.data.memory import MEMORY_TASKS, GeneratedSequences
from seqlra.tasks.sequences import LabeledSequences


def generated(name: str, steps: int = 23, held_out: int = 37) -> LabeledSequences:
    return LabeledSequences(GeneratedSequences(name, steps, 3, held_out, dtype=torch.float64), 5, seed=2)


def stored(vectors: bool = False, lengths: bool = True) -> SequenceSplits:
    x, t = torch.randn(40, 6, 3), torch.randn(40, 6, 2) if vectors else torch.randint(4, (40, 6))
    return split_sequences(sequences_from_arrays(x, t, torch.randint(1, 7, (40,)) if lengths else None), 15, 9, seed=1)


def answers(graph: Graph, x: Tensor) -> list[Tensor]:
    """The pre-activations of the output at every step of one sequence."""
    weights, biases = graph.weights, graph.biases
    z, found = torch.zeros(weights["V"].shape[0]), []
    for step in x:
        drive = weights["W"][step] if x.dtype == torch.int64 else step @ weights["W"]
        z = torch.tanh(drive + z @ weights["V"] + biases["b"])
        found.append(z @ weights["U"] + biases["c"])
    return found


@torch.no_grad()
def one_by_one(graph: Graph, task: LabeledSequences, split: str, wrong: Any) -> dict[str, float]:
    data = task.data.part(split)
    losses, mistakes = [], []
    for x, t in zip(data.x, data.t, strict=True):
        found = answers(graph, x)
        for step, target in zip(data.steps, t, strict=True):
            h, squares = found[step - 1], target.is_floating_point()
            if (target.isnan().any() if squares else target == -100).item():  # type: ignore[union-attr]
                continue
            losses.append(0.5 * (h - target).square().sum() if squares else cross_entropy(h, target))
            mistakes.append(bool(wrong(h, target)))
    return {"error": 100 * sum(mistakes) / len(mistakes), "loss": float(sum(losses) / len(losses))}


WRONG = {
    "adding": lambda h, t: (h[0] - t[0]) ** 2 > 0.04,
    "copy": lambda h, t: any((a > 0.5) != (b == 1) for a, b in zip(h.tolist(), t.tolist(), strict=True)),
}


@pytest.mark.parametrize("name", MEMORY_TASKS)
@pytest.mark.parametrize("rows", [10_000, 100], ids=["at once", "in chunks"])
def test_a_generated_task_is_measured_as_one_sequence_after_the_other(
    name: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabeledSequences, "EVALUATION_ROWS", rows)
    task = generated(name)
    graph = filled(task.elman([7]))
    (got,) = task.evaluate(graph, "test")
    expected = one_by_one(graph, task, "test", WRONG.get(name, lambda h, t: h.argmax() != t))
    assert got == pytest.approx(expected, abs=1e-9)
    assert got["error"] > 0


@pytest.mark.parametrize("lengths", [True, False], ids=["lengths", "one length"])
def test_your_own_sequences_are_measured_at_the_asked_steps(lengths: bool) -> None:
    task = LabeledSequences(stored(lengths=lengths), 4)
    graph = filled(task.elman([7]))
    expected = one_by_one(graph, task, "valid", lambda h, t: h.argmax() != t)
    assert task.evaluate(graph, "valid")[0] == pytest.approx(expected, abs=1e-9)
    assert not task.solved({"error": 0.0, "loss": 0.0})


def test_vectors_of_your_own_have_a_loss_alone() -> None:
    task = LabeledSequences(stored(vectors=True), 4)
    graph = filled(task.elman([7]))
    expected = one_by_one(graph, task, "valid", lambda h, t: False)["loss"]
    assert task.selects == "loss"
    assert task.evaluate(graph, "valid")[0] == pytest.approx({"loss": expected}, abs=1e-9)


def test_each_model_of_a_stack_is_measured_as_if_alone() -> None:
    task = generated("copy")
    stack = filled(task.elman([7]), stack=3)
    together = task.evaluate(stack, "valid")
    assert len({metrics["loss"] for metrics in together}) == 3
    for number, metrics in enumerate(together):
        alone = Graph(task.elman([7])).double()
        for name, p in alone.named_parameters():
            p.data.copy_(dict(stack.named_parameters())[name][number])
        assert metrics == pytest.approx(task.evaluate(alone, "valid")[0], abs=1e-9)


def test_a_mini_batch_of_a_generated_task_starts_from_the_null_state() -> None:
    task = generated("adding")
    graph = filled(task.elman([7, 4]))
    task.start(graph)
    (x, t), part = task.batch(8), task.data.draw(5, 8)  # type: ignore[union-attr]
    assert x["x"].equal(torch.cat([part.x[:, step] for step in range(23)]))
    assert t.equal(part.t[:, 0])
    assert (x["hidden1"].shape, x["hidden2"].shape) == ((5, 7), (5, 4))
    assert x["hidden1"].eq(0).all()
    assert x["hidden2"].eq(0).all()
    assert task.steps_per_epoch == 100
    assert update(graph, Backprop(), x, t).loss > 0


def test_an_epoch_of_stored_sequences_sees_each_once_in_an_order_of_its_own() -> None:
    data = stored()
    task = LabeledSequences(data, 5, seed=3)
    task.start(filled(task.elman([7])))
    assert (len(data.train), task.steps_per_epoch) == (16, 3)
    epochs = []
    for epoch in range(2):
        seen = [row for step in range(3 * epoch, 3 * epoch + 3) for row in task.batch(step)[0]["x"][:5, 0].tolist()]
        assert len(set(seen)) == 15
        assert set(seen) <= set(data.train.x[:, 0, 0].tolist())
        epochs.append(seen)
    assert epochs[0] != epochs[1]
    again = LabeledSequences(data, 5, seed=3)
    again.start(filled(again.elman([7])))
    assert again.batch(4)[1].equal(task.batch(4)[1])  # whatever was asked for before


def test_the_samples_of_an_update_are_what_is_asked() -> None:
    assert generated("copy").samples_per_step == 5 * 10
    assert generated("adding").samples_per_step == 5


def test_solved_is_under_the_bound() -> None:
    task = generated("adding")
    assert [task.solved({"error": error, "loss": 1.0}) for error in (0.0, 0.0099, 0.01, 1.0)] == [
        True,
        True,
        False,
        False,
    ]


def test_a_measurement_has_draws_of_its_own() -> None:
    task = generated("adding")
    graph = filled(task.elman([7], activation="sigmoid", discretizer="bernoulli"))
    before = torch.random.get_rng_state()
    first = task.evaluate(graph, "valid")
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(99)
    assert task.evaluate(graph, "valid") == first


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SeqlraError, match="a batch of 17 is larger than the training split of 16"):
        LabeledSequences(stored(), 17)
    with pytest.raises(SeqlraError, match="at least one sequence"):
        LabeledSequences(stored(), 0)
    task = LabeledSequences(stored(), 4)
    with pytest.raises(SeqlraError, match="masked"):
        task.start(filled(elman(3, [7], 4, 6)))


def test_bptt_solves_temporal_order() -> None:
    data = GeneratedSequences("temporal-order", 10, seed=0, held_out=2_000)
    task = LabeledSequences(data, 20)
    graph = initialize(Graph(task.elman([24], across_time=True)).float(), 0, "reservoir")
    task.start(graph)
    optimizer = torch.optim.Adam(graph.parameters(), lr=0.01)
    assert not task.solved(task.evaluate(graph, "valid")[0])
    for step in range(400):
        x, t = task.batch(step)
        task.after(update(graph, Backprop(), x, t))
        optimizer.step()
        if (step + 1) % task.steps_per_epoch == 0 and task.solved(task.evaluate(graph, "valid")[0]):
            break
    assert task.evaluate(graph, "test")[0]["error"] < 0.1  # at most one of 2,000


def test_errors_of_own_lengths_reach_the_first_steps() -> None:
    """The first step of each sequence shows its class, and the target is at its end: chance is 50%."""
    torch.manual_seed(0)
    classes, x = torch.randint(2, (400,)), torch.randn(400, 8, 2) * 0.3
    x[:, 0, 0] = 2.0 * classes - 1
    data = split_sequences(sequences_from_arrays(x, classes, torch.randint(4, 9, (400,))), 100, 100, seed=1)
    task = LabeledSequences(data, 20)
    graph = initialize(Graph(task.elman([16], across_time=True)), 0, "reservoir")
    task.start(graph)
    optimizer = torch.optim.Adam(graph.parameters(), lr=0.01)
    for step in range(10 * task.steps_per_epoch):
        x_rows, t = task.batch(step)
        update(graph, Backprop(), x_rows, t)
        optimizer.step()
    assert task.evaluate(graph, "test")[0]["error"] < 5
