from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd


def test_every_feature_has_its_icc_and_nothing_is_measured_twice(
    study: Any, sparra: Callable[..., tuple[int, str]]
) -> None:
    images = [row for row in study.rows("images.csv") if row["modality"] == "ct"][:4]
    study.write_rows("images.csv", images)
    kept = {row["subject_id"] for row in images}
    study.write_rows("subjects.csv", [row for row in study.rows("subjects.csv") if row["subject_id"] in kept])
    study.change("ct", encoder="radiomics", encoder_options={"families": ["shape", "intensity"]})
    study.change("robustness", repeats=2)
    code, printed = sparra("robustness", study.file)
    assert code == 0, printed
    table = pd.read_csv(study.output / "robustness" / "icc.csv").set_index("feature")
    assert set(table["tumours"]) == {4}
    assert "stat_mean" in table.index
    # Tumours differ in volume by far more than a border moves.
    assert table.loc["morph_volume", "icc_2_1"] > 0.8
    assert (table["icc_2_1"].dropna() <= 1).all()
    files = sorted((study.output / "robustness" / "measurements").glob("*.csv"))
    assert [len(pd.read_csv(file)) for file in files] == [3] * 4
    before = [file.stat().st_mtime_ns for file in files]
    assert sparra("robustness", study.file)[0] == 0
    assert [file.stat().st_mtime_ns for file in files] == before
    study.change("robustness", repeats=1)
    assert sparra("robustness", study.file)[0] == 0
    assert [len(pd.read_csv(file)) for file in files] == [2] * 4


def test_a_broken_ct_is_listed_and_the_rest_are_measured(study: Any, sparra: Callable[..., tuple[int, str]]) -> None:
    images = [row for row in study.rows("images.csv") if row["modality"] == "ct"][:3]
    study.write_rows("images.csv", images)
    kept = {row["subject_id"] for row in images}
    study.write_rows("subjects.csv", [row for row in study.rows("subjects.csv") if row["subject_id"] in kept])
    path = study.path(images[0]["path"])
    path.write_bytes(path.read_bytes()[:5000])
    study.change("ct", encoder="radiomics", encoder_options={"families": ["intensity"]})
    study.change("robustness", repeats=1)
    code, printed = sparra("robustness", study.file)
    assert code == 1
    assert "failed" in printed
    table = pd.read_csv(study.output / "robustness" / "icc.csv")
    assert set(table["tumours"]) == {2}
    assert np.isfinite(table["icc_2_1"]).any()
