from pathlib import Path

import numpy as np
from PIL import Image
from tests.maps.conftest import scores_at

from sparra.bags.preview import Preview
from sparra.maps.gallery import ct_patches, extremes, write_gallery
from sparra.maps.label import MapLabel


def test_ends_hold_one_patch_a_node_and_no_patch_twice() -> None:
    rng = np.random.default_rng(0)
    scores = scores_at(rng.uniform(0, 100, (30, 3)), (8.0, 8.0, 8.0), "ct")
    scores.score[:] = np.repeat(np.arange(15.0), 2)
    highest, lowest = extremes(scores, 4)
    assert scores.node_of_patch[highest].tolist() == [14, 13, 12, 11]
    assert scores.node_of_patch[lowest].tolist() == [0, 1, 2, 3]
    highest, lowest = extremes(scores, 50)
    assert len(highest) == 7
    assert not set(highest) & set(lowest)


def test_ct_patches_show_what_lies_at_their_positions_and_the_sheet_tells_the_verdict(tmp_path: Path) -> None:
    pixels = np.full((20, 30, 40), -160, np.int16)
    pixels[10, 11:19, 16:24] = 240
    direction = np.diag([-1.0, 1.0, 1.0])
    preview = Preview("ct", pixels, None, (1.0, 1.0, 2.0), (50.0, -20.0, 7.0), direction)
    positions = (np.array([[19.5, 14.5, 10.0], [8.0, 24.0, 3.0]]) * preview.spacing) @ direction + preview.origin
    scores = scores_at(positions, (8.0, 8.0, 8.0), "ct")
    bright, dark = (np.asarray(picture.convert("L")) for picture in ct_patches(preview, scores, np.array([0, 1])))
    # The patch is the middle half of its picture: bright within, dark around it.
    assert bright[60:132, 60:132].min() == 255
    assert bright[:40].max() == 0
    assert dark[60:132, 60:132].max() == 0
    ends = (np.array([0]), np.array([1]))
    pictures = [ct_patches(preview, scores, end) for end in ends]
    plain, failed = tmp_path / "plain.png", tmp_path / "failed.png"
    write_gallery(plain, scores, ends, pictures, MapLabel("SPARRA"))
    write_gallery(failed, scores, ends, pictures, MapLabel("SPARRA", "failed", "Do not rely on this map."))
    with Image.open(failed) as sheet, Image.open(plain) as other:
        red = [np.asarray(each)[..., 0].astype(int) - np.asarray(each)[..., 1] for each in (sheet, other)]
    assert (red[0] > 100).any()
    assert not (red[1] > 100).any()
