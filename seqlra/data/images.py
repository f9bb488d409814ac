"""Image classification: a dataset as one tensor of pixels on the device, split in three."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlra.data import hub
from seqlra.data.idx import read_idx, write_idx
from seqlra.data.sources import embedded, from_hub, local_folder, new_folder
from seqlra.errors import SeqlraError, unknown

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"

IDX_FILES: dict[str, int] = {TRAIN_IMAGES: 3, TRAIN_LABELS: 1, TEST_IMAGES: 3, TEST_LABELS: 1}
"""The standard names, each with the number of its axes."""

Arrays = dict[str, NDArray[Any]]  # images (n, height, width) in uint8 and labels (n,), by the names of their files


@dataclass(frozen=True)
class ImageDataset:
    """Where the images are, unless a folder of IDX files is given, and how they are split.

    Attributes:
        about: one line for people.
        hub: its id on the Hub; there, the splits ``train`` and ``test`` have ``image`` and ``label``.
        embedded: its folder under ``data/``, for one that is shipped with seqlra; it goes before the Hub.
        classes: labels are 0 to ``classes - 1``.
        valid: how many training images are held out for validation by default.
    """

    about: str
    hub: str = ""
    embedded: str = ""
    classes: int = 10
    valid: int = 10_000


DATASETS: dict[str, ImageDataset] = {
    "mnist-sample": ImageDataset(
        "handwritten digits: 15,000 + 3,000 images of MNIST, shipped with seqlra (the default)",
        embedded="mnist_sample",
        valid=2_500,
    ),
    "mnist": ImageDataset("handwritten digits: 60,000 + 10,000 images", hub="ylecun/mnist"),
    "fashion_mnist": ImageDataset("clothes: 60,000 + 10,000 images", hub="zalando-datasets/fashion_mnist"),
}


@dataclass(frozen=True)
class Split:
    """Images ``x (n, pixels)``, float32 in [0, 1], and their classes ``t (n,)``, int64.

    Where each model of a stack has a split of its own, all pick from the same images: ``rows (stack, n)`` are the
    numbers of theirs among those of ``x`` and ``t``.
    """

    x: Tensor
    t: Tensor
    rows: Tensor | None = None

    def __len__(self) -> int:
        return self.t.shape[0] if self.rows is None else self.rows.shape[1]

    def take(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``(k, pixels)`` and classes ``(k,)`` of these numbers ``(k,)`` of the split; where each model has one
        of its own, both and ``numbers`` have a leading stack axis."""
        rows = numbers if self.rows is None else self.rows.gather(-1, numbers)
        return self._at(rows)

    def chunks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole split in its order, as `take` gives it, at most ``size`` images (of each model) at once."""
        if self.rows is None:
            return zip(self.x.split(size), self.t.split(size), strict=True)
        return (self._at(rows) for rows in self.rows.split(size, -1))

    def _at(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.x.index_select(0, rows.flatten()).unflatten(0, rows.shape), self.t[rows]


@dataclass(frozen=True)
class ImageTask:
    """A dataset on the device; ``source`` says where it came from: a folder, the Hub, or embedded.

    The three splits are views of one tensor ``(N, pixels)``, or pick from one. ``digest`` is a hash of all images and
    classes, however they are split.
    """

    name: str
    source: str
    train: Split
    valid: Split
    test: Split
    pixels: int
    classes: int
    height: int
    width: int
    digest: str = ""

    def part(self, split: str) -> Split:
        """The split "train", "valid" or "test"."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[split]


def load_images(
    dataset: str,
    data_dir: Path | None = None,
    seed: int | Sequence[int] = 0,
    device: torch.device | str = "cpu",
    valid: int | None = None,
    selection: hub.Selection = hub.WHOLE,
) -> ImageTask:
    """A dataset as tensors on the device.

    Args:
        dataset: one of `DATASETS`, or ``hf:owner/name``: any of the Hub with images and classes.
        data_dir: the folder that holds ``<dataset>/`` with the four `IDX_FILES`, each plain or ``.gz`` (the plain
            one wins). Without it, or where the dataset is embedded and there is no such folder: see `DATASETS`.
            Of ``hf:owner/name`` it holds ``owner/name/``, a copy of its files.
        seed: draws the validation split, the same on every device. Several seeds draw one for each model of a stack;
            the images are held once all the same.
        device: where the tensors live.
        valid: how many training images are the validation split; None for the dataset's own number; of one by
            its id, a tenth.
        selection: the columns of a dataset by its id.

    Raises:
        SeqlraError: an unknown dataset, files that are missing or do not fit together, too few images for the
            validation split, or a Hub that cannot be reached.
    """
    arrays, source, described = _read(dataset, data_dir, selection)
    images, labels = arrays[TRAIN_IMAGES], arrays[TRAIN_LABELS]
    count = described.valid if valid is None else valid
    if not 0 < count < len(images):
        raise SeqlraError(
            f"{count} images for validation cannot be drawn from the {len(images)} training images of {source}; "
            f"1 to {len(images) - 1} can"
        )
    drawn = [_drawn(len(images), count, each) for each in ([seed] if isinstance(seed, int) else seed)]
    # one model's training and validation images lie side by side; several models leave all in their order
    order = np.concatenate(drawn[0]) if isinstance(seed, int) else np.arange(len(images))
    pixels = np.concatenate([images[order], arrays[TEST_IMAGES]])
    classes = np.concatenate([labels[order], arrays[TEST_LABELS]])
    # divided on the CPU: a GPU multiplies by 1/255, and then its pixels would differ in the last bit
    x = torch.from_numpy(pixels).flatten(1).to(torch.float32).div_(255).to(device)
    t = torch.from_numpy(classes).to(torch.int64).to(device)
    sizes = [len(images) - count, count, len(arrays[TEST_IMAGES])]
    train, held, test = (Split(*views) for views in zip(x.split(sizes), t.split(sizes), strict=True))
    if not isinstance(seed, int):
        own = (torch.from_numpy(np.stack(numbers)).to(device) for numbers in zip(*drawn, strict=True))
        train, held = (Split(x, t, rows) for rows in own)
    height, width = images.shape[1:]
    about = (height * width, described.classes, height, width)
    return ImageTask(dataset, source, train, held, test, *about, digest_of(arrays[name] for name in IDX_FILES))


def digest_of(arrays: Iterable[NDArray[Any]]) -> str:
    """A short hash of the content of arrays, to tell whether data have changed."""
    found = hashlib.blake2b(digest_size=8)
    for array in arrays:
        found.update(np.ascontiguousarray(array).data.cast("B"))
    return found.hexdigest()


def _drawn(images: int, count: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The numbers of the images to train on, and of the ``count`` that are held out, each in ascending order."""
    drawn = torch.randperm(images, generator=torch.Generator().manual_seed(seed)).numpy()
    return np.sort(drawn[count:]), np.sort(drawn[:count])


def export_images(dataset: str, out: Path) -> Path:
    """Write a dataset, from the Hub or embedded, as four gzipped IDX files into ``out/<dataset>/``; return that.

    The folder appears when it is whole, or not at all.

    Raises:
        SeqlraError: an unknown dataset, a folder that is already there or cannot be written, or a Hub that
            cannot be reached.
    """
    folder = Path(out) / dataset
    with new_folder(folder) as whole:
        for name, array in _read(dataset, None, hub.WHOLE)[0].items():
            write_idx(whole / f"{name}.gz", array.astype(np.uint8))
    return folder


def read_folder(folder: Path) -> Arrays:
    """The arrays of the four `IDX_FILES` in a folder.

    Raises:
        SeqlraError: one of them is missing or broken.
    """
    return {name: read_idx(_plain_or_gz(folder / name), axes) for name, axes in IDX_FILES.items()}


def _read(dataset: str, data_dir: Path | None, selection: hub.Selection) -> tuple[Arrays, str, ImageDataset]:
    """The arrays of a dataset, checked, where they came from, and what they are."""
    if hub.is_on_hub(dataset):
        return _by_id(dataset, data_dir, selection)
    if dataset not in DATASETS:
        raise unknown("dataset", dataset, [*DATASETS, "hf:owner/name"])
    about = DATASETS[dataset]
    folder = local_folder(dataset, data_dir, bool(about.embedded), _offline_ways(dataset))
    if folder is not None:
        return _checked(read_folder(folder), str(folder), about), str(folder), about
    if about.embedded:
        arrays, source = read_folder(embedded(about.embedded)), "embedded"
    else:
        arrays, source = _from_hub(about.hub, dataset), f"Hub {about.hub}"
    return _checked(arrays, source, about), source, about


def _plain_or_gz(plain: Path) -> Path:
    packed = plain.with_name(f"{plain.name}.gz")
    if not plain.exists() and not packed.exists():
        raise SeqlraError(f"{plain.parent} holds neither {plain.name} nor {packed.name}")
    return plain if plain.exists() else packed


def _from_hub(hub_id: str, dataset: str) -> Arrays:
    """The splits ``train`` and ``test`` of a dataset on the Hub, under the names that their IDX files would have."""
    loaded = from_hub(hub_id, _offline_ways(dataset))
    for split in ("train", "test"):
        if split not in loaded or not {"image", "label"} <= set(loaded[split].column_names):
            raise SeqlraError(f"{hub_id} has no split {split!r} with the columns 'image' and 'label'")
    return _as_files(hub.images(loaded, hub_id, hub.Selection("image", "label"))[0])


def _by_id(dataset: str, data_dir: Path | None, selection: hub.Selection) -> tuple[Arrays, str, ImageDataset]:
    """A dataset by its id on the Hub, as of `_read`."""
    loaded, source = hub.load_splits(dataset, data_dir, selection)
    found, classes = hub.images(loaded, source, selection)
    about = ImageDataset(f"images of {source}", hub=dataset, classes=classes, valid=len(found["train images"]) // 10)
    return _checked(_as_files(found), source, about), source, about


def _as_files(found: Mapping[str, NDArray[Any]]) -> Arrays:
    names = {"train images": TRAIN_IMAGES, "train labels": TRAIN_LABELS}
    names |= {"test images": TEST_IMAGES, "test labels": TEST_LABELS}
    return {names[name]: array for name, array in found.items()}


def _checked(arrays: Arrays, source: str, about: ImageDataset) -> Arrays:
    """The arrays, where images and labels fit together.

    Raises:
        SeqlraError: they do not.
    """
    for images, labels in ((TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS)):
        x, t = arrays[images], arrays[labels]
        if x.ndim != 3 or x.dtype != np.uint8:
            raise SeqlraError(f"{source}: images are one byte a pixel, (n, height, width); found {x.dtype} {x.shape}")
        if len(x) != len(t):
            raise SeqlraError(f"{source}: {images} has {len(x)} images, but {labels} has {len(t)} labels")
        if x.size == 0:
            raise SeqlraError(f"{source}: {images} has no images")
        if t.min() < 0 or t.max() >= about.classes:
            wrong = t.min() if t.min() < 0 else t.max()
            raise SeqlraError(f"{source}: {labels} has the label {wrong}; labels are 0 to {about.classes - 1}")
    if arrays[TRAIN_IMAGES].shape[1:] != arrays[TEST_IMAGES].shape[1:]:
        one, other = ("x".join(map(str, arrays[name].shape[1:])) for name in (TRAIN_IMAGES, TEST_IMAGES))
        raise SeqlraError(f"{source}: training images are {one} pixels, test images {other}")
    return arrays


def _offline_ways(dataset: str) -> str:
    return (
        f"without the Hub, give --data-dir DIR with DIR/{dataset}/ holding {', '.join(IDX_FILES)} (each plain or .gz; "
        f"`seqlra data get {dataset} --out DIR` writes them on a machine with network), "
        "or take --dataset mnist-sample"
    )
