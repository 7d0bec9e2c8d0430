import numpy as np
import pytest

from sparra.bags.preview import Preview
from sparra.report.maps import COLOUR_MAP, VIEWS, draw_ct_map, draw_slide_map, nice_length


@pytest.mark.parametrize(
    ("width", "expected"), [(4.0, 1.0), (8.1, 2.0), (20.0, 5.0), (39.9, 5.0), (40.0, 10.0), (1.0, 0.2)]
)
def test_scale_bar_has_a_round_length_of_at_most_a_quarter(width: float, expected: float) -> None:
    assert nice_length(width) == pytest.approx(expected)


def test_slide_map_colours_the_planted_tile_in_millimetres() -> None:
    pixels = np.full((40, 60, 3), 200, dtype=np.uint8)
    preview = Preview("slide", pixels, None, (50.0, 50.0), (25.0, 25.0), np.eye(2))
    positions = np.array([[250.0, 250.0], [1750.0, 1250.0]])
    figure = draw_slide_map(preview, positions, (500.0, 500.0), np.array([0.1, 0.9]))
    overlay = figure.axes[1].images[1]
    assert overlay.get_extent() == [0.0, 3.0, 2.0, 0.0]
    assert overlay.get_cmap().name == COLOUR_MAP
    assert (overlay.norm.vmin, overlay.norm.vmax) == (0.0, 0.9)
    painted = overlay.get_array()
    assert painted.count() == 200
    assert (painted[20:30, 30:40] == 0.9).all()
    assert (painted[0:10, 0:10] == 0.1).all()


def test_ct_map_cuts_through_the_most_important_patch() -> None:
    pixels = np.arange(20 * 30 * 40).reshape(20, 30, 40).astype(np.int16)
    mask = np.zeros(pixels.shape, dtype=bool)
    mask[8:16, 10:20, 10:30] = True
    preview = Preview("ct", pixels, mask, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    positions = np.array([[5.0, 6, 3], [25.0, 14, 11]])
    figure = draw_ct_map(preview, positions, (4.0, 4.0, 4.0), np.array([0.2, 0.8]))
    plain, mapped = figure.axes[:3], figure.axes[3:6]
    shown = [axes.images[0].get_array() for axes in plain]
    np.testing.assert_array_equal(shown[0], pixels[11])
    np.testing.assert_array_equal(shown[1], pixels[:, 14])
    np.testing.assert_array_equal(shown[2], pixels[:, :, 25])
    for axes, view in zip(mapped, VIEWS, strict=True):
        painted = axes.images[1].get_array()
        rows, columns = np.nonzero(painted.filled(0))
        centre = positions[1]
        assert painted.count() == 16
        assert columns.mean() == pytest.approx(centre[view.across], abs=0.51)
        assert rows.mean() == pytest.approx(centre[view.down], abs=0.51)
    # The head is up in the views from the front and the side.
    assert [axes.images[0].origin for axes in plain] == ["upper", "lower", "lower"]


def test_a_map_of_nothing_but_zeros_is_drawn() -> None:
    preview = Preview("slide", np.zeros((8, 8, 3), dtype=np.uint8), None, (10.0, 10.0), (5.0, 5.0), np.eye(2))
    figure = draw_slide_map(preview, np.array([[40.0, 40.0]]), (20.0, 20.0), np.zeros(1))
    assert figure.axes[1].images[1].norm.vmax == 1.0
