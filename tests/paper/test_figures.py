"""Figures 2 to 7 of the paper. Oracles: rows of metrics that are written here, networks worked out by hand, clusters
whose classes are known, and the engine's own forward pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import idx_bytes
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from seqlra import Graph, initialize, mlp
from seqlra.analysis import plotting
from seqlra.errors import SeqlraError
from seqlra.paper import figure2, figure3, figure4, figure5, figure6, figure7, panels, table1, table4
from seqlra.paper.cells import Cell, Machine
from seqlra.paper.exhibit import Exhibit, write
from seqlra.paper.figure6 import Latent, lay_out
from seqlra.paper.reproduction import Reproduction
from seqlra.training import checkpoint
from seqlra.training.experiment import learner

pytestmark = pytest.mark.draws

FIGURES: list[Exhibit] = [
    figure2.Figure2(), figure3.Figure3(), figure4.Figure4(), figure5.Figure5(), figure6.Figure6(), figure7.Figure7()
]  # fmt: skip
FIGURE2, FIGURE3, FIGURE4, FIGURE5, FIGURE6, FIGURE7 = FIGURES
MACHINE = Machine("cpu", 1)
RESULT = {"train_seconds": 1.0, "device": "cpu", "threads": 1, "versions": {"seqlra": "0"}, "test_error": 12.5}


@pytest.fixture
def store(tmp_path: Path) -> Reproduction:
    """An empty folder of the paper's runs."""
    return Reproduction(tmp_path, MACHINE)


def put(store: Reproduction, cell: Cell, rows: Sequence[dict[str, Any]], seed: int = 0, **result: Any) -> Path:
    """A run of a cell that is done, with these rows of metrics, one an epoch."""
    path = store.path / f"{cell.name}-{len(rows)}ep-seed{seed}"
    path.mkdir()
    shown = [{"epoch": nth, "step": 1000 * nth, **row} for nth, row in enumerate(rows, start=1)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shown))
    (path / "result.json").write_text(json.dumps({**RESULT, **result}))
    return path


def errors(*values: float) -> list[dict[str, float]]:
    return [{"valid_error": value} for value in values]


def panel(figure: Figure, title: str) -> Axes:
    """The panel of that title."""
    (found,) = (axes for axes in figure.axes if axes.get_title() == title)
    return found


def by_label(axes: Axes) -> dict[str, Any]:
    """The lines of a panel by their words in the legend."""
    return {line.get_label(): line for line in axes.lines}


def at_marks(line: Any) -> np.ndarray:
    """The points of a line that have a mark."""
    return line.get_xydata()[line.get_markevery()]


def drawn(
    exhibit: Exhibit, store: Reproduction, monkeypatch: pytest.MonkeyPatch, module: Any = panels
) -> tuple[Figure, bytes]:
    """What an exhibit draws, as matplotlib has it and as a picture."""
    figures: list[Figure] = []

    def keep(figure: Figure, path: Path) -> None:
        figures.append(figure)
        plotting.save_figure(figure, path)

    monkeypatch.setattr(module, "save_figure", keep)
    path = store.path / "drawn.png"
    assert exhibit.draw(store, path)
    assert imread(path).shape[-1] == 4
    return figures[-1], path.read_bytes()


# -- of all ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exhibit", FIGURES, ids=lambda exhibit: exhibit.name)
def test_with_nothing_trained_there_is_no_page_and_no_picture(exhibit: Exhibit, store: Reproduction) -> None:
    exhibit.measure(store, exhibit.cells())
    assert write(exhibit, store) is None
    assert not exhibit.draw(store, store.path / "picture.png")
    assert list(store.path.iterdir()) == []


@pytest.mark.parametrize("exhibit", FIGURES, ids=lambda exhibit: exhibit.name)
def test_every_cell_is_a_configuration_of_its_own(exhibit: Exhibit) -> None:
    cells = exhibit.cells()
    assert len({cell.name for cell in cells}) == len(cells)
    configs = [cell.config(1, 0, MACHINE) for cell in cells]
    assert len({json.dumps(config.to_dict()) for config in configs}) == len(cells)
    for config in configs:
        learner(config)  # its rule knows all its settings


def test_a_run_of_the_reproduction_gives_page_and_picture(store: Reproduction) -> None:
    put(store, figure2.fdbk("mnist", 1.0), errors(9.0, 8.0))
    page = write(FIGURE2, store)
    assert page is not None
    assert imread(store.path / "figure2.png").size
    text = (store.path / "figure2.md").read_text()
    assert "| MNIST, LRA-fdbk | sd = 1 | **9.00** | **8.00** |" in text
    assert "![" in text
    written = json.loads((store.path / "figure2.json").read_text())
    assert [entry["mean"] for entry in written["entries"]] == [9.0, 8.0]


# -- Figure 2 ----------------------------------------------------------------------------------------------------------


def test_figure_2_is_run_with_the_settings_of_section_3_1() -> None:
    configs = {cell.name: cell.config(2, 0, MACHINE) for cell in FIGURE2.cells()}
    assert len(configs) == 2 * (4 + 4)
    for config in configs.values():
        net, rule, optimization = config.network, config.rule, config.optimization
        assert (net.hidden, net.activation, net.weight_init, net.loss) == ((64,) * 3, "tanh", "fan-in", "log-penalty")
        assert (optimization.optimizer, optimization.lr, optimization.batch_size) == ("sgd", 0.01, 50)
        assert (rule["beta"], rule["c1"], rule["c2"], rule["reduction"]) == (0.1, 10.0, 3.0, "sum")
    for data in ("mnist", "fashion_mnist"):
        own = [config for config in configs.values() if config.data.dataset == data]
        assert sorted(c.rule["steps"] for c in own if c.rule["name"] == "lra-diff") == [5, 10, 30, 50]
        stds = [c.network.feedback_std for c in own if c.rule["name"] == "lra-fdbk"]
        assert sorted(stds) == [1.0, 1.25, 1.5, 2.0]
    assert FIGURE2.cells()[-1].rule == {"steps": 50}  # what costs most comes last


def test_curves_are_the_rows_of_the_metrics_and_keep_their_colors(
    store: Reproduction, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, figure2.diff("mnist", 10), errors(9.0, 7.0, 6.5))
    put(store, figure2.fdbk("fashion_mnist", 2.0), errors(20.0, 18.0, 17.0))
    put(store, figure2.fdbk("fashion_mnist", 2.0), errors(22.0, 19.0, 17.0), seed=1)
    figure, first = drawn(FIGURE2, store, monkeypatch)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["MNIST, LRA-diff", "MNIST, LRA-fdbk", "Fashion MNIST, LRA-diff", "Fashion MNIST, LRA-fdbk"]
    assert [len(axes.lines) for axes in figure.axes] == [1, 0, 0, 1]  # what is missing is left out
    assert at_marks(by_label(figure.axes[0])["K = 10"]).tolist() == [[1, 9.0], [2, 7.0], [3, 6.5]]
    line = by_label(figure.axes[3])["sd = 2"]
    assert at_marks(line).tolist() == [[1, 21.0], [2, 18.5], [3, 17.0]]  # means over the seeds
    alone = line.get_color()
    put(store, figure2.fdbk("fashion_mnist", 1.0), errors(20.0, 18.0, 17.0))
    figure, second = drawn(FIGURE2, store, monkeypatch)
    lines = by_label(figure.axes[3])
    assert lines["sd = 2"].get_color() == alone != lines["sd = 1"].get_color()
    assert first != second


def test_the_page_has_the_epochs_that_were_reached_and_names_what_is_missing(store: Reproduction) -> None:
    put(store, figure2.diff("mnist", 5), errors(9.0))
    put(store, figure2.fdbk("mnist", 1.0), errors(8.0, 7.0))
    page = FIGURE2.page(store)
    assert page is not None
    assert page.rows == [
        ("", "", "epoch 1", "epoch 2"),
        ("MNIST, LRA-diff", "K = 5", "**9.00**", "-"),
        ("MNIST, LRA-fdbk", "sd = 1", "**8.00**", "**7.00**"),
    ]
    (missing,) = (note for note in page.notes if note.startswith("Not run yet"))
    names = missing.removeprefix("Not run yet: ").removesuffix(".").split(", ")
    assert len(names) == 14
    assert figure2.diff("mnist", 5).name not in names
    assert figure2.diff("mnist", 50).name in names


def test_a_run_that_diverged_at_once_does_no_harm(store: Reproduction, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, figure2.diff("mnist", 5), errors(9.0, 8.0))
    run = put(store, figure2.diff("mnist", 10), errors(9.0, 8.0))
    (run / "metrics.jsonl").write_text("")
    (run / "result.json").rename(run / "failed.json")
    figure, _ = drawn(FIGURE2, store, monkeypatch)
    assert "K = 5" in by_label(figure.axes[0])
    page = FIGURE2.page(store)
    assert page is not None
    assert ("MNIST, LRA-diff", "K = 10", "-", "-") in page.rows


# -- Figure 3 ----------------------------------------------------------------------------------------------------------


def test_a_linearized_filter_is_what_a_unit_without_nonlinearity_computes() -> None:
    graph = Graph(mlp(6, [5, 4, 3], 2, "identity"))
    initialize(graph, 1, "gaussian", std=0.6)
    seen = figure3.linearized(graph.state_dict())
    x = torch.randn(7, 6)
    by_hand = ((x @ graph.weights["W1"]) @ graph.weights["W2"]) @ graph.weights["W3"]
    assert torch.allclose(x @ seen, by_hand)
    assert torch.allclose(x @ seen, torch.as_tensor(figure6.hidden_layers(graph, x)[2]).double(), atol=1e-6)
    assert figure3.linearized(graph.state_dict(), 1).equal(graph.weights["W1"])


def weights_of(*matrices: torch.Tensor) -> dict[str, Any]:
    named = {f"weights.W{nth}": matrix for nth, matrix in enumerate(matrices, start=1)}
    return {"best": {"weights": named}}


def test_tiles_show_each_unit_upright_and_scaled(store: Reproduction, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randn(5, 4, 4)  # what each of five units should be shown as
    path = put(store, figure3.CELLS["LRA-fdbk"], errors(20.0))
    checkpoint.save(path / "checkpoint.pt", weights_of(images.flatten(1).T, torch.eye(5), torch.eye(5)))
    figure, _ = drawn(FIGURE3, store, monkeypatch, figure3)
    (axes,) = figure.axes
    assert axes.get_title() == "(a) LRA-fdbk"
    canvas = axes.images[0].get_array()
    assert canvas.shape == (2 * 5 + 1, 3 * 5 + 1)
    for unit, (top, left) in {0: (1, 1), 1: (1, 6), 3: (6, 1)}.items():
        wanted = images[unit] / images[unit].abs().max()
        assert np.allclose(canvas[top : top + 4, left : left + 4], wanted)


def test_smoothness_is_higher_for_a_slope_than_for_noise() -> None:
    slope = np.add.outer(np.arange(28.0), 2 * np.arange(28.0))
    noise = np.random.default_rng(0).normal(size=(3, 28, 28))
    assert figure3.smoothness(np.stack([slope, -slope]).astype(np.float32)) > 0.99
    assert abs(figure3.smoothness(noise.astype(np.float32))) < 0.05
    stripes = np.tile([[1.0, -1.0]], (28, 14))  # right neighbors all opposite, those below all alike
    assert figure3.smoothness(stripes[None].astype(np.float32)) == pytest.approx(0, abs=0.01)


def test_figure_3_has_networks_of_one_epoch_whatever_is_longer(store: Reproduction) -> None:
    cell = figure3.CELLS["LRA-fdbk"]
    assert all(cell.epochs == 1 for cell in FIGURE3.cells())
    path = put(store, cell, errors(20.0), test_error=21.0)
    longer = put(store, cell, errors(20.0, 19.0), test_error=19.0)
    for each in (path, longer):
        flat = torch.randn(16, 2)
        checkpoint.save(each / "checkpoint.pt", weights_of(flat, torch.eye(2), torch.eye(2)))
    page = FIGURE3.page(store)
    assert page is not None
    assert {entry.name: entry.mean for entry in page.entries}["LRA-fdbk, test error"] == 21.0


# -- Figure 4 ----------------------------------------------------------------------------------------------------------


def test_figure_4_shares_its_cells_with_table_1(store: Reproduction, monkeypatch: pytest.MonkeyPatch) -> None:
    of_table = {cell.name: cell for cell in table1.Table1().cells()}
    cells = FIGURE4.cells()
    assert len(cells) == 2 * 2 * 5
    assert all(of_table[cell.name] == cell for cell in cells)
    assert all(cell.options["weight_std"] == 0.025 for cell in cells)
    assert (FIGURE4.quick, FIGURE4.paper) == (table1.Table1.quick, table1.Table1.paper)
    for nth, (data, unit) in enumerate(
        [("mnist", "sigmoid"), ("fashion_mnist", "sigmoid"), ("mnist", "tanh"), ("fashion_mnist", "tanh")]
    ):
        put(store, table1.cell(data, unit, "dfa", 0.025), errors(80.0 + nth, 8.0 + nth))
    figure, _ = drawn(FIGURE4, store, monkeypatch)
    assert [axes.get_title() for axes in figure.axes] == [
        "MNIST, sigmoid", "Fashion MNIST, sigmoid", "MNIST, tanh", "Fashion MNIST, tanh"
    ]  # fmt: skip
    for nth, axes in enumerate(figure.axes):
        x, y = by_label(axes)["DFA"].get_data()
        assert y[x == 1] == pytest.approx(80.0 + nth)
        assert y[x == 2] == pytest.approx(8.0 + nth)


def test_figure_4_sets_ten_epochs_of_lra_beside_what_the_paper_says_of_them(store: Reproduction) -> None:
    put(store, table1.cell("mnist", "tanh", "lra-fdbk", 0.025), errors(*(15.0 - nth for nth in range(10))))
    put(store, table1.cell("mnist", "tanh", "dfa", 0.025), errors(*(25.0 - nth for nth in range(10))))
    page = FIGURE4.page(store)
    assert page is not None
    papers = {entry.name: (entry.mean, entry.paper) for entry in page.entries}
    assert papers["MNIST, tanh, LRA-fdbk, epoch 10"] == (6.0, 5.0)
    assert papers["MNIST, tanh, LRA-fdbk, epoch 3"] == (13.0, None)
    assert papers["MNIST, tanh, DFA, epoch 10"] == (16.0, None)


# -- Figure 5 ----------------------------------------------------------------------------------------------------------


def test_depth_by_epoch_beside_backprop_and_beside_the_pass_that_never_stops(
    store: Reproduction, monkeypatch: pytest.MonkeyPatch
) -> None:
    halts, whole = figure5.halting("mnist", "tanh"), figure5.whole("mnist", "tanh")
    put(store, halts, [{"depth": 9.0}, {"depth": 6.0}, {"depth": 1.5}], test_error=7.0)
    put(store, whole, [{"depth": 9.0}], test_error=6.0)
    figure, _ = drawn(FIGURE5, store, monkeypatch)
    axes = panel(figure, "MNIST")
    lines = by_label(axes)
    assert at_marks(lines["LRA-fdbk, tanh"]).tolist() == [[1, 9.0], [2, 6.0], [3, 1.5]]
    assert list(lines["backprop: always 9"].get_ydata()) == [9, 9]
    page = FIGURE5.page(store)
    assert page is not None
    figures = {entry.name.removeprefix("MNIST, LRA-fdbk, tanh, "): entry.mean for entry in page.entries}
    assert figures == {
        "depth in epoch 1": 9.0,
        "depth in the last epoch": 1.5,
        "mean depth": 5.5,
        "test error": 7.0,
        "test error where the walk never stops": 6.0,
    }
    assert page.rows[1][-4:] == ("**7.00**", "3", "**6.00**", "1")
    put(store, whole, [{"depth": 9.0}] * 3, test_error=5.0)
    put(store, whole, [{"depth": 9.0}] * 4, test_error=4.0)
    page = FIGURE5.page(store)  # as long as the one that stops goes before longer
    assert page is not None
    assert page.rows[1][-4:] == ("**7.00**", "3", "**5.00**", "3")


def test_what_stops_differs_from_table_1_in_the_threshold_alone() -> None:
    for cell in FIGURE5.cells():
        whole = figure5.WHOLE[cell.name]
        assert whole.name in {other.name for other in table1.Table1().cells()}
        assert replace(cell, name=whole.name, rule=whole.rule) == whole
        assert dict(cell.rule) == {**whole.rule, **figure5.HALTING}
        one, other = cell.config(1, 0, MACHINE), whole.config(1, 0, MACHINE)
        assert len(other.network.hidden) + 1 == figure5.DEPTH
        assert learner(one).halts
        assert not learner(other).halts


# -- Figure 6 ----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_neighbors_keep_clusters_apart_and_no_image_is_its_own_neighbor() -> None:
    draw = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], 15)
    apart = draw.normal(size=(45, 8)).astype(np.float32) + 50 * np.eye(8, dtype=np.float32)[classes]
    mixed = draw.normal(size=(45, 4)).astype(np.float32)
    found = lay_out([apart, mixed], classes, 1)
    assert found.places.shape == (2, 45, 2)
    assert found.right[0] == 100.0
    assert found.right[1] < 70.0
    middles = np.stack([found.places[0][classes == number].mean(0) for number in range(3)])
    to_middles = np.linalg.norm(found.places[0][:, None] - middles, axis=-1)
    assert (to_middles.argmin(-1) == classes).all()  # neighbors stay neighbors in the plane
    alone = np.arange(45)
    assert lay_out([mixed], alone, 1).right[0] == 0.0


def test_images_are_laid_out_in_as_many_threads_as_the_machine_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn.manifold
    from threadpoolctl import threadpool_info

    shown: list[set[int]] = []

    class Asking(sklearn.manifold.TSNE):
        """t-SNE that notes how many threads it has."""

        def fit_transform(self, X: np.ndarray, y: None = None) -> np.ndarray:
            shown.append({pool["num_threads"] for pool in threadpool_info()})
            return X[:, :2]

    monkeypatch.setattr(sklearn.manifold, "TSNE", Asking)
    for threads in (1, 2):
        lay_out([np.eye(12, dtype=np.float32)], np.repeat([0, 1], 6), threads)
    assert shown == [{1}, {2}]


def as_they_are(layers: Sequence[np.ndarray], classes: np.ndarray, threads: int) -> Latent:
    """The first two units of each layer in place of t-SNE, which takes its time."""
    return Latent(np.stack([z[:, :2] for z in layers]), classes, np.array([50.0] * len(layers)))


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reproduction:
    """A small network of each of Figure 6's rules, trained for two epochs on noise."""
    torch.set_default_dtype(torch.float32)
    draw, folder = np.random.default_rng(0), tmp_path / "data" / "fashion_mnist"
    folder.mkdir(parents=True)
    for part, count in (("train", 60), ("t10k", 50)):
        images = draw.integers(0, 256, (count, 5, 5), dtype=np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(count, dtype=np.uint8) % 10))
    small = {"hidden": (7, 6), "valid": 10}
    cells = {label: replace(cell, options={**cell.options, **small}) for label, cell in figure6.CELLS.items()}
    monkeypatch.setattr(figure6, "CELLS", cells)
    monkeypatch.setattr(figure6, "FEW", 40)
    store = Reproduction(tmp_path / "runs", replace(MACHINE, data_dir=str(tmp_path / "data")))
    for group in store.groups(FIGURE6.cells(), FIGURE6.quick):
        for members in store.left(group.name, group.specs):
            store.train(group.name, members, Quiet)
    return store


class Quiet:
    """Shows no progress."""

    def __init__(self, members: object) -> None:
        pass

    def __enter__(self) -> Callable[[object], None]:
        return lambda trainer: None

    def __exit__(self, *_: object) -> None:
        pass


def test_latent_layers_are_laid_out_once_and_stored_with_the_run(
    trained: Reproduction, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out: list[list[np.ndarray]] = []

    def count(layers: list[np.ndarray], classes: np.ndarray, threads: int) -> Latent:
        laid_out.append([*layers, classes])
        return as_they_are(layers, classes, threads)

    monkeypatch.setattr(figure6, "lay_out", count)
    assert FIGURE6.page(trained) is None  # trained, but not measured
    cells = FIGURE6.cells()
    FIGURE6.measure(trained, cells[:1])
    assert len(laid_out) == 1
    figure, alone = drawn(FIGURE6, trained, monkeypatch, figure6)
    assert len(figure.axes) == 2  # two layers of LRA-fdbk
    FIGURE6.measure(trained, cells)
    FIGURE6.measure(trained, cells)
    assert len(laid_out) == 2
    for z1, z2, classes in laid_out:
        assert (z1.shape, z2.shape, classes.tolist()) == ((40, 7), (40, 6), [nth % 10 for nth in range(40)])
    page = FIGURE6.page(trained)
    assert page is not None
    assert [row[0] for row in page.rows] == ["", "backprop", "LRA-fdbk"]
    assert page.rows[1][-1] == "40"
    figure, both = drawn(FIGURE6, trained, monkeypatch, figure6)
    assert len(figure.axes) == 4
    assert [axes.get_ylabel() for axes in figure.axes] == ["backprop", "", "LRA-fdbk", ""]
    assert both != alone
    path = trained.path / f"{figure6.CELLS['LRA-fdbk'].name}-2ep-seed0" / "latent-40.npz"
    _, second, classes = laid_out[0]
    dots = figure.axes[3].collections[2].get_offsets()  # LRA-fdbk, the second layer, class 2
    assert np.allclose(dots, second[classes == 2, :2])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SeqlraError, match="is damaged"):
        FIGURE6.page(trained)


def test_the_hidden_layers_are_those_that_lead_to_the_output() -> None:
    torch.set_default_dtype(torch.float32)
    graph = initialize(Graph(mlp(6, [5, 4], 3, "tanh")), 0)
    x = torch.randn(9, 6)
    first, second = figure6.hidden_layers(graph, x)
    z1 = torch.tanh(x @ graph.weights["W1"] + graph.biases["b1"])
    assert np.allclose(first, z1.detach(), atol=1e-6)
    answer = torch.softmax(torch.from_numpy(second) @ graph.weights["W3"] + graph.biases["b3"], -1)
    assert torch.allclose(answer, graph(x), atol=1e-6)


def test_after_as_many_epochs_as_the_paper_all_images_are_laid_out(
    trained: Reproduction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure6, "lay_out", as_they_are)
    monkeypatch.setattr(figure6.Figure6, "paper", replace(FIGURE6.paper, epochs=2))
    FIGURE6.measure(trained, FIGURE6.cells())
    page = FIGURE6.page(trained)
    assert page is not None
    assert [row[-1] for row in page.rows] == ["images", "50", "50"]


# -- Figure 7 ----------------------------------------------------------------------------------------------------------


def angles(*values: float | None) -> list[dict[str, Any]]:
    return [{"angle": value, "angle_layers": {"layer1": value, "output": 0.0}} for value in values]


def test_angles_stand_where_they_were_measured_beside_those_of_the_paper(
    store: Reproduction, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [cell.name for cell in FIGURE7.cells()] == [table4.cell("lra", "pretrained").name]
    assert FIGURE7.cells()[0].config(1, 0, MACHINE).diagnose == 1000
    put(store, figure7.CELL, angles(80.0, 60.0, 50.0))
    put(store, figure7.CELL, angles(84.0, 62.0, 52.0), seed=1)
    figure, first = drawn(FIGURE7, store, monkeypatch, figure7)
    (axes,) = figure.axes
    lines = by_label(axes)
    ours = lines["LRA-fdbk against backprop, whole network"]
    assert ours.get_xydata().tolist() == [[0, 82.0], [1000, 61.0], [2000, 51.0]]
    assert {line.get_ydata()[0] for line in axes.lines if line is not ours} == {90.0, 38.0, 10.0}
    page = FIGURE7.page(store)
    assert page is not None
    shown = {entry.name: (entry.mean, entry.paper) for entry in page.entries}
    assert shown["angle at first"] == (82.0, 10.0)
    assert shown["angle at last"] == (51.0, 38.0)
    assert shown["greatest angle"] == (82.0, None)
    assert shown["layer1 at last"] == (51.0, None)
    put(store, figure7.CELL, angles(80.0, 60.0, 20.0), seed=2)
    assert drawn(FIGURE7, store, monkeypatch, figure7)[1] != first
