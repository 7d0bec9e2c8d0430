import numpy as np
import pytest

from sparra.segmentation.metrics import dice, mean_defined, region_scores, surface_dice


def ball(radius_mm: float, spacing: tuple, shape: tuple = (30, 44, 44)) -> np.ndarray:
    places = np.indices(shape).reshape(3, -1).T * np.array(spacing)
    centre = (np.array(shape) - 1) / 2 * np.array(spacing)
    return (np.linalg.norm(places - centre, axis=1) <= radius_mm).reshape(shape)


def test_dice_of_boxes() -> None:
    first, second = np.zeros((2, 4, 4, 4), bool)
    first[:2], second[1:3] = True, True
    assert dice(first, second) == pytest.approx(0.5)
    assert np.isnan(dice(first & False, first & False))
    assert dice(first, first & False) == 0


@pytest.mark.parametrize(("tolerance", "expected"), [(1.2, 0.0), (2.6, 1.0)])
def test_surface_dice_of_balls_whose_surfaces_lie_two_mm_apart(tolerance: float, expected: float) -> None:
    """Voxels blur each surface by half their diagonal, 0.35 mm here."""
    spacing = (0.5, 0.35, 0.35)
    balls = [ball(radius, spacing, (52, 74, 74)) for radius in (10.0, 12.0)]
    assert surface_dice(*balls, spacing, tolerance) == pytest.approx(expected, abs=0.001)


def test_surface_dice_is_the_matched_share_of_both_surfaces() -> None:
    """Of two equal boxes one was found: its surface counts twice among three."""
    both = np.zeros((40, 60, 60), bool)
    both[5:15, 5:25, 5:25] = True
    one = both.copy()
    both[25:35, 30:50, 30:50] = True
    assert surface_dice(one, both, (1.0, 0.8, 0.8), 1.0) == pytest.approx(2 / 3, abs=1e-6)
    assert np.isnan(surface_dice(one & False, one & False, (1, 1, 1), 1.0))
    assert surface_dice(one, one & False, (1, 1, 1), 1.0) == 0


def test_scores_of_regions() -> None:
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[2:10, 2:10, 2:10], labels[4:7, 4:7, 4:7] = 1, 2
    scores = region_scores(labels, labels, (1, 1, 1))
    assert scores == dict.fromkeys(("kidney_and_mass", "mass", "tumour"), (1.0, 1.0))
    without = np.where(labels == 2, 1, labels).astype(np.uint8)
    assert region_scores(without, labels, (1, 1, 1))["tumour"] == (0.0, 0.0)
    assert region_scores(without, labels, (1, 1, 1))["kidney_and_mass"] == (1.0, 1.0)
    assert mean_defined([1.0, float("nan")]) == 1.0
    assert np.isnan(mean_defined([]))
