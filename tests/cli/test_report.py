"""The page of a report. Oracles: the results as they were written by hand, and what Chromium shows of the page."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import Run

from seqlra import SeqlraError
from seqlra.analysis import plotting
from seqlra.report import figures, page
from seqlra.report.found import Entry, find
from seqlra.sweeps.comparison import Comparison
from seqlra.sweeps.run_store import RunSpec
from seqlra.training.configure import configure
from seqlra.training.run_directory import RunDirectory, StackDirectory
from seqlra.training.settings import Config

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"


def settings(**given: Any) -> Config:
    return configure("mlp", **{"hidden": (7, 5), "epochs": 3, "device": "cpu", "threads": 1, **given})


def written(
    path: Path, config: Config, errors: list[float], done: bool = True, diverged: bool = False, **more: Any
) -> RunDirectory:
    """A run that nobody trained, with these errors on validation; on the test split it has 10 more."""
    run = RunDirectory(path)
    path.mkdir(parents=True)
    run.write_json(run.config, config.to_dict())
    run.write_metrics(
        [
            {"epoch": n, "step": 100 * n, "seconds": 2.5 * n, "train_error": error - 1, "valid_error": error}
            | {"depth": 3.0, "angle": 20.0 * n, "angle_layers": {"a": 5.0 * n, "b": None}, "angle_steps": [8.0, 9.0]}
            | more
            for n, error in enumerate(errors, 1)
        ]
    )
    result = {"rule": config.rule["name"], "seed": config.seed, "epochs": len(errors), "steps": 100 * len(errors)}
    result |= {"best_epoch": len(errors), "train_seconds": 2.5 * len(errors), "versions": {"torch": "2.0"}}
    if errors:
        result |= {"test_error": errors[-1] + 10, "valid_error": errors[-1], "mean_depth": 3.0}
    if done or diverged:
        run.write_json(run.failed if diverged else run.result, result)
    return run


def compared(path: Path, errors: dict[str, list[list[float]]]) -> Comparison:
    """A comparison with these errors of each label and seed."""
    specs = [
        RunSpec(label, settings(rule=label.partition("-lr")[0], seed=seed, lr=0.25 if "-lr" in label else None))
        for label, of_seeds in errors.items()
        for seed in range(len(of_seeds))
    ]
    found = Comparison(path, specs, command="seqlra compare mlp --rules <all>")
    path.mkdir(parents=True)
    members = [{"label": spec.label, "config": spec.config.to_dict()} for spec in specs]
    found.write_json(
        found.about, {"command": found.command, "metric": "error", "stacked": True, "versions": {}, "members": members}
    )
    for spec in specs:
        written(path / spec.folder, spec.config, errors[spec.label][spec.seed])
    return found


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of three labels, a hostile run, and the page over both."""
    folder = tmp_path_factory.mktemp("report")
    found = compared(
        folder / "cmp", {"lra-fdbk": [[40, 20, 16], [44, 30, 18]], "fa": [[50, 40, 35]], "fa-lr0.25": [[60, 55, 52]]}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plotting, "save_curves", lambda *_: None)
        found.write_results()
    hostile = {f"valid_{HOSTILE}": 2.0, "angle_layers": {HOSTILE: 4.0}}
    written(folder / "<b>bold<img src=x onerror='window.hacked = 3'>", settings(rule="dfa"), [70, 65], **hostile)
    entries = find([folder / "cmp", folder / "<b>bold<img src=x onerror='window.hacked = 3'>"])
    page.write(folder / "report.html", page.render(entries, HOSTILE))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed, so nobody looks at the page of a report")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        held = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield held
        held.close()


@pytest.fixture(scope="module")
def shown(reported: Path, browser: Any) -> Any:
    """The page, narrow and dark for a moment, then wide; complaints and requests are kept on it."""
    tab = browser.new_page(viewport={"width": 420, "height": 900}, color_scheme="dark")
    tab.said, tab.asked = [], []
    tab.on("console", lambda message: tab.said.append(message.text))
    tab.on("pageerror", lambda error: tab.said.append(str(error)))
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.goto((reported / "report.html").as_uri())
    tab.wait_for_selector("#diagnostics .legendtext")
    assert tab.evaluate("document.documentElement.scrollWidth") == 420  # tables scroll in themselves
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
    tab.emulate_media(color_scheme="light")
    tab.set_viewport_size({"width": 1200, "height": 900})
    return tab


def test_the_page_asks_nobody_and_complains_of_nothing(shown: Any, reported: Path) -> None:
    assert shown.said == []
    assert shown.asked == [(reported / "report.html").as_uri()]


def test_names_stay_text(shown: Any) -> None:
    assert shown.evaluate("window.hacked") is None
    assert shown.title() == HOSTILE
    assert shown.inner_text("h1") == HOSTILE
    assert shown.locator("img, b > img").count() == 0
    legend = shown.locator("#learning .legendtext").all_text_contents()
    assert legend == ["lra-fdbk", "fa", "fa-lr0.25", "<b>bold<img src=x onerror='window.hacked = 3'>"]


def test_the_table_has_the_results(shown: Any, reported: Path) -> None:
    rows = [row.split("\n") for row in shown.locator("#runs tbody tr").all_inner_texts()]
    results = json.loads((reported / "cmp/results.json").read_text())["rows"]
    assert [each["label"] for each in results] == [row[0] for row in rows[:3]]
    for each, row in zip(results, rows, strict=False):
        text = " ".join(row)
        assert f"{each['test_error']['mean']:.2f}" in text
        assert f"{each['valid_error']['mean']:.2f}" in text
        assert f"{each['ms_per_update']['mean']:.2f}" in text
    assert "27.00" in " ".join(rows[0])
    assert "26.00 to 28.00" in " ".join(rows[0])
    differing = dict(text.split("\t", 1) for text in shown.locator("#differing tbody tr").all_inner_texts())
    assert differing["optimization lr"].split("\t")[2] == "0.25"
    assert "optimization epochs" not in differing
    assert "optimization epochs" in shown.locator("#common").text_content()
    assert "seqlra compare mlp --rules <all>" in shown.locator("main").text_content()


def curves_in(tab: Any, section: str) -> list[dict[str, Any]]:
    """What is drawn: the name, the values and whether they are seen."""
    return tab.evaluate(
        f"document.querySelector('#{section} .chart')._fullData.map(t => "
        "({name: t.name, x: [...t.x], y: [...t.y], seen: t.visible, dash: t.line.dash, text: t.text}))"
    )


def drawn(tab: Any, section: str, name: str, dash: str = "solid") -> list[dict[str, Any]]:
    return [each for each in curves_in(tab, section) if each["name"] == name and each["dash"] == dash]


def test_the_curves_are_those_of_the_files(shown: Any) -> None:
    one, other, mean = drawn(shown, "learning", "lra-fdbk")
    assert (one["y"], other["y"], mean["y"]) == ([40, 20, 16], [44, 30, 18], [42, 25, 17])
    assert mean["x"] == [1, 2, 3]
    assert drawn(shown, "learning", "fa", "dot")[0]["y"] == [49, 39, 34]
    shown.select_option("#learning [name=axis]", "seconds")
    shown.uncheck("#learning [name=train]")
    assert drawn(shown, "learning", "lra-fdbk")[2]["x"] == [2.5, 5, 7.5]
    assert {each["dash"] for each in curves_in(shown, "learning")} == {"solid"}
    shown.check("#learning [name=log]")
    assert shown.evaluate("document.querySelector('#learning .chart')._fullLayout.yaxis.type") == "log"
    shown.select_option("#learning [name=axis]", "epoch")
    shown.uncheck("#learning [name=log]")


def test_the_diagnostics_are_those_of_the_files(shown: Any) -> None:
    assert drawn(shown, "diagnostics", "fa")[0]["y"] == [20, 40, 60]
    shown.select_option("#diagnostics [name=metric]", "angle_layers/a")
    assert drawn(shown, "diagnostics", "fa")[0]["y"] == [5, 10, 15]
    shown.select_option("#diagnostics [name=metric]", "angle_steps")
    assert drawn(shown, "diagnostics", "fa")[0] | {"text": ""} == {
        "name": "fa", "x": [1, 2], "y": [8, 9], "seen": True, "dash": "solid", "text": ""
    }  # fmt: skip


def test_a_point_says_what_it_is(shown: Any) -> None:
    shown.uncheck("#learning [name=train]")
    points = shown.locator("#learning .scatterlayer .trace").nth(3).locator(".point")  # fa, behind lra-fdbk's three
    box = points.nth(1).bounding_box()
    shown.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    shown.wait_for_selector("#learning .hoverlayer text")
    words = shown.locator("#learning .hoverlayer").text_content()
    assert words == "fa seed 0validation error 40epoch 2"


def test_every_epoch_has_one_tick(shown: Any) -> None:
    ticks = "[...document.querySelectorAll('#learning .chart .xtick text')].map((each) => each.textContent)"
    assert shown.evaluate(ticks) == ["1", "2", "3"]


def test_a_click_on_a_name_hides_its_curves(shown: Any) -> None:
    shown.locator("#learning .legendtoggle").nth(1).click()
    shown.wait_for_function("document.querySelector('#learning .chart')._fullData[3].visible === 'legendonly'")
    seen = {each["name"]: each["seen"] for each in curves_in(shown, "learning")}
    assert (seen["fa"], seen["lra-fdbk"], seen["fa-lr0.25"]) == ("legendonly", True, True)


def test_runs_that_have_not_ended_are_there_as_far_as_they_are(tmp_path: Path) -> None:
    cases = {
        "going": ({"errors": [30.0], "done": False}, "seed 0: not ended, epoch 1 is done"),
        "begun": ({"errors": [], "done": False}, "seed 0: no epoch yet"),
        "gone": ({"errors": [30.0], "diverged": True}, "seed 0: diverged in epoch 2"),
        "gone-at-once": ({"errors": [], "diverged": True}, "seed 0: diverged in epoch 1"),
        "whole": ({"errors": [30.0]}, ""),
    }
    for name, (given, note) in cases.items():
        written(tmp_path / name, settings(), **given)  # type: ignore[arg-type]
        (entry,) = find([tmp_path / name])
        found = figures.table_row(entry)
        assert found["notes"] == ([note] if note else [])
        assert (found["test"] is None) == (name in ("going", "begun", "gone-at-once"))
        (curve,) = figures.curves([entry])
        assert curve["runs"][0]["columns"].get("valid_error") == (None if name in ("begun", "gone-at-once") else [30.0])
        assert f'<th scope="row">{name}<small>' in page.render([entry], "one")


def test_a_comparison_that_has_not_begun_is_a_page(seqlra: Run, tmp_path: Path) -> None:
    compared(tmp_path / "cmp", {"fa": [[3.0]], "dfa": [[4.0]]})
    shutil.rmtree(tmp_path / "cmp/dfa-seed0")
    done = seqlra("report cmp --json --title 'Two rules'")
    assert (done.returncode, done.stderr) == (0, "2 settings on cmp/report.html\n")
    printed = json.loads(done.stdout)
    assert [(row["label"], row["done"], row["notes"]) for row in printed["rows"]] == [
        ("fa", 1, []),
        ("dfa", 0, ["seed 0: no epoch yet"]),
    ]
    assert printed["rows"][0]["test"]["mean"] == 13
    assert "<title>Two rules</title>" in (tmp_path / "cmp/report.html").read_text()


def test_a_stack_is_one_entry_unless_its_settings_differ(tmp_path: Path) -> None:
    for name, rates in (("seeds", (0.5, 0.5)), ("rates", (0.5, 0.25))):
        folders = ["one", "two"]
        for seed, (folder, lr) in enumerate(zip(folders, rates, strict=True)):
            written(tmp_path / name / folder, settings(seed=seed, lr=lr), [30.0 + seed])
        stack = StackDirectory(tmp_path / name, folders)
        stack.write_json(stack.about, {"runs": folders})
    found = find([tmp_path / "seeds", tmp_path / "rates"])
    assert [(each.label, len(each.runs)) for each in found] == [("seeds", 2), ("rates/one", 1), ("rates/two", 1)]
    assert figures.table_row(found[0])["test"] == {"mean": 40.5, "min": 40.0, "max": 41.0, "all": [40.0, 41.0]}


def test_labels_of_two_folders_are_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        compared(tmp_path / name, {"fa": [[3.0]], f"dfa-lr{name}": [[4.0]]})
    found = find([tmp_path / "a", tmp_path / "b", tmp_path / "a"])
    assert [each.label for each in found] == [f"{tmp_path / 'a'}: fa", "dfa-lra", f"{tmp_path / 'b'}: fa", "dfa-lrb"]


def test_the_metric_is_that_by_which_validation_chose(tmp_path: Path) -> None:
    for name, metrics in {"bpc": ("error", "bpc"), "error": ("loss", "error"), "loss": ("loss",)}.items():
        run = RunDirectory(tmp_path / name)
        run.path.mkdir()
        run.write_json(run.config, settings().to_dict())
        run.write_metrics([{"epoch": 1, "step": 1, "seconds": 1.0} | {f"valid_{each}": 1.0 for each in metrics}])
        assert figures.metric_of(find([run.path])[0]) == name


def test_what_json_has_no_word_for_leaves_a_gap(tmp_path: Path) -> None:
    run = written(tmp_path / "run", settings(), [3.0], valid_loss=float("inf"), angle_steps=[1.0, float("nan")])
    entries = find([run.path])
    columns = figures.curves(entries)[0]["runs"][0]["columns"]
    assert (columns["valid_loss"], columns["angle_steps"]) == ([None], [[1.0, None]])
    data = page.render(entries, "gaps").split('id="data">')[1].split("</script>")[0]
    assert json.loads(data)["entries"][0]["label"] == "run"


def test_errors_are_one_line(seqlra: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = written(tmp_path / "run", settings(), [3.0])
    (tmp_path / "notes.html").write_text("mine")
    accepted = "accepted: the folder of a run, of several seeds, or of a comparison"
    for words, says in {
        "nowhere": f"nowhere holds nothing to report; {accepted}",
        "run --out notes.html": "notes.html exists and is no report; choose another --out",
        "run --out run": "run exists and is no report; choose another --out",
    }.items():
        done = seqlra(f"report {words}")
        assert (done.returncode, done.stderr) == (1, f"error: {says}\n")
    assert (tmp_path / "notes.html").read_text() == "mine"
    assert [seqlra("report run").returncode for _ in range(2)] == [0, 0]  # the older page is written over
    for file, damage in (
        ("result.json", '{"rule": "fa"}'),
        ("result.json", "{"),
        ("metrics.jsonl", "x"),
        ("metrics.jsonl", "{}"),
    ):
        whole = (run.path / file).read_text()
        (run.path / file).write_text(damage)
        done = seqlra("report run")
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "is damaged" in done.stderr
        (run.path / file).write_text(whole)
    monkeypatch.setitem(sys.modules, "plotly", None)
    done = seqlra("report run --out new.html")
    assert done.stderr.endswith("pip install 'seqlra[report]'\n")
    assert not (tmp_path / "new.html").exists()


def test_another_kind_of_folder_is_a_reader_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqlra.report import found

    run = written(tmp_path / "study" / "trial0", settings(), [3.0])
    (tmp_path / "study/study.json").touch()
    with pytest.raises(SeqlraError, match="nothing to report"):
        find([tmp_path / "study"])
    monkeypatch.setitem(found.KINDS, "study.json", lambda path: iter([Entry("best", path, find([run.path])[0].runs)]))
    assert [each.label for each in find([tmp_path / "study"])] == ["best"]
