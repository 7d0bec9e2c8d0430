"""A whole study under the protocol ``paper``: every table, figure and the page."""

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.study.conftest import Sparra, Study

from sparra.simulate.cohort import simulate_cohort
from sparra.simulate.settings import SimulationSettings
from sparra.study.judge import _parameters
from sparra.study.layout import StudyLayout
from sparra.study.learn import Method
from sparra.study.settings import StudySettings
from sparra.survival.time_grid import TimeGrid


@pytest.mark.parametrize(("aggregator", "by_itself"), [("mean", 0.2), ("sparra", None)])
def test_a_screening_that_is_turned_off_or_on_makes_an_older_evaluation_out_of_date(aggregator, by_itself) -> None:
    grid = TimeGrid(np.array([1.0, 2.0]), 3.0)

    def key(**evaluation):
        content = {"cohort": {"subjects": "s.csv", "images": "i.csv", "time_unit": "days"}, "output": "output"}
        settings = StudySettings(**content, protocol="paper", evaluation=evaluation)
        return _parameters(settings, Method("joint", aggregator, 0), grid)

    given = {value: key(screening_p=value) for value in (None, 0.2, 0.1)}
    assert all(given[a] != given[b] for a, b in ((None, 0.2), (None, 0.1), (0.2, 0.1)))
    assert key()["screening_p"] == by_itself
    assert (key() == given[None]) == (by_itself is None)


@pytest.mark.slow
def test_a_study_in_the_papers_protocol_goes_to_its_report(tmp_path, sparra: Sparra) -> None:
    simulate_cohort(tmp_path / "cohort", SimulationSettings(subjects=16, slide_um=512, censoring=0.3, seed=4))
    study = Study(tmp_path)
    content = yaml.safe_load(study.file.read_text())
    content |= {"protocol": "paper", "evaluation": {"folds": 2, "survival_models": ["CoxPH"]}}
    content["methods"] = {"aggregators": ["mean", "sparra"], "modalities": ["joint"]}
    study.write(content)
    code, printed = sparra("run", study.file)
    assert code == 0, printed
    layout = StudyLayout(study.output)
    metrics = pd.read_csv(layout.metrics)
    assert len(metrics) == 2 * 2 * 4 * 2  # aggregators, models with the network, metrics, hold-outs
    assert metrics.loc[metrics["metric"] == "c_index", "value"].notna().all()
    comparators = pd.read_csv(layout.comparator_table("metrics"))
    assert "none" in set(comparators["modality"])
    for path in (layout.comparisons, layout.intervals, layout.calibration, layout.decision):
        assert len(pd.read_csv(path)), path
    parts = pd.read_csv(layout.folds)["part"]
    assert set(parts) == {"train", "valid", "test"}
    report = layout.report.parent
    names = {path.stem for path in (report / "figures").glob("*.svg")}
    assert names == {path.stem for path in (report / "figures").glob("*.png")}
    assert {"fig2_joint", "fig3_c_index", "fig4_joint_sparra", "auc_joint"} <= names
    assert {"table1.csv", "table1.tex", "checklist.csv"} <= {path.name for path in report.iterdir()}
    page = layout.report.read_text(encoding="utf-8")
    assert "Protocol “paper”" in page
    assert "Use the protocol “sound” for conclusions" in page
