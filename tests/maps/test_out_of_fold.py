from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sparra.errors import UserError
from sparra.maps.out_of_fold import FILE, out_of_fold_scores


def folder_with(path: Path, **tensors: list[float]) -> Path:
    path.mkdir()
    named = {key.replace("__", "/"): np.array(values, np.float32) for key, values in tensors.items()}
    save_file(named, path / FILE)
    return path


def test_only_models_that_tested_the_subject_count_and_old_files_without_spread_are_read(tmp_path: Path) -> None:
    folders = [
        folder_with(tmp_path / "0", ct__P1=[0.2, 0.8], sd__ct__P1=[0.1, 0.1], ct__P2=[1.0]),
        folder_with(tmp_path / "1", ct__P2=[1.0]),
        folder_with(tmp_path / "2", ct__P1=[0.4, 0.6], sd__ct__P1=[0.3, 0.1]),
        tmp_path / "untrained",
    ]
    joined = out_of_fold_scores(folders, "ct", "P1")
    np.testing.assert_allclose(joined.score, [0.3, 0.7], rtol=1e-6)
    np.testing.assert_allclose(joined.score_sd**2, [0.05 + 0.01, 0.01 + 0.01], rtol=1e-5)
    assert joined.n_models == 2
    old = out_of_fold_scores(folders, "ct", "P2")
    assert old.spread == "between 2 models"
    assert out_of_fold_scores(folders, "slide", "P1") is None
    (tmp_path / "1" / FILE).write_bytes(b"broken")
    with pytest.raises(UserError, match="Train this fold again"):
        out_of_fold_scores(folders, "ct", "P1")
