from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

from sparra.radiology.geometry import Grid
from sparra.radiology.volume import image_on
from sparra.segmentation.montage import draw_montage

RED, BLUE = (255, 77, 77), (77, 210, 255)


def near(picture: np.ndarray, colour: tuple) -> np.ndarray:
    return np.abs(picture.astype(int) - colour).sum(axis=-1) < 60


def scene() -> tuple[sitk.Image, np.ndarray]:
    """The tumour lies to the patient's left, in front and high, the cyst to the right, behind and low."""
    grid = Grid((80, 80, 40), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), np.eye(3))
    labels = np.zeros((40, 80, 80), np.uint8)
    labels[5:35, 20:60, 20:60] = 1
    labels[25:33, 24:36, 44:56] = 2
    labels[8:27, 46:56, 24:34] = 3
    return image_on(grid, np.where(labels > 0, 60, -100).astype(np.float32)), labels


def draw(ct: sitk.Image, labels: np.ndarray, path: Path) -> np.ndarray:
    draw_montage(ct, labels, "P1", "no tumour found", path)
    return np.asarray(Image.open(path).convert("RGB"))


def test_outlines_lie_as_radiologists_look_at_them(tmp_path: Path) -> None:
    picture = draw(*scene(), tmp_path / "montage.png")
    height, width = picture.shape[:2]
    body = picture[height // 5 :]
    axial = body[:, : width // 5]
    (red_y, red_x), (blue_y, blue_x) = (np.argwhere(near(axial, c)).mean(axis=0) for c in (RED, BLUE))
    assert red_x > blue_x, "the patient's left is on the right"
    assert red_y < blue_y, "the front is at the top"
    coronal = body[:, 3 * width // 5 : 4 * width // 5]
    red_y = np.argwhere(near(coronal, RED))[:, 0].mean()
    assert red_y < coronal.shape[0] / 2, "the head is at the top"


def test_storage_does_not_show_and_nothing_to_draw_is_drawn_too(tmp_path: Path) -> None:
    ct, labels = scene()
    expected = draw(ct, labels, tmp_path / "a.png")
    turn = lambda image: sitk.PermuteAxes(sitk.Flip(image, [True, False, True]), [2, 0, 1])  # noqa: E731
    turned_labels = sitk.GetArrayFromImage(turn(image_on(Grid.of(ct), labels)))
    np.testing.assert_array_equal(draw(turn(ct), turned_labels, tmp_path / "b.png"), expected)
    empty = draw(ct, np.zeros_like(labels), tmp_path / "c.png")
    assert not near(empty[empty.shape[0] // 5 :], RED).any()
    assert empty.shape == expected.shape
