"""Datasets of the Hub by their id, read from folders with the same files."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pandas
import pytest
import torch
from helpers import Run

from seqlra.data import sources
from seqlra.data.hub import Selection
from seqlra.data.images import load_images
from seqlra.data.text import load_text
from seqlra.errors import SeqlraError

PLAY = "the cat sat.\non the mat.\n" * 20


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def put(folder: Path, **splits: datasets.Dataset) -> Path:
    """A repository with a Parquet file for each split."""
    (folder / "data").mkdir(parents=True)
    for split, rows in splits.items():
        rows.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def pictures(shape: tuple[int, ...], count: int, names: tuple[str, str] = ("picture", "kind")) -> datasets.Dataset:
    random = np.random.default_rng(count)
    images = list(random.integers(0, 255, (count, *shape)).astype(np.uint8))
    features = datasets.Features({names[0]: datasets.Image(), names[1]: datasets.ClassLabel(names=["a", "b", "c"])})
    return datasets.Dataset.from_dict({names[0]: images, names[1]: np.arange(count) % 3}, features=features)


def message(**options: object) -> str:
    with pytest.raises(SeqlraError) as found:
        load_images(**options)  # type: ignore[arg-type]
    return str(found.value)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_images_by_id(shape: tuple[int, ...], tmp_path: Path) -> None:
    """The columns are found by their kind; of a color image the channels are one above the other."""
    rows = pictures(shape, 30)
    put(tmp_path / "me" / "shapes", train=rows, validation=pictures(shape, 7))
    task = load_images("hf:me/shapes", tmp_path, seed=1)
    assert (len(task.train), len(task.valid), len(task.test)) == (27, 3, 7)
    assert (task.height, task.width, task.classes) == (4 * (shape[2] if len(shape) == 3 else 1), 5, 3)
    given = np.stack([np.asarray(image) for image in pictures(shape, 7)["picture"]])
    assert torch.equal(task.test.t, torch.arange(7) % 3)
    flat = np.concatenate([given[..., c].reshape(7, -1) for c in range(3)], 1) if len(shape) == 3 else given
    assert np.array_equal(task.test.x.numpy(), flat.reshape(7, -1).astype(np.float32) / 255)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    put(tmp_path / "me" / "shapes", train=pictures((4, 5), 30), test=pictures((4, 5), 6))
    put(tmp_path / "me" / "alone", train=pictures((4, 5), 30))
    put(tmp_path / "me" / "words", train=datasets.Dataset.from_dict({"text": ["a", "b"], "n": [1, 2]}))
    given = {"dataset": "hf:me/shapes", "data_dir": tmp_path}
    there = "it has picture (Image), kind (ClassLabel)"
    assert "no column 'photo' of images; " + there in message(**given, selection=Selection("photo"))
    assert "no column 'truth' of labels; " + there in message(**given, selection=Selection(None, "truth"))
    assert "no split 'test' or 'validation' to test on; it has train" in message(
        dataset="hf:me/alone", data_dir=tmp_path
    )
    assert "no column 'image' of images; it has text (string), n (int64)" in message(
        dataset="hf:me/words", data_dir=tmp_path
    )
    with pytest.raises(SeqlraError, match=r"no column 'n' of texts; it has text \(string\), n \(int64\)"):
        load_text("hf:me/words", tmp_path, selection=Selection("n"))
    assert "hf:owner/name" in message(dataset="hf:a/b/c")
    assert "hf:owner/name" in message(dataset="nothing")


def test_without_the_hub_the_offline_ways_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "_hub_answers", lambda endpoint: False)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    said = message(dataset="hf:me/shapes")
    assert "me/shapes could not be loaded: the Hub does not answer" in said
    assert "--data-dir DIR with a copy of its files in DIR/me/shapes/" in said
    assert f"there is no folder {tmp_path / 'me/shapes'}" in message(dataset="hf:me/shapes", data_dir=tmp_path)


def test_what_is_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def load(*place: str, revision: str | None) -> datasets.DatasetDict:
        asked.extend([*place, revision])
        return datasets.DatasetDict({"train": datasets.Dataset.from_dict({"line": PLAY.splitlines()})})

    monkeypatch.setattr(sources, "_hub_answers", lambda endpoint: True)
    monkeypatch.setattr(datasets, "load_dataset", load)
    text = load_text("hf:me/play", selection=Selection("line", config="raw", revision="abc"))
    assert asked == ["me/play", "raw", "abc"]
    assert text.source == "Hub me/play"


def test_a_text_by_id_is_its_splits_or_is_cut(tmp_path: Path) -> None:
    rows = {"train": PLAY, "validation": "the mat.", "test": "a cat."}
    parts = {split: datasets.Dataset.from_dict({"text": text.splitlines()}) for split, text in rows.items()}
    put(tmp_path / "me" / "three", **parts)
    put(tmp_path / "me" / "one", train=parts["train"])
    three = load_text("hf:me/three", tmp_path)
    assert three.vocabulary.decode(three.test[1:].tolist()) == " cat."
    assert [len(part) for part in (three.train, three.valid, three.test)] == [len(PLAY), 8, 6]
    (tmp_path / "play.txt").write_text(PLAY)
    one, file = load_text("hf:me/one", tmp_path), load_text("", text=tmp_path / "play.txt")
    assert all(torch.equal(getattr(one, split), getattr(file, split)) for split in ("train", "valid", "test"))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_of_a_table_is_a_text(ending: str, tmp_path: Path) -> None:
    table = pandas.DataFrame({"n": range(41), "line": [*PLAY.splitlines(), None]})
    path = tmp_path / f"play.{ending}"
    getattr(table, f"to_{ending}")(path, index=False)
    (tmp_path / "play.txt").write_text(PLAY)
    found, file = load_text("", text=path, selection=Selection("line")), load_text("", text=tmp_path / "play.txt")
    assert torch.equal(found.train, file.train)
    for column, wrong in (("x", "no column 'x'; it has n, line"), ("n", "the column 'n' of .* is int64, and not text")):
        with pytest.raises(SeqlraError, match=wrong):
            load_text("", text=path, selection=Selection(column))


def test_from_the_command_line(seqlra: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqlra.training.runs.save_pictures", lambda *_: None)
    put(tmp_path / "me" / "shapes", train=pictures((4, 5), 90), test=pictures((4, 5), 9))
    done = seqlra(
        "train mlp --dataset hf:me/shapes --data-dir . --column picture --label-column kind --hidden 4 --epochs 1"
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("mlp-hf-me-shapes-lra-fdbk-")
    assert seqlra(f"evaluate {run}").returncode == 0
    pandas.DataFrame({"line": PLAY.splitlines() * 9}).to_csv(tmp_path / "play.csv", index=False)
    small = "--hidden 4 --steps 2 --streams 2 --unroll 5 --out runs/text"
    done = seqlra(f"train rnn --text play.csv --column line {small}")
    assert done.returncode == 0, done.stderr
    refused = seqlra("train mlp --column picture --hidden 4 --epochs 1")
    assert refused.stderr.startswith("error: --column has an effect only with --dataset hf:owner/name")
