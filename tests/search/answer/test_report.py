"""The report as a file, in a browser, as pictures and in optuna-dashboard, of a real study."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from markupsafe import escape

from search.answer.report import figures, pictures, plots, report
from search.answer.report.findings import Findings, gather
from search.query import runs as query
from search.spec import stored_study
from search.spec.study_spec import DataRef, StudySpec
from storage.optuna_storage import optuna_storage
from storage.store import Store
from tests.support.browser import browser, needs_a_browser
from tests.support.command import Fewest, command


@pytest.fixture(scope="module")
def finished(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished study of 30 quick trials, and its report."""
    directory = tmp_path_factory.mktemp("finished")
    for name in ("fewest.db", "said"):
        shutil.copy(searched / name, directory)
    done = command(directory, "report")
    assert done.returncode == 0 and "report.html: " in done.stdout and done.stderr == ""
    return directory


@pytest.fixture(scope="module")
def this(finished: Path) -> Findings:
    """What there is to say of it."""
    store = Store.open(f"sqlite:///{finished}/fewest.db")
    found = store.read(gather, store.read(stored_study.find, "default"))
    store.close()
    return found


def whole(this: Findings) -> str:
    """The page, without Plotly's own script."""
    text = report.html(this, report.sections(this))
    return re.sub(r"<script>/\*\*.*?</script>", "", text, flags=re.S)


def test_the_page_says_what_a_launch_says_and_shows_every_figure(finished: Path) -> None:
    """Winner, question's model and misses in the words of `launch`; figures as JSON; nothing from elsewhere."""
    text = (finished / "report.html").read_text()
    launch = (finished / "said").read_text().splitlines()
    words = [line for line in launch if line.startswith(("Winner for", "The question's model", "30 of 30"))]
    assert len(words) == 3 and all(escape(said) in text for said in words)
    shown = json.loads(re.findall(r'id="figures">(.*?)</script>', text, re.S)[0])
    names = {"curves", "parallel", "importance", "convergence-optimizer", "epochs-lr", "epochs-activation"}
    assert names <= shown.keys() and "classes" not in shown and "ladder-8" not in shown
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=", text) and "default-src 'none'" in text


def test_what_comes_from_a_study_is_escaped(this: Findings) -> None:
    """Names that look like HTML are shown as they are."""
    text = whole(replace(this, name="</title><script>alert(1)</script>"))
    assert "alert(1)" in text and "<script>alert" not in text and text.count("<title>") == 1


def test_a_study_without_trials_has_a_page(sqlite: Store) -> None:
    """It says that there is no winner yet, what `ladder` does, and what is searched."""
    spec = StudySpec.of()
    record = sqlite.write(stored_study.create, "new", spec, 10)
    found = sqlite.read(gather, record)
    assert found.models == {} and [part.title for part in report.sections(found)] == ["The page's claims", "The study"]
    assert "No winner: nothing converged" in whole(found) and "fewest ladder" in whole(found)


def test_an_unfinished_study_of_misses_and_failures_has_a_page(this: Findings) -> None:
    """Misses without a hit, a trial that failed and runs without an outcome: each is said."""
    state = replace(this.conclusion.status, converged=0, failed=1, running=2, incumbent=None)
    conclusion = replace(this.conclusion, status=state, confirmed=[], question=None)
    ended = [replace(row, converged=False) for row in this.ended]
    text = whole(replace(this, conclusion=conclusion, ended=ended, models={}))
    assert "No winner: nothing converged" in text and "1 failed" in text and "2 runs have no outcome yet" in text


def test_data_of_ones_own_has_its_facts_and_batch_size(this: Findings) -> None:
    """The data set stands in place of the waves' settings, and `batch_size` is a parameter like any other."""
    spec = StudySpec.of(data=DataRef(name="own.npz", digest="0" * 64, samples=90, features=4, classes=3, training=72))
    ended = []
    for row in this.ended:
        params = {name: value for name, value in row.params.items() if name != "batch_sampling"}
        ended.append(replace(row, params=params | {"batch_size": 8 + row.trial, "classes": 3}, classes=3))
    text = whole(replace(this, spec=spec, ended=ended, classes=3))
    assert "own.npz (90 × 4 in 3 classes" in text and '"epochs-batch_size"' in text and "sigma" not in text


def test_a_fixed_space_has_nothing_to_compare(this: Findings) -> None:
    """Where no parameter is searched only the curves and the facts are shown."""
    fixed = {name: {"kind": "choices", "values": (value,)} for name, value in this.ended[0].params.items()}
    spec = StudySpec.model_validate({**this.spec.model_dump(), "space": fixed})
    titles = [part.title for part in report.sections(replace(this, spec=spec))]
    assert titles == ["Learning curves, 8 classes", "The page's claims", "The study"]


def test_the_answers_model_comes_from_the_longest_run_there_is(finished: Path, this: Findings) -> None:
    """The page's models are found by their parameters, among references before trials."""
    (question,) = this.models["question's model"]
    assert question.name == "question@8" and question.epochs == 30
    assert len(this.models["winner"]) == 5 and this.classes == 8


@pytest.mark.parametrize("out", ["none/r.html", "."])
def test_a_file_that_cannot_be_written_is_misuse(out: str, fewest: Fewest, finished: Path, tmp_path: Path) -> None:
    """One line, exit status 2, and nothing is made."""
    done = fewest("report", "--storage", f"sqlite:///{finished}/fewest.db", "--out", out)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (
        2,
        "",
        1,
    ) and f"cannot write {out}" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_half_of_a_report(fewest: Fewest, finished: Path, tmp_path: Path) -> None:
    """The page is written whole or not at all."""
    (tmp_path / "r.html.part").symlink_to("/dev/full")
    done = fewest("report", "--storage", f"sqlite:///{finished}/fewest.db", "--out", "r.html")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1) and "r.html" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_pictures_without_a_chrome_are_one_line(finished: Path, tmp_path: Path) -> None:
    """It says what to install; the page is there all the same."""
    shutil.copy(finished / "fewest.db", tmp_path)
    done = command(tmp_path, "report", "--png", "figures", extra={"BROWSER_PATH": str(tmp_path / "chrome")})
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "install Chromium or Chrome" in done.stderr
    assert (tmp_path / "report.html").exists()


@needs_a_browser
def test_a_picture_is_written(this: Findings, tmp_path: Path) -> None:
    """A PNG by the exhibit's name, of twice its size in pixels."""
    shown = plots.parameter(this.ended, "lr", this.spec.space["lr"])
    pictures.write([shown], tmp_path)
    content = (tmp_path / "epochs-lr.png").read_bytes()
    assert content.startswith(b"\x89PNG") and int.from_bytes(content[16:20], "big") == 2 * pictures.WIDTH


def test_the_dashboard_shows_the_main_figures_once(finished: Path, this: Findings) -> None:
    """Its own reader finds them, whole, after a second and shorter report as after the first."""
    from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

    store = Store.open(f"sqlite:///{finished}/fewest.db")
    storage = optuna_storage(store)

    def shown() -> dict[str, Any]:
        there = optuna.load_study(study_name="default", storage=optuna_storage(store))
        found = get_plotly_graph_objects(storage.get_study_system_attrs(there._study_id))
        return {name: json.loads(text) for name, text in found.items()}

    first = shown()
    assert {"fewest-curves", "fewest-importance", "fewest-convergence-activation"} <= first.keys()
    assert not any("epochs-" in name for name in first)
    fewer = report.sections(replace(this, ended=this.ended[:15]))
    pictures.show_in_dashboard(store, "default", [each for part in fewer for each in part.exhibits])
    second = shown()
    assert second.keys() == first.keys() and second != first
    assert store.read(query.status, store.read(stored_study.find, "default")).done == 30
    store.close()


@needs_a_browser
def test_it_is_drawn_in_a_browser_offline_at_every_size_and_in_both_schemes(finished: Path) -> None:
    """No request, no complaint, every figure drawn, nothing wider than the page; hits and misses differ in mark.

    When the reader's scheme changes, the figures follow.
    """
    address = (finished / "report.html").as_uri()
    with browser() as chromium:
        for width in (400, 1400):
            context = chromium.new_context(viewport={"width": width, "height": 900}, offline=True)
            page, said = context.new_page(), []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("request", lambda request, said=said: request.url != address and said.append(request.url))
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                if scheme == "light":
                    page.goto(address)
                page.wait_for_function(_DRAWN)
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                paper = figures.PAPER if scheme == "light" else figures.DARK[figures.PAPER]
                page.wait_for_function(f"document.getElementById('curves').layout.paper_bgcolor === '{paper}'")
                assert page.evaluate(_MARKS) == ["circle", "x-thin-open"]
            assert said == []
            context.close()


_DRAWN = """() => [...document.querySelectorAll(".plot")].every(plot => {
  const drawn = plot.querySelector("svg.main-svg")?.getBoundingClientRect();
  return drawn && drawn.width > 200 && drawn.height > 100;
})"""
_MARKS = """() => document.getElementById("epochs-lr").data.map(trace => trace.marker.symbol)"""
