"""Figure 6: t-SNE of the latent layers of the sparse rectifier network, trained by backprop and by LRA-fdbk."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from seqlra.analysis.plotting import save_figure
from seqlra.errors import SeqlraError, first_line
from seqlra.files import write_atomically
from seqlra.network.forward import ForwardPass
from seqlra.network.graph import Graph
from seqlra.paper.cells import Cell, Scale
from seqlra.paper.exhibit import Entry, Exhibit, Page, what_ran
from seqlra.paper.panels import Row, not_run
from seqlra.paper.reproduction import Found, Reproduction
from seqlra.paper.table2 import cell
from seqlra.tasks.classification import Classification
from seqlra.training.loading import load_best
from seqlra.training.run_directory import RunDirectory

DATA = "fashion_mnist"
CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
)  # fmt: skip
"""What the labels 0 to 9 of Fashion MNIST mean."""

NEIGHBORS = 5
FEW = 2_000
"""Test images that are laid out after runs shorter than the paper's; after those, all of them."""

LRA = cell("relu6", DATA)
# zero weights, from which Table 2 has LRA start, leave backprop without a gradient
BACKPROP = Cell(
    f"{DATA}-3x800-relu6-backprop", {**LRA.options, "rule": "backprop", "weight_init": "fan-in"}, epochs=LRA.epochs
)
CELLS = {"backprop": BACKPROP, "LRA-fdbk": LRA}
"""By their words in the picture, from above."""


@dataclass(frozen=True)
class Latent:
    """The latent layers of a run, laid out.

    Attributes:
        places: for each layer where its images are in the plane, ``(layers, images, 2)``.
        classes: of the images, ``(images,)``.
        right: for each layer the share of images, in percent, for which most nearest neighbors have the same class.
    """

    places: NDArray[np.float32]
    classes: NDArray[np.int64]
    right: NDArray[np.float64]

    @staticmethod
    def read(path: Path) -> Latent:
        """Read what `write` wrote.

        Raises:
            SeqlraError: it is damaged.
        """
        try:
            with np.load(path) as held:
                return Latent(held["places"], held["classes"], held["right"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise SeqlraError(f"{path} is damaged ({first_line(error)}); remove it to make it again") from error

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""

        def put(temporary: Path) -> None:
            with temporary.open("wb") as file:  # given a name, numpy would add its own ending
                np.savez_compressed(file, **vars(self))

        write_atomically(path, put)


@torch.no_grad()
def hidden_layers(graph: Graph, x: Tensor) -> list[NDArray[np.float32]]:
    """The output of each hidden layer for images ``(n, pixels)``: ``(n, units)``."""
    activity = ForwardPass(graph, x)
    hidden = (i for i, layer in enumerate(graph.layers) if not layer.subgraph.is_output)
    return [activity.output(i).float().cpu().numpy() for i in hidden]


def lay_out(layers: Sequence[NDArray[np.float32]], classes: NDArray[np.int64], threads: int) -> Latent:
    """Each layer by Barnes-Hut t-SNE (van der Maaten 2013) in the plane, and how well its classes are separated."""
    # they take a second to import, and only this figure needs them
    from sklearn.manifold import TSNE
    from sklearn.neighbors import KNeighborsClassifier
    from threadpoolctl import threadpool_limits

    places, right = [], []
    with threadpool_limits(threads):  # more than there are cores for wait for each other most of the time
        for z in layers:
            perplexity = min(30.0, (len(z) - 1) / 3)
            places.append(TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(z))
            neighbors = KNeighborsClassifier(NEIGHBORS).fit(z, classes)
            right.append(100 * np.mean(neighbors.predict(None) == classes))  # no image is its own neighbor
    return Latent(np.stack(places), classes, np.array(right))


class Figure6(Exhibit):
    """A panel for each latent layer, backprop above and LRA-fdbk below; one dot a test image, in its class's color."""

    name = "figure6"
    title = "t-SNE of the latent layers of the sparse rectifier network (Section 3.3), Fashion MNIST"
    quick = Scale(epochs=2)
    paper = Scale(epochs=100)

    def cells(self) -> list[Cell]:
        """LRA-fdbk's, which is one of Table 2, first."""
        return list(reversed(CELLS.values()))

    def measure(self, reproduction: Reproduction, cells: Sequence[Cell]) -> None:
        """Lay out the latent layers of the first seed's runs."""
        for each in cells:
            run = self._run(reproduction, each)
            if run is not None and not (path := self._kept(reproduction, each, run)).exists():
                machine = reproduction.machine
                data = Path(machine.data_dir) if machine.data_dir else None
                experiment = load_best(run, machine.device, data)
                assert isinstance(experiment.task, Classification)
                images, many = experiment.task.images.test, self._images(reproduction, each)
                layers = hidden_layers(experiment.graph, images.x[:many])
                lay_out(layers, images.t[:many].cpu().numpy(), machine.threads).write(path)

    def page(self, reproduction: Reproduction) -> Page | None:
        """How well each layer separates the classes: a number for what the picture shows."""
        known = self._latent(reproduction)
        if not known:
            return None
        layers = len(next(iter(known.values())).right)
        header = ("", *(f"layer {nth}" for nth in range(1, layers + 1)), "test error", "images")
        rows: list[Row] = [header]
        entries: list[Entry] = []
        founds = [found for label in known if (found := reproduction.found(CELLS[label]))]
        for (label, latent), found in zip(known.items(), founds, strict=True):
            own = [
                Entry(f"{label}, layer {nth}", (float(right),), None, found.epochs)
                for nth, right in enumerate(latent.right, start=1)
            ]
            own.append(Entry(f"{label}, test error", (found.outcomes[0]["test_error"],), None, found.epochs))
            rows.append((label, *(entry.summary() for entry in own), f"{len(latent.classes):,}"))
            entries += own
        return Page(rows, entries, [NOTE, *not_run(reproduction, self.cells()), what_ran(founds)])

    def draw(self, reproduction: Reproduction, path: Path) -> bool:
        """See the class."""
        known = self._latent(reproduction)
        if not known:
            return False
        columns = max(len(latent.right) for latent in known.values())
        figure = Figure(figsize=(4.4 * columns, 0.9 + 4.4 * len(known)), layout="constrained")
        figure.suptitle("t-SNE of the latent layers: three layers of 800 relu6 units, test images of Fashion MNIST")
        places = figure.subplots(len(known), columns, squeeze=False)
        for (label, latent), row in zip(known.items(), places, strict=True):
            for nth, axes in enumerate(row):
                _draw_layer(axes, latent, nth)
            row[0].set_ylabel(label, fontsize="x-large")
        handles, labels = places[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, markerscale=5, frameon=False)
        save_figure(figure, path)
        return True

    def _run(self, reproduction: Reproduction, cell: Cell) -> RunDirectory | None:
        """The run that is laid out: that of the first seed, if it did not diverge."""
        found = reproduction.found(cell)
        return found.runs[0] if found and found.runs[0].result.exists() else None

    def _images(self, reproduction: Reproduction, cell: Cell) -> int | None:
        """How many test images are laid out; None: all."""
        found: Found | None = reproduction.found(cell)
        return FEW if found is None or found.epochs < self.paper.epochs else None

    def _kept(self, reproduction: Reproduction, cell: Cell, run: RunDirectory) -> Path:
        """The file of the measurements of a run, in its folder."""
        return run.path / f"latent-{self._images(reproduction, cell) or 'all'}.npz"

    def _latent(self, reproduction: Reproduction) -> dict[str, Latent]:
        """What has been measured, by its words in the picture."""
        known = {}
        for label, each in CELLS.items():
            run = self._run(reproduction, each)
            if run is not None and (path := self._kept(reproduction, each, run)).exists():
                known[label] = Latent.read(path)
        return known


def _draw_layer(axes: Axes, latent: Latent, nth: int) -> None:
    for number, name in enumerate(CLASSES):
        x, y = latent.places[nth][latent.classes == number].T
        size = 4000 / len(latent.classes) ** 0.9
        axes.scatter(x, y, s=size, color=f"C{number}", label=name, linewidths=0)
    axes.set(xticks=[], yticks=[])
    axes.set_title(f"layer {nth + 1}: {latent.right[nth]:.1f}% by {NEIGHBORS} neighbors")


NOTE = (
    f"For each latent layer the share of test images, in percent, whose {NEIGHBORS} nearest neighbors in that layer "
    "(not in the picture) have mostly its class. The paper prints no figures here; it says that LRA-fdbk has "
    "representations that separate the classes properly. Its network starts from zero weights; backprop's, which "
    "cannot learn from those, from uniform fan-in weights (eq. 5)."
)
