"""Oracles: the run of the command line, and loops over `update` and a ``torch.optim`` optimizer, written out."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers import filled, skip_net, small_mlp
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import seqlra
from seqlra import Graph, LRAFeedback, SeqlraError, elman, fit, initialize, mlp, update
from seqlra.data.arrays import sequences_from_arrays
from seqlra.data.images import load_images
from seqlra.network.forward import null_state
from seqlra.rules import Backprop
from seqlra.training import runs
from seqlra.training.configure import configure
from seqlra.training.experiment import learner, prepare
from seqlra.training.run_directory import RunDirectory
from seqlra.training.trainer import Trainer

X, T = torch.randn(47, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64), torch.arange(47) % 3
SERIES = torch.randn(4, 13, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def net(nodes: Any = None) -> Graph:
    """The same network every time."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return filled(small_mlp() if nodes is None else nodes)


def state_of(graph: Graph) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in graph.state_dict().items()}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for name in one:
        assert torch.allclose(one[name], other[name], rtol=1e-9, atol=1e-11), name


class Spy(seqlra.Callback):
    """Notes what is called, and at which update."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def on_train_begin(self, trainer: Trainer) -> None:
        self.calls.append(("train begin", trainer.step))

    def on_epoch_begin(self, trainer: Trainer) -> None:
        self.calls.append(("epoch begin", trainer.step))

    def on_update_end(self, trainer: Trainer) -> None:
        self.calls.append(("update end", trainer.step))

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.calls.append(("epoch end", trainer.step))

    def on_train_end(self, trainer: Trainer) -> None:
        self.calls.append(("train end", trainer.step))


def test_it_is_the_training_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(runs, "save_pictures", lambda *_: None)
    config = configure("mlp", hidden=(20, 12), valid=13_000, epochs=3, diagnose=7, device="cpu", threads=1, lr=0.02)
    run = RunDirectory.create(tmp_path / "run")
    experiment = prepare([config])
    runs.begin(experiment, run)
    runs.train(experiment, run)
    images = load_images("mnist-sample", valid=13_000)
    graph = Graph(mlp(images.pixels, (20, 12), 10))
    initialize(graph, 0, "fan-in", feedback=config.network.feedback_init)
    train, valid = (images.train.x, images.train.t), (images.valid.x, images.valid.t)
    history = fit(
        graph, learner(config), train, valid=valid, epochs=3, lr=0.02, callbacks=[seqlra.Diagnostics(7)], batch_size=50
    )
    assert_equal(state_of(graph), state_of(seqlra.load(tmp_path / "run")))
    for ours, theirs in zip(history, run.read_metrics(), strict=True):
        assert list(ours) == [*list(theirs)[:4], "valid_error", "valid_loss", *list(theirs)[6:]]
        for name in ("epoch", "step", "train_loss", "train_error", "depth", "angle", "update_norms"):
            assert ours[name] == theirs[name]
        assert ours["valid_error"] == pytest.approx(theirs["valid_error"], abs=1e-4)
        assert ours["valid_loss"] == pytest.approx(theirs["valid_loss"], rel=1e-5)


def by_hand(graph: Graph, batches: list[Any], rule: Any, lr: float = 0.01) -> dict[str, Tensor]:
    optimizer = torch.optim.Adam(graph.parameters(), lr=lr)
    for inputs, targets in batches:
        update(graph, rule, inputs, targets)
        optimizer.step()
    return state_of(graph)


def test_an_iterable_of_batches_is_gone_through_in_its_order_in_every_epoch() -> None:
    batches = list(zip(X.split(20), T.split(20), strict=True))
    expected = by_hand(net(), batches * 3, LRAFeedback())
    stream = Dataset.from_dict({"x": X.tolist(), "t": T.tolist()}).to_iterable_dataset()
    kinds = (
        *(batches, DataLoader(TensorDataset(X, T), batch_size=20), [(x.numpy(), t.int()) for x, t in batches]),
        *([{"t": t, "x": x} for x, t in batches], stream.batch(20)),
    )
    for data in kinds:
        graph = net()
        history = fit(graph, LRAFeedback(), data, epochs=3, lr=0.01)
        assert_close(state_of(graph), expected)
        assert [row["step"] for row in history] == [3, 6, 9]


@pytest.mark.parametrize("batch", [{"x": X, "y": T}, {"x": X, "t": T, "w": T}, {}])
def test_a_batch_with_other_names_is_refused(batch: dict[str, Tensor]) -> None:
    with pytest.raises(SeqlraError, match="has x and t"):
        fit(net(), LRAFeedback(), [batch])


def test_arrays_are_shuffled_anew_in_every_epoch_and_all_are_seen() -> None:
    graph, seen = net(), []

    class Sees(LRAFeedback):
        repeats = False

        def output_error(self, layer: Any) -> Any:
            seen.append(layer.target.tolist())
            return super().output_error(layer)

    numbers = torch.arange(3).repeat(2)
    fit(graph, Sees(), (X[:6], numbers), epochs=4, batch_size=2)
    epochs = [[t for batch in seen[3 * nth : 3 * nth + 3] for t in batch] for nth in range(4)]
    assert all(sorted(epoch) == [0, 0, 1, 1, 2, 2] for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1


@pytest.mark.parametrize("kind", ["a label", "a target a step", "next steps", "tokens", "values"])
@pytest.mark.parametrize("layout", ["batch-major", "time-major"])
def test_sequences_of_every_kind(kind: str, layout: str) -> None:
    across = {"activation": "tanh", "across_time": True}
    x = SERIES[:, :6]
    label = torch.tensor([0, 1, 0, 1])
    each = torch.randint(2, (4, 6))
    nodes, inputs, targets = {
        "a label": (elman(3, [7], 2, 6, outputs_at=[6], **across), x, label),
        "a target a step": (elman(3, [7, 4], 2, 6, **across), x, each),
        "next steps": (elman(3, [7], 3, 6, output="gaussian", **across), x, SERIES[:, 1:7]),
        "tokens": (elman(2, [7], 2, 6, **across), each, each.roll(-1, 1)),
        "values": (elman(3, [7], 1, 6, output="gaussian", outputs_at=[6], **across), x, SERIES[:, 7, 0]),
    }[kind]
    rule = LRAFeedback(window=None)
    rows = inputs.transpose(0, 1).flatten(0, 1)
    answers = targets if targets.dim() == 1 else targets.transpose(0, 1).flatten(0, 1)
    answers = answers.unsqueeze(-1) if kind == "values" else answers
    graph = net(nodes)
    expected = by_hand(graph, [({"x": rows, **null_state(graph, 4)}, answers)] * 3, rule)
    turned = layout == "time-major"
    given = (inputs.transpose(0, 1), targets.transpose(0, 1) if targets.dim() > 1 else targets)
    graph = net(nodes)
    history = fit(graph, rule, given if turned else (inputs, targets), epochs=3, lr=0.01, layout=layout, batch_size=4)
    assert_close(state_of(graph), expected)
    assert ("train_error" in history[0]) == (not targets.dtype.is_floating_point)


@pytest.mark.parametrize("rule", [LRAFeedback(), seqlra.SnAp1(online=True)], ids=["states", "traces, too"])
def test_the_state_is_carried_from_chunk_to_chunk_of_an_epoch(rule: seqlra.Rule) -> None:
    nodes = elman(3, [7, 5], 3, 4, output="gaussian")
    graph = net(nodes)
    optimizer, state = torch.optim.Adam(graph.parameters(), lr=0.01), {}
    for update_number in range(6):
        nth = update_number % 3
        chunk = SERIES[:, 4 * nth : 4 * nth + 5]
        inputs, targets = (part.transpose(0, 1).flatten(0, 1) for part in (chunk[:, :-1], chunk[:, 1:]))
        step = update(graph, rule, {"x": inputs, **(state if nth else null_state(graph, 4))}, targets)
        state = step.carried
        optimizer.step()
    other = net(nodes)
    data = (SERIES[:, :-1], SERIES[:, 1:])
    fit(other, rule, data, epochs=2, lr=0.01, stateful=True)
    assert_close(state_of(other), state_of(graph))
    valid = fit(net(nodes), rule, data, valid=data, epochs=1, stateful=True)[0]["valid_loss"]
    assert valid > 0


def test_sequences_end_where_their_lengths_say() -> None:
    """What is behind the end changes nothing, and a label is asked at the end."""
    nodes = elman(3, [7], 2, 6, output=seqlra.masked("cross-entropy"), outputs_at=range(2, 7), across_time=True)
    rule, lengths, labels = LRAFeedback(window=None), np.array([2, 6, 4, 5], np.uint8), [0, 1, 1, 0]
    graph, x = net(nodes), SERIES[:, :6].clone()
    data = sequences_from_arrays(x, labels, lengths)
    inputs, targets = data.rows()
    expected = by_hand(graph, [({"x": inputs, **null_state(graph, 4)}, targets)] * 2, rule)
    for row, length in zip(x, lengths.tolist(), strict=True):
        row[length:] = torch.nan
    for given in ((x.numpy(), labels, lengths), data):
        graph = net(nodes)
        fit(graph, rule, given, epochs=2, lr=0.01)
        assert_close(state_of(graph), expected)
    with pytest.raises(SeqlraError, match=r"outputs_at=range\(2, 7\)"):
        fit(net(elman(3, [7], 2, 6, outputs_at=[6])), LRAFeedback(), (x, labels, lengths))
    with pytest.raises(SeqlraError, match="masked"):
        fit(net(elman(3, [7], 2, 6)), LRAFeedback(), (x, labels, lengths))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", ">f8"])
def test_numbers_of_any_type_are_the_same_numbers(dtype: str) -> None:
    whole = np.abs(X.numpy() * 9).astype(np.int64)
    expected = net()
    fit(expected, LRAFeedback(), (torch.from_numpy(whole).double(), T), epochs=2, batch_size=10)
    graph = net()
    classes = T.numpy().astype(dtype if np.dtype(dtype).kind in "iu" else "int8")
    backward = whole.astype(dtype)[::-1].copy()[::-1]  # with strides that torch refuses
    fit(graph, LRAFeedback(), (backward, classes), epochs=2, batch_size=10)
    assert_equal(state_of(graph), state_of(expected))


def test_nothing_global_changes_and_twice_is_the_same() -> None:
    def before() -> list[Any]:
        precision = torch.get_float32_matmul_precision(), torch.get_default_dtype(), torch.get_num_threads()
        return [torch.get_rng_state().tolist(), *precision, signal.getsignal(signal.SIGINT), np.random.get_state()[2]]

    found, global_state = [], before()
    for _ in range(2):
        graph = net(small_mlp("sigmoid", "bernoulli"))
        history = fit(graph, LRAFeedback(), (X, T), valid=(X, T), epochs=2, seed=5, batch_size=10)
        found.append((state_of(graph), [{**row, "seconds": 0} for row in history]))
        assert before() == global_state
        torch.rand(3)
        global_state = before()
    assert_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    other = net(small_mlp("sigmoid", "bernoulli"))
    fit(other, LRAFeedback(), (X, T), valid=(X, T), epochs=2, seed=6, batch_size=10)
    assert not torch.equal(other.weights["W1"], found[0][0]["weights.W1"])


def test_with_validation_the_best_weights_stay_and_without_the_last() -> None:
    data = (X, T)
    weights: list[dict[str, Tensor]] = []

    class Keeps(seqlra.Callback):
        def on_epoch_end(self, trainer: Trainer) -> None:
            weights.append(state_of(trainer.graph))

    graph = net()
    history = fit(graph, Backprop(), data, valid=data, epochs=9, lr=0.3, callbacks=[Keeps()], batch_size=10)
    errors = [row["valid_error"] for row in history]
    assert history.best_epoch == 1 + errors.index(min(errors)) < 9
    assert_equal(state_of(graph), weights[history.best_epoch - 1])
    assert seqlra.evaluate(graph, data)["error"] == min(errors)
    graph = net()
    assert fit(graph, Backprop(), data, epochs=9, lr=0.3, callbacks=[Keeps()], batch_size=10).best_epoch == 9
    assert_equal(state_of(graph), weights[-1])


def test_callbacks_are_called_in_their_places() -> None:
    spy = Spy()
    fit(net(), LRAFeedback(), (X[:4], T[:4]), epochs=2, batch_size=2, callbacks=[spy])
    epoch = [("epoch begin", 0), ("update end", 1), ("update end", 2), ("epoch end", 2)]
    second = [(name, step + 2) for name, step in epoch]
    assert spy.calls == [("train begin", 0), *epoch, *second, ("train end", 4)]

    class Stops(Spy):
        def on_update_end(self, trainer: Trainer) -> None:
            super().on_update_end(trainer)
            if trainer.step == 3:
                trainer.stop()

    stops = Stops()
    history = fit(net(), LRAFeedback(), (X[:4], T[:4]), epochs=9, batch_size=2, callbacks=[stops])
    assert stops.calls[-3:] == [("update end", 3), ("epoch end", 3), ("train end", 3)]
    assert [row["step"] for row in history] == [2, 3]


@pytest.mark.parametrize("patience", [1, 3])
def test_early_stopping_waits_for_its_patience(patience: int) -> None:
    stop = seqlra.EarlyStopping(patience, metric="epoch")  # which rises from the first one on
    assert len(fit(net(), LRAFeedback(), (X, T), epochs=9, callbacks=[stop])) == patience + 1
    assert len(fit(net(), LRAFeedback(), (X, T), epochs=9, callbacks=[stop])) == patience + 1  # it begins anew
    falling = seqlra.EarlyStopping(patience, min_delta=-1e9)  # by train_loss, as there is no validation
    assert len(fit(net(), LRAFeedback(), (X, T), epochs=5, callbacks=[falling])) == 5
    with pytest.raises(SeqlraError, match="no metric 'accuracy' to stop by; there are epoch, step"):
        fit(net(), LRAFeedback(), (X, T), callbacks=[seqlra.EarlyStopping(2, metric="accuracy")])


@pytest.mark.parametrize("kind", ["arrays", "batches", "streams"])
def test_a_training_that_was_cut_goes_on_from_its_checkpoint_bit_for_bit(kind: str, tmp_path: Path) -> None:
    graph_of: Callable[[], Graph] = {"streams": lambda: net(elman(3, [7], 3, 4, output="gaussian"))}.get(
        kind, lambda: net(small_mlp("sigmoid", "bernoulli"))
    )
    data: Any = (SERIES[:, :-1], SERIES[:, 1:]) if kind == "streams" else (X, T)
    data = list(zip(X.split(10), T.split(10), strict=True)) if kind == "batches" else data
    options: dict[str, Any] = {"epochs": 3, "valid": data, "stateful": kind == "streams", "schedule": "linear"}
    options |= {"batch_size": 10} if kind == "arrays" else {}

    class Cuts(seqlra.Callback):
        def on_update_end(self, trainer: Trainer) -> None:
            checkpoint.save(trainer)
            if trainer.step == 7:
                raise KeyboardInterrupt

    whole, cut = graph_of(), graph_of()
    history = fit(whole, LRAFeedback(), data, **options, callbacks=[seqlra.Diagnostics(2)])
    checkpoint = seqlra.Checkpoint(tmp_path / "training.pt")
    with pytest.raises(KeyboardInterrupt):
        fit(cut, LRAFeedback(), data, **options, callbacks=[seqlra.Diagnostics(2), checkpoint, Cuts()])
    last = state_of(cut)
    again = graph_of()
    resumed = fit(
        again, LRAFeedback(), data, **options, callbacks=[seqlra.Diagnostics(2)], resume=tmp_path / "training.pt"
    )
    assert_equal(state_of(again), state_of(whole))
    assert [{**row, "seconds": 0} for row in resumed] == [{**row, "seconds": 0} for row in history]
    assert not torch.equal(next(iter(last.values())), next(iter(state_of(whole).values())))
    saved = torch.load(tmp_path / "training.pt", weights_only=True)
    assert_equal(state_of(seqlra.load(tmp_path / "training.pt")), saved["best"]["weights"])


def test_an_optimizer_by_name_by_class_and_ready_made() -> None:
    found = []
    for make in ("adam", torch.optim.Adam, lambda p, lr: torch.optim.Adam(p, lr=lr, fused=True)):
        graph = net()
        fit(graph, LRAFeedback(), (X, T), epochs=2, optimizer=make, lr=0.02, batch_size=10)
        found.append(state_of(graph))
    graph = net()
    ready = torch.optim.Adam(graph.parameters(), lr=0.02)
    fit(graph, LRAFeedback(), (X, T), epochs=1, optimizer=ready, batch_size=10)
    for other in found[1:]:
        assert_equal(found[0], other)
    expected = net()
    fit(expected, LRAFeedback(), (X, T), epochs=1, lr=0.02, batch_size=10)
    assert_close(state_of(graph), state_of(expected))


def test_the_step_size_falls_to_0_or_is_left_to_a_scheduler() -> None:
    class Rates(seqlra.Callback):
        def __init__(self) -> None:
            self.found: list[float] = []

        def on_update_end(self, trainer: Trainer) -> None:
            self.found += [group["lr"] for group in trainer.optimizer.param_groups]

    rates = Rates()
    fit(net(), LRAFeedback(), (X[:4], T[:4]), epochs=2, batch_size=2, lr=0.4, schedule="linear", callbacks=[rates])
    assert rates.found == pytest.approx([0.4, 0.3, 0.2, 0.1])
    graph = net()
    optimizer = torch.optim.SGD(
        [{"params": graph.weights.parameters(), "lr": 0.8}, {"params": graph.biases.parameters()}], lr=0.4
    )
    halving = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    class Halves(Rates):
        def on_update_end(self, trainer: Trainer) -> None:
            super().on_update_end(trainer)
            halving.step()

    halves = Halves()
    fit(graph, LRAFeedback(), (X[:4], T[:4]), steps=2, batch_size=2, optimizer=optimizer, callbacks=[halves])
    assert halves.found == pytest.approx([0.8, 0.4, 0.4, 0.2])


def test_a_training_that_diverges_leaves_the_last_good_weights() -> None:
    graph, good = net(), []

    class Keeps(seqlra.Callback):
        def on_epoch_end(self, trainer: Trainer) -> None:
            good.append(state_of(trainer.graph))
            trainer.optimizer.param_groups[0]["lr"] = float("inf")

    with pytest.raises(seqlra.Diverged, match=r"diverged at step \d+: .* weights are kept in the graph"):
        fit(graph, Backprop(), (X, T), epochs=4, optimizer="sgd", callbacks=[Keeps()], batch_size=5)
    assert_equal(state_of(graph), good[-1])


def test_several_inputs_go_by_their_names() -> None:
    nodes = [seqlra.Input("a", 5), seqlra.Input("b", 2), seqlra.Subgraph("h", 6, ["a", "b"])]
    nodes.append(seqlra.Subgraph("out", 3, ["h"], loss="cross-entropy"))
    graph, b = net(nodes), torch.randn(47, 2)
    expected = by_hand(graph, [({"a": X, "b": b}, T)] * 2, LRAFeedback())
    graph = net(nodes)
    fit(graph, LRAFeedback(), ({"b": b.numpy(), "a": X}, T), epochs=2, batch_size=99, lr=0.01)
    assert_close(state_of(graph), expected)
    with pytest.raises(SeqlraError, match="the graph reads the inputs a, b: give a mapping"):
        fit(graph, LRAFeedback(), (X, T))


def sequence_net() -> Graph:
    return net(elman(5, [7], 3, 6))


WRONG: dict[str, tuple[Callable[[], Graph], Any, dict[str, Any]]] = {
    r"x takes \(n, 5\) numbers, or integers \(n,\) as tokens; given: \(5, 47\) of float64": (net, (X.T, T), {}),
    r"classes are 0 to 2; given: 0 to 3": (net, (X, T + (T == 2)), {}),
    r"classes are 0 to 2; given: -1 to 1": (net, (X, T - 1), {}),
    r"targets are classes \(47,\) or vectors \(47, 3\); given: \(46,\)": (net, (X, T[1:]), {}),
    r"given: \(47,\) of float64": (net, (X, T.double()), {}),
    r"2 of the 47 samples of x have NaN": (net, (X.where((torch.arange(47) % 40 > 0)[:, None], torch.nan), T), {}),
    r"x must be an array of numbers": (net, ([["a"]], T), {}),
    r"data is \(x, t\) or \(x, t, lengths\), not": (net, [X, X], {}),
    r"an iterator is used up after one epoch": (net, iter([(X, T)]), {}),
    r"there is no batch": (net, [], {}),
    r"data is a pair": (net, 5, {}),
    r"give epochs or steps, not both": (net, (X, T), {"epochs": 2, "steps": 3}),
    r"epochs must be at least 1": (net, (X, T), {"epochs": 0}),
    r"a batch needs at least one": (net, (X, T), {"batch_size": 0}),
    r"batch_size does not go": (net, [(X, T)], {"batch_size": 5}),
    r"lr must be above 0": (net, (X, T), {"lr": 0.0}),
    r"unknown optimizer 'adagrad'; known: sgd": (net, (X, T), {"optimizer": "adagrad"}),
    r"other parameters": (net, (X, T), {"optimizer": torch.optim.SGD([torch.zeros(1)], lr=1.0)}),
    r"unknown schedule 'cosine'": (net, (X, T), {"schedule": "cosine"}),
    r"unknown layout 'time'; known: batch-major": (net, (X, T), {"layout": "time"}),
    r"not recurrent": (net, (X, T), {"layout": "time-major"}),
    r"output at every step": (net, (X, T), {"stateful": True}),
    r"x takes \(n, 6, 5\) numbers, or integers \(n, 6\) as tokens in the layout batch-major; given: \(6, 9, 5\)": (
        sequence_net, (torch.zeros(6, 9, 5), torch.zeros(6, 9)), {}
    ),
    r"x takes \(6, n, 5\) .* time-major; given: \(9, 6, 5\)": (
        sequence_net, (torch.zeros(9, 6, 5), torch.zeros(9, 6)), {"layout": "time-major"}
    ),
    r"targets are classes \(9, 6\) .*given: \(9,\) of int64; for one target .*outputs_at": (
        sequence_net, (torch.zeros(9, 6, 5), torch.zeros(9).long()), {}
    ),
    r"tokens of x are 0 to 4; given: 0 to 5": (
        sequence_net, (torch.full((9, 6), 5).tril(), torch.zeros(9, 6).long()), {}
    ),
    r"some targets are missing": (sequence_net, (torch.zeros(9, 6, 5), torch.full((9, 6), -100)), {}),
    r"sequences of 4 steps are shorter": (
        sequence_net, (torch.zeros(2, 4, 5), torch.zeros(2, 4).long()), {"stateful": True}
    ),
    r"takes one model": (lambda: filled(small_mlp(), stack=2), (X, T), {}),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_said_in_one_line(message: str) -> None:
    graph, data, options = WRONG[message]
    with pytest.raises(SeqlraError, match=message) as raised:
        fit(graph(), LRAFeedback(), data, **options)
    assert "\n" not in str(raised.value)


def test_a_rule_is_an_object_or_a_name() -> None:
    one, other = net(), net()
    fit(one, "lra-fdbk", (X, T), epochs=1)
    fit(other, LRAFeedback(), (X, T), epochs=1)
    assert_equal(state_of(one), state_of(other))
    with pytest.raises(SeqlraError, match=r"an object such as seqlra.LRAFeedback\(\).*not the class LRAFeedback"):
        fit(one, LRAFeedback, (X, T))  # type: ignore[arg-type]
    with pytest.raises(SeqlraError, match="unknown rule"):
        fit(one, "lra", (X, T))


def test_a_skip_connection_and_shared_weights_learn_too() -> None:
    graph = net(skip_net())
    expected = by_hand(graph, [(X, T)] * 2, LRAFeedback())
    graph = net(skip_net())
    fit(graph, LRAFeedback(), [(X, T)], epochs=2, lr=0.01)
    assert_close(state_of(graph), expected)
