"""Oracle: the arrays that were written. Files in all formats give the same numbers; what is wrong is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from seqlra import SeqlraError
from seqlra.data.idx import read_idx
from seqlra.data.own import load_rows, load_sequences

X = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32).astype(float)
T = np.arange(30) % 3
Q = np.random.default_rng(1).normal(size=(20, 6, 2))


@pytest.fixture(autouse=True)
def in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(target: Any) -> pandas.DataFrame:
    return pandas.DataFrame({"a": X[:, 0], "b": X[:, 1], "goal": target, "c": X[:, 2], "d": X[:, 3]})


def write(kind: str, target: Any) -> dict[str, Any]:
    """A file of rows; returns how to read it."""
    path = Path(f"rows.{kind}")
    if kind == "npz":
        np.savez(path, x=X, y=target)
        return {"path": path}
    if kind == "csv":
        table(target).to_csv(path, index=False)
    else:
        table(target).to_parquet(path)
    return {"path": path, "column": "goal"}


@pytest.mark.parametrize("kind", ["npz", "csv", "parquet"])
def test_rows_in_every_format(kind: str) -> None:
    found = load_rows(**write(kind, T), targets="classes", valid=5, test=7, seed=3)
    assert [len(part) for part in (found.train, found.valid, found.test)] == [18, 5, 7]
    assert (found.inputs, found.outputs, found.loss) == (4, 3, "cross-entropy")
    rows = torch.cat([part.x[:, 0] for part in (found.train, found.valid, found.test)])
    classes = torch.cat([part.t[:, 0] for part in (found.train, found.valid, found.test)])
    number = torch.from_numpy(X) == rows[:, None]  # every row of the file is in one of them, with its own class
    assert number.all(-1).sum(1).tolist() == [1] * 30
    assert torch.equal(torch.from_numpy(T)[number.all(-1).long().argmax(1)], classes)
    again = load_rows(**write(kind, T), targets="classes", valid=5, test=7, seed=3)
    assert torch.equal(again.test.x, found.test.x)
    other = load_rows(**write(kind, T), targets="classes", seed=4)
    assert [len(part) for part in (other.train, other.valid, other.test)] == [24, 3, 3]


@pytest.mark.parametrize("kind", ["npz", "csv", "parquet"])
def test_values_and_words(kind: str) -> None:
    values = load_rows(**write(kind, X @ [1, 2, 0, 3]), targets="values")
    assert (values.outputs, values.loss) == (1, "gaussian")
    assert torch.allclose(values.test.t[:, 0, 0], values.test.x[:, 0] @ torch.tensor([1.0, 2, 0, 3]), atol=1e-6)
    words = load_rows(**write(kind, np.array(["no", "maybe", "yes"])[T]), targets="classes", seed=1)
    numbers = load_rows(**write(kind, np.array([1, 0, 2])[T]), targets="classes", seed=1)  # in the order of the words
    assert torch.equal(words.train.t, numbers.train.t)


def test_a_file_with_splits_keeps_them() -> None:
    split = {"train": slice(0, 18), "valid": slice(18, 25), "test": slice(25, 30)}
    arrays = {f"x_{name}": X[rows] for name, rows in split.items()} | {f"t_{n}": T[r] for n, r in split.items()}
    np.savez("s.npz", **arrays)
    found = load_rows(Path("s.npz"), "classes")
    for name, rows in split.items():
        assert torch.equal(found.part(name).x[:, 0], torch.from_numpy(X[rows]))
        assert torch.equal(found.part(name).t[:, 0], torch.from_numpy(T[rows]))
    with pytest.raises(SeqlraError, match="has its own splits"):
        load_rows(Path("s.npz"), "classes", valid=2)


def test_sequences_with_labels_and_lengths() -> None:
    lengths = np.arange(20) % 4 + 3
    np.savez("q.npz", x=Q, t=T[:20], lengths=lengths)
    found = load_sequences(Path("q.npz"), "classes", valid=4, test=4)
    assert (found.inputs, found.outputs, found.steps, found.masked) == (2, 3, range(3, 7), True)
    for part in (found.train, found.valid, found.test):
        for x, t in zip(part.x, part.t, strict=True):
            number = int((torch.from_numpy(Q[:, :3]) - x[:3]).abs().sum((1, 2)).argmin())
            expected = [T[number] if step == lengths[number] else -100 for step in range(3, 7)]
            assert t.tolist() == expected


@pytest.mark.parametrize("tokens", [True, False])
def test_a_series_is_cut_in_order_and_its_targets_are_one_step_later(tokens: bool) -> None:
    series = np.arange(100) if tokens else np.stack([np.arange(100.0), -np.arange(100.0)], 1)
    np.savez("s.npz", series=series)
    found = load_sequences(Path("s.npz"), "classes" if tokens else "values", length=4, valid=15, test=20)
    first = [part.x.reshape(len(part), 4, -1)[:, 0, 0].tolist() for part in (found.train, found.valid, found.test)]
    assert first == [list(range(61)), [65, 69, 73], [80, 84, 88, 92]]  # 65 + 15 + 20 entries
    for part in (found.train, found.valid, found.test):
        assert torch.equal(part.t, part.x + (1 if tokens else torch.tensor([1.0, -1.0])))
    assert (found.inputs, found.outputs) == ((100, 100) if tokens else (2, 2))


Write = Callable[[], Any]
WRONG: dict[str, tuple[Write, str, dict[str, Any]]] = {
    "cannot read x.npz: No such file": (lambda: None, "x.npz", {}),
    "cannot read x.csv: No such file": (lambda: None, "x.csv", {}),
    "cannot read x.npz": (lambda: Path("x.npz").write_bytes(b"PK nothing"), "x.npz", {}),
    "cannot read x.parquet": (lambda: Path("x.parquet").write_bytes(b"nothing"), "x.parquet", {}),
    "x.txt is none of the formats .npz": (lambda: Path("x.txt").write_text("1"), "x.txt", {}),
    "has no array t; it has x": (lambda: np.savez("x.npz", x=X), "x.npz", {}),
    "has no array x_valid": (lambda: np.savez("x.npz", x_train=X, t_train=T), "x.npz", {}),
    "classes are integers or words; see --targets values": (lambda: np.savez("x.npz", x=X, t=T / 2), "x.npz", {}),
    r"must hold x \(n, features\)": (lambda: np.savez("x.npz", x=Q, t=T[:20]), "x.npz", {}),
    "x of x.npz has NaN": (lambda: np.savez("x.npz", x=X * np.nan, t=T), "x.npz", {}),
    "x of x.npz must be numbers": (lambda: np.savez("x.npz", x=X.astype(str), t=T), "x.npz", {}),
    "classes are from 0": (lambda: np.savez("x.npz", x=X, t=T - 1), "x.npz", {}),
    "no columns with names": (lambda: np.savez("x.npz", x=X, t=T), "x.npz", {"column": "goal"}),
    "has no column 'aim'; it has a, b": (lambda: table(T).to_csv("x.csv", index=False), "x.csv", {"column": "aim"}),
    "these columns are not: goal": (
        lambda: table(["w"] * 30).to_csv("x.csv", index=False), "x.csv", {"column": "a", "targets": "values"}
    ),
    "rows without a target": (
        lambda: table([None, 1.0] * 15).to_csv("x.csv", index=False), "x.csv", {"column": "goal"}
    ),
    "cannot be split": (lambda: np.savez("x.npz", x=X, t=T), "x.npz", {"valid": 29}),
    "Object arrays": (lambda: np.savez("x.npz", x=np.array([{}]), t=T), "x.npz", {}),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_with_a_file_is_one_line(message: str) -> None:
    make, name, options = WRONG[message]
    make()
    with pytest.raises(SeqlraError, match=message) as raised:
        load_rows(**{"path": Path(name), "targets": "classes", **options})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"series": X[:, 0]}, {}, "integers"),
        ({"series": Q}, {"targets": "values"}, r"numbers \(time,\)"),
        ({"series": T}, {"length": 4}, "more than the 4 steps"),
        ({"series": T - 1}, {"length": 2}, "tokens under 0"),
        ({"x": Q, "t": T[:20]}, {"length": 4}, "no array of that name"),
    ],
)
def test_what_is_no_series_is_said(arrays: dict[str, Any], options: dict[str, Any], message: str) -> None:
    np.savez("s.npz", **arrays)
    with pytest.raises(SeqlraError, match=message):
        load_sequences(**{"path": Path("s.npz"), "targets": "classes", **options})


def test_a_folder_of_idx_files_holds_images_as_rows(images: Path) -> None:
    folder = images / "mnist"
    found = load_rows(folder, "classes", valid=40, seed=3)
    pixels = read_idx(folder / "train-images-idx3-ubyte.gz", 3).reshape(190, 30)
    labels = read_idx(folder / "train-labels-idx1-ubyte.gz", 1)
    assert [len(part) for part in (found.train, found.valid, found.test)] == [150, 40, 70]
    assert (found.inputs, found.outputs) == (30, 10)
    both = torch.cat([found.train.x, found.valid.x])[:, 0]
    assert both.max() <= 1
    seen = np.column_stack([(255 * both).round().int(), torch.cat([found.train.t, found.valid.t]).ravel()])
    assert sorted(seen.tolist()) == sorted(np.column_stack([pixels, labels]).tolist())  # every image once
    other = load_rows(folder, "classes", valid=40, seed=4)
    assert not torch.equal(found.valid.x, other.valid.x)
    for options, says in (({"valid": 190}, "not 190"), ({"test": 5}, "whose test split"), ({"column": "a"}, "column")):
        with pytest.raises(SeqlraError, match=says):
            load_rows(folder, "classes", **options)
    with pytest.raises(SeqlraError, match="idx"):
        load_rows(images, "classes")
