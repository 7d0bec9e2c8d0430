import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sparra.radiology.patches import overhang, place_patches
from sparra.radiology.settings import CtSettings


@settings(deadline=None, max_examples=40)
@given(
    box=st.tuples(*[st.integers(1, 17)] * 3),
    edge=st.integers(2, 8),
    stride_part=st.floats(0.1, 1),
    seed=st.integers(0, 99),
)
def test_patches_cover_the_tumour_and_know_their_fraction(box: tuple, edge: int, stride_part: float, seed: int) -> None:
    rim = overhang(edge)
    mask = np.pad(np.random.default_rng(seed).random(box) < 0.4, rim)
    mask[rim, rim, rim] = mask[tuple(n - 1 + rim for n in box)] = True
    patches = place_patches(mask, edge, max(1, round(edge * stride_part)), 0.0)
    covered = np.zeros_like(mask)
    for start, fraction in zip(patches.starts, patches.tumour_fraction, strict=True):
        assert (start >= 0).all()
        assert (start + edge <= mask.shape).all()
        cube = tuple(slice(s, s + edge) for s in start)
        covered[cube] = True
        assert np.isclose(fraction, mask[cube].mean())
    assert covered[mask].all()


def test_fullest_patch_is_kept_whatever_its_fraction() -> None:
    mask = np.zeros((30, 30, 30), bool)
    mask[14, 14, 14] = True
    patches = place_patches(mask, 8, 4, 0.9)
    assert len(patches) == 1
    assert patches.tumour_fraction[0] == np.float32(1 / 512)


def test_threshold_leaves_out_thin_patches() -> None:
    mask = np.zeros((40, 40, 40), bool)
    mask[8:32, 8:32, 8:20] = True
    patches = place_patches(mask, 8, 4, 0.75)
    assert patches.tumour_fraction.min() >= 0.75
    assert len(patches) < patches.candidates or patches.tumour_fraction.min() == 1


def test_centres_are_in_x_y_z_order() -> None:
    mask = np.zeros((20, 30, 40), bool)
    mask[6:10, 16:20, 26:30] = True
    patches = place_patches(mask, 4, 2, 0.5)
    assert patches.centres.tolist() == [[27.5, 17.5, 7.5]]


def test_40_mm_tumour_gives_about_two_hundred_patches_by_default() -> None:
    chosen = CtSettings()
    z, y, x = (np.indices((60, 60, 60)) - 29.5) * chosen.spacing_mm
    sphere = x**2 + y**2 + z**2 <= 20**2
    patches = place_patches(sphere, chosen.patch_voxels, chosen.stride_voxels, chosen.minimum_tumour_fraction)
    assert 60 <= len(patches) <= 220
