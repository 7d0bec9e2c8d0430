"""Training curves show the losses of the epochs, fold by fold."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparra.report.page import write_report
from sparra.report.training import read_training_curves, training_figures
from sparra.study.layout import StudyLayout

UNJUDGED = pd.DataFrame(columns=["modality", "aggregator", "fold"])


def write_curve(layout: StudyLayout, aggregator: str, fold: int, cox: list[float], **further: list[float]) -> None:
    folder = layout.model("slide", aggregator, fold)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"curve-{n}.csv" if (n := len(list(folder.glob("curve*.csv")))) else "curve.csv"
    columns = {"epoch": range(len(cox)), "learning_rate": 1e-4, "total": cox, "cox": cox, **further}
    pd.DataFrame(columns).to_csv(folder / name, index=False)


def drawn(layout: StudyLayout) -> dict[str, list[tuple[list[float], list[float]]]]:
    """Return epochs and losses of each label's lines; thin ones have no label of their own."""
    ((_, _, figure),) = training_figures(read_training_curves(layout, UNJUDGED))
    lines: dict[str, list[tuple[list[float], list[float]]]] = {}
    for line in figure.axes[0].lines:
        label = str(line.get_label())
        x, y = np.asarray(line.get_xdata(), float).tolist(), np.asarray(line.get_ydata(), float).tolist()
        lines.setdefault("" if label.startswith("_") else label, []).append((x, y))
    return lines


def test_a_thin_line_is_a_fold_over_its_models_and_the_bold_one_the_mean_of_folds(tmp_path: Path) -> None:
    layout = StudyLayout(tmp_path)
    write_curve(layout, "sparra", 0, [2.0, 1.0])
    write_curve(layout, "sparra", 0, [4.0, 2.0])  # the ensemble's second model
    write_curve(layout, "sparra", 1, [1.0, 0.5])
    write_curve(layout, "mean", 0, [5.0, 4.0])
    lines = drawn(layout)
    assert lines["SPARRA"] == [([1, 2], [2.0, 1.0])]
    assert lines["Mean"] == [([1, 2], [5.0, 4.0])]
    assert sorted(lines[""]) == [([1, 2], [1.0, 0.5]), ([1, 2], [3.0, 1.5]), ([1, 2], [5.0, 4.0])]


def test_patients_kept_back_have_dashed_lines_of_their_own(tmp_path: Path) -> None:
    layout = StudyLayout(tmp_path)
    write_curve(layout, "abmil", 0, [2.0, 1.0], validation=[3.0, 3.5])
    lines = drawn(layout)
    assert lines["ABMIL"] == [([1, 2], [2.0, 1.0])]
    assert lines["ABMIL, kept back"] == [([1, 2], [3.0, 3.5])]
    ((_, _, figure),) = training_figures(read_training_curves(layout, UNJUDGED))
    assert {line.get_linestyle() for line in figure.axes[0].lines if "kept" in str(line.get_label())} == {"--"}


def test_the_mean_ends_where_the_first_model_stopped(tmp_path: Path) -> None:
    """Beyond, it would jump as folds drop out of it."""
    layout = StudyLayout(tmp_path)
    write_curve(layout, "abmil", 0, [2.0, 1.0, 0.5])
    write_curve(layout, "abmil", 1, [4.0, 3.0])
    lines = drawn(layout)
    assert lines["ABMIL"] == [([1, 2], [3.0, 2.0])]
    assert ([1, 2, 3], [2.0, 1.0, 0.5]) in lines[""]


def test_a_fold_of_an_ensemble_ends_where_its_first_model_stopped(tmp_path: Path) -> None:
    layout = StudyLayout(tmp_path)
    write_curve(layout, "abmil", 0, [4.0, 3.0, 2.0])
    write_curve(layout, "abmil", 0, [2.0, 1.0])
    write_curve(layout, "abmil", 1, [1.0, 1.0, 1.0])
    lines = drawn(layout)
    assert lines["ABMIL"] == [([1, 2], [2.0, 1.5])]
    assert sorted(lines[""]) == [([1, 2], [3.0, 2.0]), ([1, 2, 3], [1.0, 1.0, 1.0])]


@pytest.mark.parametrize("text", ["", "epoch\n", "epoch,total\n0,1\n", "\x00\xff"])
def test_a_curve_that_is_not_whole_is_left_out(tmp_path: Path, text: str) -> None:
    layout = StudyLayout(tmp_path)
    write_curve(layout, "abmil", 0, [2.0, 1.0])
    layout.model("slide", "abmil", 1).mkdir(parents=True)
    (layout.model("slide", "abmil", 1) / "curve.csv").write_text(text)
    assert drawn(layout)["ABMIL"] == [([1, 2], [2.0, 1.0])]


def test_models_of_folds_that_were_not_judged_are_of_earlier_settings(tmp_path: Path) -> None:
    layout = StudyLayout(tmp_path)
    write_curve(layout, "abmil", 0, [2.0, 1.0])
    write_curve(layout, "abmil", 7, [9.0, 9.0])
    write_curve(layout, "mean", 0, [9.0, 9.0])
    metrics = pd.DataFrame({"modality": ["slide"], "aggregator": ["abmil"], "fold": [0.0]})
    curves = read_training_curves(layout, metrics)
    assert curves["cox"].tolist() == [2.0, 1.0]
    assert curves["fold"].tolist() == [0, 0]


def test_without_models_there_is_no_figure(tmp_path: Path) -> None:
    assert training_figures(read_training_curves(StudyLayout(tmp_path), UNJUDGED)) == []


def test_the_page_shows_them_and_the_figures_are_files(tmp_path: Path) -> None:
    layout = StudyLayout(tmp_path)
    assert "Training curves" not in write_report(layout).read_text(encoding="utf-8")
    write_curve(layout, "sparra", 0, [2.0, 1.0])
    assert "Training curves" in write_report(layout).read_text(encoding="utf-8")
    figures = {path.name for path in (layout.report.parent / "figures").iterdir()}
    assert {"training_slide.svg", "training_slide.png"} <= figures
