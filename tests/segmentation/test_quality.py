import numpy as np
import pytest

from sparra.segmentation.quality import judge_labels


@pytest.fixture
def labels() -> np.ndarray:
    voxels = np.zeros((40, 60, 60), np.uint8)
    voxels[5:35, 5:55, 5:55] = 1
    voxels[10:20, 10:30, 10:30] = 2
    return voxels


def test_volumes_and_parts(labels: np.ndarray) -> None:
    labels[25:30, 30:40, 30:40] = 3
    quality = judge_labels(labels, 2.0)
    assert quality.volume_ml == pytest.approx({"tumour": 8.0, "cyst": 1.0, "kidney": 150.0 - 9.0})
    assert quality.parts == {"kidney": 1, "tumour": 1, "cyst": 1}
    assert quality.largest_tumour_share == 1
    assert quality.flags == ()
    assert quality.as_json()["flags"] == []


def test_flags(labels: np.ndarray) -> None:
    assert judge_labels(np.zeros_like(labels), 1.0).flags == ("no tumour found", "no kidney found")
    assert judge_labels(np.where(labels == 2, labels, 0), 1.0, with_kidney=False).flags == ()
    labels[25:30, 40:50, 40:60] = 2
    flags = judge_labels(labels, 1.0, confidence=0.6).flags
    assert "tumour in 2 parts, the largest 80 %" in flags
    assert "tumour reaches the scan's border" in flags
    assert "mean probability in the tumour 0.60" in flags
    assert judge_labels(labels, 0.05).flags[0] == "tumour of 0.25 ml"
    assert "kidneys of 3.51 ml" in judge_labels(labels, 0.05).flags
