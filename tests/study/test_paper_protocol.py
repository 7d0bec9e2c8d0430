"""A whole study under the protocol ``paper``: every table, figure and the page."""

import pandas as pd
import pytest
import yaml
from tests.study.conftest import Sparra, Study

from sparra.simulate.cohort import simulate_cohort
from sparra.simulate.settings import SimulationSettings
from sparra.study.layout import StudyLayout


@pytest.mark.slow
def test_a_study_in_the_papers_protocol_goes_to_its_report(tmp_path, sparra: Sparra) -> None:
    simulate_cohort(tmp_path / "cohort", SimulationSettings(subjects=30, slide_um=768, censoring=0.3, seed=4))
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
