"""``seqlra bench``: what it counts against torch's own counter, and what it prints."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from seqlra import Graph, LRAFeedback, SeqlraError, elman, initialize, mlp, update
from seqlra.bench import mlp as of_mlp
from seqlra.bench import rnn as of_rnn
from seqlra.bench import timing
from seqlra.bench.timing import Case, alternate, matmul_rate, peak_mib
from seqlra.cli import app
from seqlra.cli.bench import _geometric_means
from seqlra.network.forward import null_state


def counting() -> FlopCounterMode:
    """Torch's counter, which then counts a product added in place, too."""

    def added(total: torch.Size, a: torch.Size, b: torch.Size, **_: object) -> int:
        return 2 * a[0] * a[1] * b[1] if a[0] > 1 else 0  # a row of ones: the sum of an update of biases

    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: added})


@pytest.mark.parametrize("hidden", [(64,), (30, 20), (17, 9, 13)])
def test_the_operations_of_an_update_are_those_that_torch_counts(hidden: tuple[int, ...]) -> None:
    graph = initialize(Graph(mlp(of_mlp.PIXELS, hidden, of_mlp.CLASSES)), 0)
    with counting() as counter:
        update(graph, LRAFeedback(), torch.randn(6, of_mlp.PIXELS), torch.randint(of_mlp.CLASSES, (6,)))
    assert of_mlp.operations(hidden, 6) == counter.get_total_flops()


@pytest.mark.parametrize("window", [0, 1, 3])
def test_the_operations_over_time_are_those_that_torch_counts(window: int) -> None:
    graph = initialize(Graph(elman(11, [7], 11, 5, across_time=True)), 0)
    inputs = {"x": torch.randint(11, (15,)), **null_state(graph, 3)}
    with counting() as counter:
        update(graph, LRAFeedback(c2=None, window=window), inputs, torch.randint(11, (15,)))
    of_last_steps = 2 * 3 * 7 * 7 * window  # nothing comes to the last step over time, which `operations` overlooks
    assert of_rnn.operations(7, 15, 11, window + 1) - of_last_steps == counter.get_total_flops()


def test_the_share_of_the_limit_is_operations_over_time_over_rate() -> None:
    case = Case("", "", 1.0, 1.0, 1.0, 2.0, (2.0, 2.0), 2.0, (2.0, 2.0), 1, 1, operations=3_000_000)
    assert case.of_limit(1e10) == pytest.approx(0.15)  # 3 million in 2 ms are 1.5e9 a second
    assert matmul_rate(torch.device("cpu"), 64) > 0


def test_both_sides_are_run_as_often() -> None:
    runs = {"mine": 0, "theirs": 0}

    def count(side: str) -> None:
        runs[side] += 1

    alternate("case", "rival", lambda: count("mine"), lambda: count("theirs"), rounds=3, seconds=0)
    assert runs["mine"] == runs["theirs"] > 3 * 3


def test_the_fastest_way_has_the_least_median(monkeypatch: pytest.MonkeyPatch) -> None:
    def a() -> None: ...
    def b() -> None: ...

    seconds = {a: iter([9.0, 1.0, 8.0, 7.0]), b: iter([1.0, 4.0, 5.0, 6.0])}  # the first turn compiles
    monkeypatch.setattr(timing, "_timed", lambda run, updates: next(seconds[run]))
    assert timing.fastest({"a": a, "b": b}, rounds=3) == ("b", b)


def test_the_best_of_torch_is_taken_for_each_network() -> None:
    def case(net: str, rival: str, ratio: float) -> Case:
        return Case(net, rival, ratio, ratio, ratio, 1.0, (1.0, 1.0), ratio, (ratio, ratio), 1, 1)

    cases = [
        *(case("n", "backprop, eager", 4.0), case("m", "backprop, eager", 2.0)),
        *(case("n", "backprop, compiled (default)", 1.0), case("m", "backprop, compiled (C++ wrapper)", 9.0)),
        *(case("n", of_mlp.THIS_ENGINE, 0.5), case("n, compiled", "backprop, eager", 6.0)),
    ]
    means = _geometric_means(cases)
    assert next(iter(means)) == "ours against the best backprop of torch"
    assert means["ours against the best backprop of torch"] == pytest.approx(2**0.5)  # 1 and 2
    assert means["ours, compiled against the best backprop of torch"] == 6
    assert means["ours against backprop, compiled"] == pytest.approx(3)  # 1 and 9, whatever the mode
    assert means["ours against backprop by this engine"] == 0.5


def test_the_memory_of_an_update_is_what_it_holds_at_once() -> None:
    def run() -> torch.Tensor:
        a = torch.ones(1000, 256)  # 1000 KiB
        b = a + 1
        del a
        b.mul_(2)  # in place: nothing new
        return b[0] + 1  # 1 KiB more

    torch.set_default_dtype(torch.float32)
    assert peak_mib(run, torch.device("cpu")) == pytest.approx(2000 / 1024)


def test_bench_rnn_online_has_time_and_memory_and_names_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_rnn, "alternate", partial(alternate, seconds=0))
    monkeypatch.setattr("seqlra.bench.timing.matmul_rate", lambda _: 1e9)
    sizes = ("--hidden", "9", "--streams", "3", "--unroll", "4", "--symbols", "5")
    rtrl, uoro, rflo = printed("rnn", "--online", "--rules", "rtrl,uoro,rflo", *sizes)["cases"]  # type: ignore[misc]
    assert rflo["case"] == "rflo, 9 units"
    assert rtrl["ours_mib"] > uoro["ours_mib"] > rflo["ours_mib"] > 0
    assert of_rnn.trace_operations("rtrl", 128, 64 * 50, 65) > of_rnn.MOST
    monkeypatch.setattr(of_rnn, "MOST", 10)
    small = " ".join(("--rules rtrl", *sizes))
    refused = {f"--online {small}": "too large", "--online --rules no": "unknown rule", "--rules rflo": "give that"}
    refused["--online --compiled"] = "goes without"
    for line, words in refused.items():
        with pytest.raises(SeqlraError, match=words):
            CliRunner().invoke(app, ["bench", "rnn", *line.split()], catch_exceptions=False)


def printed(*arguments: str) -> dict[str, object]:
    torch.set_default_dtype(torch.float32)
    done = CliRunner().invoke(
        app, ["bench", *arguments, "--rounds", "1", "--threads", "1", "--json"], catch_exceptions=False
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_bench_mlp_reports_each_rival_and_their_means() -> None:
    told = printed("mlp", "--net", "9,7@5", "--net", "8x2@4", "--no-compiled", "--optimizer", "sgd")
    assert [case["case"] for case in told["cases"]][:2] == ["9x7, batch 5, sgd", "2x8, batch 4, sgd"]  # type: ignore[attr-defined]
    assert "backprop by this engine" in {case["rival"] for case in told["cases"]}  # type: ignore[attr-defined]
    assert {"ours against backprop, eager", "ours against backprop, eager, fused optimizer"} <= set(
        told["geometric_means"]
    )  # type: ignore[call-overload]
    assert told.keys() >= {"device", "threads", "versions", "gflops_limit"}
    for case in told["cases"]:  # type: ignore[attr-defined]
        assert case["ratio_low"] <= case["ratio"] <= case["ratio_high"]
        assert case["of_limit"] > 0


def test_bench_fit_reports_whole_trainings() -> None:
    told = printed("fit", "--net", "9,7@5", "--images", "20", "--epochs", "2")
    (case,) = told["cases"]  # type: ignore[misc]
    assert case["case"] == "9x7, batch 5, 2 epochs of 20 images"  # type: ignore[index]
    assert case["ratio"] > 0  # type: ignore[index]


def test_bench_stack_reports_both_kinds_of_data() -> None:
    told = printed("stack", "--models", "3", "--hidden", "9,7", "--batch", "5", "--no-compiled")
    assert ["a stream each" in case["case"] for case in told["cases"]] == [True, False]  # type: ignore[attr-defined]


@pytest.mark.parametrize("net", ["128x8", "x@5", "9@", "9@0", "9@-1"])
def test_a_network_that_cannot_be_read_is_reported(net: str) -> None:
    with pytest.raises(SeqlraError, match="cannot read"):
        CliRunner().invoke(app, ["bench", "mlp", "--net", net], catch_exceptions=False)


def test_an_optimizer_without_rival_is_reported() -> None:
    with pytest.raises(SeqlraError, match="known: sgd, adam"):
        CliRunner().invoke(app, ["bench", "mlp", "--optimizer", "rmsprop"], catch_exceptions=False)


def test_a_cuda_graph_is_no_rival_on_the_cpu() -> None:
    assert not of_mlp.available("backprop, CUDA graph", torch.device("cpu"))
    assert of_mlp.available("backprop, eager", torch.device("cpu"))
