"""What a study says on the terminal."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from sparra.study.settings import read_study
from sparra.study.tell import plan_table


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["a.svs", "b.svs"], "2 slides by 'local'"),
        (["a.h5", "b.zarr"], "2 slides that are features already"),
        (["a.svs", "b.h5"], "1 slides by 'local', 1 slides that are features already"),
        ([], "0 slides by 'local'"),
    ],
)
def test_features_that_are_there_are_not_said_to_be_encoded(tmp_path: Path, paths: list[str], said: str) -> None:
    content = {"cohort": {"subjects": "s.csv", "images": "i.csv", "time_unit": "days"}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    images = [SimpleNamespace(subject_id=path, modality="slide", path=Path(path)) for path in paths]
    cohort: Any = SimpleNamespace(images=images, has_follow_up=True)
    work = list(plan_table(read_study(tmp_path / "study.yaml"), cohort).columns[1].cells)
    assert work[:2] == ["0 CT by 'local'", said]
