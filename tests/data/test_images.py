"""Image data. Oracles: bytes laid out by hand, the IDX files of the same images, and the real MNIST."""

from __future__ import annotations

import gzip
import logging
import math
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from helpers import idx_bytes

from seqlra.data import images
from seqlra.data import sources as tasks
from seqlra.data.idx import read_idx, write_idx
from seqlra.data.images import DATASETS, IDX_FILES, ImageTask, export_images, load_images
from seqlra.data.sources import embedded
from seqlra.errors import SeqlraError

TRAIN, TEST, HEIGHT, WIDTH = 40, 12, 5, 3  # unequal sides, so that a transposed image is seen


def some_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """A small dataset by the names of its files; every image is another one."""
    draw = np.random.default_rng(seed)
    arrays = {}
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        arrays[f"{part}-images-idx3-ubyte"] = draw.integers(0, 256, (count, HEIGHT, WIDTH), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = draw.integers(0, 10, count, dtype=np.uint8)
    return arrays


def write_folder(data_dir: Path, arrays: dict[str, np.ndarray], name: str = "mnist", suffix: str = ".gz") -> Path:
    folder = data_dir / name
    folder.mkdir(parents=True)
    for file, array in arrays.items():
        content = idx_bytes(array)
        (folder / (file + suffix)).write_bytes(gzip.compress(content) if suffix else content)
    return folder


def on_hub(arrays: dict[str, np.ndarray]) -> datasets.DatasetDict:
    """The same images as the Hub serves them: encoded pictures and class labels."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    return datasets.DatasetDict(
        {
            split: datasets.Dataset.from_dict(
                {"image": list(arrays[f"{part}-images-idx3-ubyte"]), "label": arrays[f"{part}-labels-idx1-ubyte"]},
                features=features,
            )
            for split, part in (("train", "train"), ("test", "t10k"))
        }
    )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, datasets.DatasetDict]:
    """A Hub that serves what is put in this dictionary, and nothing else."""
    served: dict[str, datasets.DatasetDict] = {}
    monkeypatch.setattr(tasks, "_hub_answers", lambda endpoint: True)
    monkeypatch.setattr(datasets, "load_dataset", lambda hub_id, revision=None: served[hub_id])
    return served


def complaint(*args: object, **options: object) -> str:
    """The message of the error that `load_images` raises; it must be one line."""
    with pytest.raises(SeqlraError) as caught:
        load_images(*args, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pairs(*splits: images.Split) -> list[tuple[bytes, int]]:
    """Images with their labels, sorted, for a comparison without order."""
    return sorted((x.numpy().tobytes(), int(t)) for split in splits for x, t in zip(split.x, split.t, strict=True))


def assert_same_task(one: ImageTask, other: ImageTask) -> None:
    for a, b in ((one.train, other.train), (one.valid, other.valid), (one.test, other.test)):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.t, b.t)


# -- IDX files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("shape", [(7,), (4, 5, 3), (0, 5, 3)])
def test_idx_bytes_by_hand(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    array = np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)
    content = idx_bytes(array)
    path = tmp_path / f"by-hand{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    read = read_idx(path, len(shape))
    assert read.dtype == np.uint8
    assert read.shape == shape
    assert (read == array).all()

    write_idx(path, array)
    written = path.read_bytes()
    assert (gzip.decompress(written) if suffix else written) == content


def test_idx_of_a_view_is_row_major(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4).transpose(2, 0, 1)
    write_idx(tmp_path / "view", array)
    assert (tmp_path / "view").read_bytes() == idx_bytes(array)


def test_gzipped_idx_has_no_name_and_no_time(tmp_path: Path) -> None:
    for name in ("one.gz", "other.gz"):
        write_idx(tmp_path / name, np.arange(9, dtype=np.uint8))
    header = (tmp_path / "one.gz").read_bytes()[:10]
    assert header[3] == 0, "a flag is set: the header holds a name"
    assert header[4:8] == bytes(4), "the header holds a time"
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "other.gz").read_bytes()


def test_idx_holds_bytes_only(tmp_path: Path) -> None:
    with pytest.raises(SeqlraError, match=r"uint8.*float64"):
        write_idx(tmp_path / "floats", np.zeros(3))  # type: ignore[arg-type]


WHOLE = idx_bytes(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
PACKED = gzip.compress(WHOLE)
FLIPPED = PACKED[:-6] + bytes([PACKED[-6] ^ 1]) + PACKED[-5:]  # a bit of the checksum
BAD_STREAM = PACKED[:10] + b"\xff" * 20 + PACKED[30:]  # no such block type


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cut.gz", PACKED[:-20], "not a whole gzip file"),
        ("cut-in-the-header.gz", PACKED[:5], "not a whole gzip file"),
        ("plain-inside.gz", WHOLE, "not a whole gzip file"),
        ("flipped.gz", FLIPPED, "not a whole gzip file"),
        ("bad-stream.gz", BAD_STREAM, "not a whole gzip file"),
        ("empty.gz", b"", "only 0 bytes"),
        ("empty", b"", "only 0 bytes; an IDX file of unsigned bytes with 3 axes begins 0x00000803"),
        ("gzip-inside", PACKED, "has magic 0x1f8b08"),
        ("labels", idx_bytes(np.zeros(5, np.uint8)), "has magic 0x00000801; an .* with 3 axes begins 0x00000803"),
        ("floats", b"\0\0\x0d\x03" + WHOLE[4:], "has magic 0x00000d03; an .* begins 0x00000803"),
        ("swapped", b"\x03\x08\0\0" + WHOLE[4:], "has magic 0x03080000"),
        ("no-sizes", WHOLE[:10], "ends inside its header: 10 bytes; 3 axes need 16"),
        ("short", WHOLE[:-1], "promises 4 x 5 x 3 = 60 bytes in its header, but 59 follow"),
        ("long", WHOLE + b"\0", "promises 4 x 5 x 3 = 60 bytes in its header, but 61 follow"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_broken_idx(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SeqlraError, match=says) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_idx(tmp_path: Path) -> None:
    with pytest.raises(SeqlraError, match=r"there is no file .*nothing-here"):
        read_idx(tmp_path / "nothing-here", 1)


# -- a folder of IDX files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_folder_as_tensors(tmp_path: Path, suffix: str) -> None:
    arrays = some_arrays()
    folder = write_folder(tmp_path, arrays, suffix=suffix)
    task = load_images("mnist", tmp_path, seed=3, device="cpu", valid=10)
    assert (task.name, task.source) == ("mnist", str(folder))
    assert (task.pixels, task.height, task.width, task.classes) == (HEIGHT * WIDTH, HEIGHT, WIDTH, 10)
    assert [len(split) for split in (task.train, task.valid, task.test)] == [TRAIN - 10, 10, TEST]
    for split in (task.train, task.valid, task.test):
        assert split.x.dtype == torch.float32, "whatever the default type"
        assert split.t.dtype == torch.int64
        assert split.x.shape == (len(split), HEIGHT * WIDTH)

    # numpy divides in float32 too; 1/255 is not a float32, so a product with it would differ in the last bit
    expected = (arrays["t10k-images-idx3-ubyte"] / np.float32(255)).astype(np.float32).reshape(TEST, -1)
    assert (task.test.x.numpy() == expected).all()
    assert (task.test.t.numpy() == arrays["t10k-labels-idx1-ubyte"]).all()


def test_every_shade_is_its_number_over_255(tmp_path: Path) -> None:
    arrays = some_arrays()
    arrays["t10k-images-idx3-ubyte"] = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    arrays["t10k-labels-idx1-ubyte"] = np.array([4], np.uint8)
    arrays["train-images-idx3-ubyte"] = np.zeros((TRAIN, 16, 16), np.uint8)
    write_folder(tmp_path, arrays)
    shades = load_images("mnist", tmp_path, valid=1).test.x[0].tolist()
    assert shades == [float(np.float32(shade / 255)) for shade in range(256)]


def test_one_tensor_holds_all_splits(tmp_path: Path) -> None:
    write_folder(tmp_path, some_arrays())
    task = load_images("mnist", tmp_path, valid=10)
    for part in ("x", "t"):
        starts = {getattr(split, part).untyped_storage().data_ptr() for split in (task.train, task.valid, task.test)}
        assert len(starts) == 1


def test_plain_file_wins_over_gz(tmp_path: Path) -> None:
    arrays, newer = some_arrays(0), some_arrays(1)
    folder = write_folder(tmp_path, arrays)
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(newer["t10k-images-idx3-ubyte"]))
    shades = (load_images("mnist", tmp_path, valid=10).test.x * 255).round().to(torch.uint8).numpy()
    assert (shades == newer["t10k-images-idx3-ubyte"].reshape(TEST, -1)).all()


def test_validation_split(tmp_path: Path) -> None:
    arrays = some_arrays()
    write_folder(tmp_path, arrays)

    def load(seed: int) -> ImageTask:
        return load_images("mnist", tmp_path, seed=seed, valid=10)

    whole = [
        ((image / np.float32(255)).astype(np.float32).tobytes(), int(label))
        for image, label in zip(
            arrays["train-images-idx3-ubyte"].reshape(TRAIN, -1), arrays["train-labels-idx1-ubyte"], strict=True
        )
    ]
    for seed in (0, 1):
        task = load(seed)
        assert pairs(task.train, task.valid) == sorted(whole), "an image is lost, doubled, or has another's label"
        assert not set(pairs(task.train)) & set(pairs(task.valid))
        order = [[pixels for pixels, _ in whole].index(x.numpy().tobytes()) for x in task.train.x]
        assert order == sorted(order), "training images keep their order"
    assert_same_task(load(0), load(0))
    assert pairs(load(0).valid) != pairs(load(1).valid)
    assert torch.equal(load(0).test.x, load(1).test.x)


def test_validation_split_is_drawn_from_everywhere(tmp_path: Path) -> None:
    """Each image is held out by some seeds, and about as often as any other."""
    arrays = some_arrays()
    arrays["train-images-idx3-ubyte"][:, 0, 0] = np.arange(TRAIN)
    write_folder(tmp_path, arrays)
    held_out, draws = torch.zeros(TRAIN), set()
    for seed in range(200):
        numbers = (load_images("mnist", tmp_path, seed=seed, valid=10).valid.x[:, 0] * 255).round().long()
        held_out[numbers] += 1
        draws.add(tuple(numbers.tolist()))
    assert len(draws) == 200, "of 847,660,528 possible ones"
    assert held_out.sum() == 200 * 10
    # binomial with n = 200, p = 1/4: mean 50, deviation 6.1
    assert held_out.min() > 50 - 5 * 6.1
    assert held_out.max() < 50 + 5 * 6.1


@pytest.mark.parametrize("valid", [0, -1, TRAIN, TRAIN + 1, None])
def test_too_few_images_for_validation(tmp_path: Path, valid: int | None) -> None:
    write_folder(tmp_path, some_arrays())
    asked = 10_000 if valid is None else valid
    message = complaint("mnist", tmp_path, valid=valid)
    assert message.startswith(f"{asked} images for validation cannot be drawn from the {TRAIN} training images")
    assert f"1 to {TRAIN - 1} can" in message


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_counts_differ(tmp_path: Path, part: str) -> None:
    arrays = some_arrays()
    arrays[f"{part}-labels-idx1-ubyte"] = arrays[f"{part}-labels-idx1-ubyte"][:-1]
    write_folder(tmp_path, arrays)
    count = TRAIN if part == "train" else TEST
    message = complaint("mnist", tmp_path, valid=10)
    assert f"{part}-images-idx3-ubyte has {count} images, but {part}-labels-idx1-ubyte has {count - 1}" in message


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_labels_out_of_range(tmp_path: Path, part: str) -> None:
    arrays = some_arrays()
    arrays[f"{part}-labels-idx1-ubyte"][5] = 10
    write_folder(tmp_path, arrays)
    assert f"{part}-labels-idx1-ubyte has the label 10; labels are 0 to 9" in complaint("mnist", tmp_path, valid=10)


def test_sizes_of_train_and_test_differ(tmp_path: Path) -> None:
    arrays = some_arrays()
    arrays["t10k-images-idx3-ubyte"] = arrays["t10k-images-idx3-ubyte"].transpose(0, 2, 1)
    write_folder(tmp_path, arrays)
    assert "training images are 5x3 pixels, test images 3x5" in complaint("mnist", tmp_path, valid=10)


def test_no_test_images(tmp_path: Path) -> None:
    arrays = some_arrays()
    for file in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        arrays[file] = arrays[file][:0]
    write_folder(tmp_path, arrays)
    assert "t10k-images-idx3-ubyte has no images" in complaint("mnist", tmp_path, valid=10)


def test_images_under_the_name_of_labels(tmp_path: Path) -> None:
    arrays = some_arrays()
    arrays["train-labels-idx1-ubyte"] = arrays["train-images-idx3-ubyte"]
    write_folder(tmp_path, arrays)
    message = complaint("mnist", tmp_path, valid=10)
    assert "train-labels-idx1-ubyte.gz has magic 0x00000803" in message
    assert "with 1 axis begins 0x00000801" in message


def test_unknown_dataset_lists_the_known(tmp_path: Path) -> None:
    for data_dir in (None, tmp_path):
        message = complaint("cifar", data_dir)
        assert "cifar" in message
        assert all(name in message for name in DATASETS)
    with pytest.raises(SeqlraError, match="unknown dataset 'cifar'"):
        export_images("cifar", tmp_path)


@pytest.mark.parametrize("exists", [True, False])
def test_missing_folder_names_the_offline_ways(tmp_path: Path, exists: bool) -> None:
    data_dir = tmp_path if exists else tmp_path / "nowhere"
    message = complaint("fashion_mnist", data_dir)
    assert str(data_dir / "fashion_mnist") in message
    assert (f", nor {data_dir};" in message) != exists
    for way in (*IDX_FILES, "seqlra data get fashion_mnist", "--data-dir", "--dataset mnist-sample"):
        assert way in message


def test_missing_file_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, some_arrays())
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    message = complaint("mnist", tmp_path, valid=10)
    assert f"{folder} holds neither t10k-labels-idx1-ubyte nor t10k-labels-idx1-ubyte.gz" in message


# -- the Hub -----------------------------------------------------------------------------------------------------------


def test_hub_gives_what_the_idx_files_give(tmp_path: Path, hub: dict[str, datasets.DatasetDict]) -> None:
    for seed, name in enumerate(("mnist", "fashion_mnist")):
        arrays = some_arrays(seed)
        write_folder(tmp_path, arrays, name)
        hub[DATASETS[name].hub] = on_hub(arrays)
        task = load_images(name, None, seed=7, device="cpu", valid=10)
        assert task.source == f"Hub {DATASETS[name].hub}"
        assert task.train.x.dtype == torch.float32
        assert (task.height, task.width) == (HEIGHT, WIDTH)
        assert_same_task(task, load_images(name, tmp_path, seed=7, device="cpu", valid=10))


def test_ids_on_the_hub() -> None:
    assert DATASETS["mnist"].hub == "ylecun/mnist"
    assert DATASETS["fashion_mnist"].hub == "zalando-datasets/fashion_mnist"


def test_labels_of_the_hub_are_checked_before_they_are_bytes(hub: dict[str, datasets.DatasetDict]) -> None:
    """256 + 3 must not become the class 3."""
    served = on_hub(some_arrays())
    labels = [*served["test"]["label"][:-1], 256 + 3]
    served["test"] = datasets.Dataset.from_dict({"image": list(served["test"]["image"]), "label": labels})
    hub["ylecun/mnist"] = served
    assert "the label 259; labels are 0 to 9" in complaint("mnist", valid=10)


def test_hub_dataset_of_another_layout(hub: dict[str, datasets.DatasetDict]) -> None:
    served = on_hub(some_arrays())
    hub["ylecun/mnist"] = served.rename_column("image", "picture")
    assert "no split 'train' with the columns 'image' and 'label'" in complaint("mnist", valid=10)
    hub["ylecun/mnist"] = datasets.DatasetDict({"train": served["train"]})
    assert "no split 'test'" in complaint("mnist", valid=10)


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH, 3), (HEIGHT + 1, WIDTH)])
def test_hub_images_of_another_kind(hub: dict[str, datasets.DatasetDict], shape: tuple[int, ...]) -> None:
    arrays = some_arrays()
    served = on_hub(arrays)
    odd = np.zeros(shape, np.uint8)
    pictures = [odd] * TEST if len(shape) == 3 else [odd, *arrays["t10k-images-idx3-ubyte"][1:]]
    columns = {"image": pictures, "label": arrays["t10k-labels-idx1-ubyte"]}
    served["test"] = datasets.Dataset.from_dict(columns, features=served["test"].features)
    hub["ylecun/mnist"] = served
    says = "training images are 5x3 pixels, test images 15x3" if len(shape) == 3 else "not of one size and kind"
    assert says in complaint("mnist", valid=10)


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("error", [ConnectionError("no route\nto the host"), FileNotFoundError("nothing there")])
def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answers: bool, error: Exception) -> None:
    def fail(hub_id: str, revision: str | None = None) -> None:
        raise error

    monkeypatch.setattr(tasks, "_hub_answers", lambda endpoint: answers)
    monkeypatch.setattr(datasets, "load_dataset", fail)
    message = complaint("mnist")
    assert "ylecun/mnist" in message
    assert (type(error).__name__ in message) == answers
    for way in ("--data-dir DIR", "DIR/mnist/", *IDX_FILES, "seqlra data get mnist", "--dataset mnist-sample"):
        assert way in message
    with pytest.raises(SeqlraError, match="ylecun/mnist"):
        export_images("mnist", tmp_path)
    assert not list(tmp_path.iterdir())


def test_closed_port_fails_fast_and_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The real `datasets`, whose own attempts would take half a minute."""
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")  # the port of "discard"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    start = time.monotonic()
    assert "does not answer" in complaint("mnist")
    assert time.monotonic() - start < 10
    assert not datasets.config.HF_HUB_OFFLINE, "the setting is put back"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("talkative", [True, False])
def test_loading_is_quiet_and_leaves_settings_alone(monkeypatch: pytest.MonkeyPatch, talkative: bool) -> None:
    heard: list[logging.LogRecord] = []
    ear = logging.Handler()
    monkeypatch.setattr(ear, "emit", heard.append)

    def load(hub_id: str, revision: str | None = None) -> datasets.DatasetDict:
        logging.getLogger("datasets.load").warning("look at me")
        logging.getLogger("huggingface_hub.utils").warning("and me")
        assert datasets.are_progress_bars_disabled()
        return on_hub(some_arrays())

    def settings() -> list[object]:
        return [datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()]

    monkeypatch.setattr(tasks, "_hub_answers", lambda endpoint: True)
    monkeypatch.setattr(datasets, "load_dataset", load)
    before = settings()
    (datasets.enable_progress_bars if talkative else datasets.disable_progress_bars)()
    datasets.logging.set_verbosity(logging.INFO if talkative else logging.CRITICAL)
    chosen = settings()
    talkers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    try:
        for talker in talkers:
            talker.addHandler(ear)
        load_images("mnist", valid=10)
        assert not heard
        assert settings() == chosen
    finally:
        for talker in talkers:
            talker.removeHandler(ear)
        (datasets.disable_progress_bars if before[0] else datasets.enable_progress_bars)()
        datasets.logging.set_verbosity(before[1])


# -- export ------------------------------------------------------------------------------------------------------------


def test_export_round_trip(tmp_path: Path, hub: dict[str, datasets.DatasetDict]) -> None:
    arrays = some_arrays()
    hub["ylecun/mnist"] = on_hub(arrays)
    folder = export_images("mnist", tmp_path / "new" / "data")
    assert folder == tmp_path / "new" / "data" / "mnist"
    assert list(folder.parent.iterdir()) == [folder], "something temporary is left"
    assert {path.name for path in folder.iterdir()} == {f"{name}.gz" for name in IDX_FILES}
    for name, array in arrays.items():
        assert gzip.decompress((folder / f"{name}.gz").read_bytes()) == idx_bytes(array)
    assert_same_task(load_images("mnist", folder.parent, valid=10), load_images("mnist", valid=10))


def test_export_overwrites_nothing(tmp_path: Path, hub: dict[str, datasets.DatasetDict]) -> None:
    (tmp_path / "mnist").mkdir()
    with pytest.raises(SeqlraError, match="mnist exists already"):  # the Hub serves nothing: it must not be asked
        export_images("mnist", tmp_path)
    assert not list((tmp_path / "mnist").iterdir())


def test_export_leaves_nothing_half_done(
    tmp_path: Path, hub: dict[str, datasets.DatasetDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub["ylecun/mnist"] = on_hub(some_arrays())

    def full(path: Path, array: np.ndarray) -> None:
        if path.name.startswith("t10k"):
            raise OSError(28, "No space left on device")
        write_idx(path, array)

    monkeypatch.setattr(images, "write_idx", full)
    with pytest.raises(SeqlraError, match="mnist cannot be written: No space left on device"):
        export_images("mnist", tmp_path)
    assert not list(tmp_path.iterdir())


def test_export_under_a_file(tmp_path: Path, hub: dict[str, datasets.DatasetDict]) -> None:
    hub["ylecun/mnist"] = on_hub(some_arrays())
    (tmp_path / "file").touch()
    with pytest.raises(SeqlraError, match="cannot be written"):
        export_images("mnist", tmp_path / "file")


# -- the embedded sample -----------------------------------------------------------------------------------------------


def test_embedded_sample() -> None:
    task = load_images("mnist-sample", None, seed=0, device="cpu")
    assert task.source == "embedded"
    assert [len(split) for split in (task.train, task.valid, task.test)] == [12_500, 2_500, 3_000]
    assert (task.pixels, task.height, task.width, task.classes) == (784, 28, 28, 10)
    for split in (task.train, task.valid, task.test):
        assert split.x.dtype == torch.float32
        assert (split.x.amin(), split.x.amax()) == (0, 1)
        # uneven as drawn, but no digit is rare: the rarest of MNIST, 5, is 9 percent of it
        assert split.t.bincount(minlength=10).min() > 0.08 * len(split)


def test_embedded_sample_is_small() -> None:
    assert sum(path.stat().st_size for path in embedded("mnist_sample").iterdir()) < 4e6


def test_data_dir_goes_before_the_embedded_sample(tmp_path: Path) -> None:
    assert_same_task(load_images("mnist-sample", tmp_path), load_images("mnist-sample"))
    folder = write_folder(tmp_path, some_arrays(), "mnist-sample")
    task = load_images("mnist-sample", tmp_path, valid=10)
    assert (task.source, len(task.train)) == (str(folder), TRAIN - 10)
    assert str(tmp_path / "typo") in complaint("mnist-sample", tmp_path / "typo")


def test_missing_embedded_data_is_named() -> None:
    with pytest.raises(SeqlraError, match="'poems' is missing"):
        embedded("poems")


@pytest.mark.parametrize("place", ["package/data", "data"])
def test_embedded_data_in_a_wheel_and_in_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(tasks, "__file__", str(tmp_path / "package" / "data" / "sources.py"))
    poems = tmp_path / place / "poems.txt"
    poems.parent.mkdir(parents=True)
    poems.touch()
    assert embedded("poems.txt") == poems


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_every_embedded_image_is_in_mnist_with_its_label(real_data: Path, part: str) -> None:
    def labeled(folder: Path) -> list[tuple[bytes, int]]:
        x = read_idx(folder / f"{part}-images-idx3-ubyte.gz", 3)
        t = read_idx(folder / f"{part}-labels-idx1-ubyte.gz", 1)
        return [(image.tobytes(), int(label)) for image, label in zip(x, t, strict=True)]

    whole, sample = labeled(real_data / "mnist"), labeled(embedded("mnist_sample"))
    assert set(sample) <= set(whole)
    assert len(set(sample)) == len(sample), "an image was drawn twice"
