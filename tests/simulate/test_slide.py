import numpy as np
import openslide
import pytest
import tifffile
from scipy import ndimage

from sparra.simulate.followup import subject_generators
from sparra.simulate.settings import SimulationSettings
from sparra.simulate.slide import simulate_slide, write_slide

SMALL = {"slide_um": 1024.0}


def painted(z, index=0, **values):
    return simulate_slide(z, SimulationSettings(**{**SMALL, **values}), subject_generators(0, index).slide)


def density(slide, mask):
    """Mean optical density in red, where haematoxylin absorbs and eosin hardly does, over a 1/16 mask."""
    side = slide.rgb.shape[0] // 16
    red = -np.log((slide.rgb[: side * 16, : side * 16, 0] + 1.0) / 256)
    return red.reshape(side, 16, side, 16).mean((1, 3))[mask].mean()


def nuclear_area(slide, mask):
    """Fraction of the pixels under a 1/16 mask that are as dark as nuclei."""
    side = slide.rgb.shape[0] // 16
    dark = -np.log((slide.rgb[..., 0] + 1.0) / 256) > 0.45
    return dark.reshape(side, 16, side, 16).mean((1, 3))[mask].mean()


def nuclei(slide, mask):
    """Count and mean area in pixels of the nuclei whose centre lies in a 1/16 mask."""
    red = -np.log((slide.rgb[..., 0] + 1.0) / 256)
    labels, count = ndimage.label(ndimage.gaussian_filter(red, 1.0) > 0.36)
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, np.arange(1, count + 1))).astype(int) // 16
    inside = mask[tuple(np.minimum(centres, mask.shape[0] - 1).T)]
    areas = np.bincount(labels.ravel())[1:][inside]
    large = areas > 20
    return large.sum(), areas[large].mean()


@pytest.mark.parametrize("index", range(4))
def test_tissue_is_half_the_slide_on_white_and_away_from_its_border(index):
    slide = painted(0.0, index)
    assert 0.4 < slide.tissue.mean() < 0.55
    assert ndimage.label(slide.tissue)[1] == 1
    frame = np.ones_like(slide.tissue)
    frame[1:-1, 1:-1] = False
    assert not slide.tissue[frame].any()
    assert slide.rgb[:16].min() > 230
    stained = slide.rgb.reshape(128, 16, 128, 16, 3).mean((1, 3))
    red, green, blue = stained[ndimage.binary_erosion(slide.tissue, iterations=2)].mean(0)
    assert red > blue > green  # pink to purple


@pytest.mark.parametrize("share", [0.1, 0.22, 0.5])
def test_planted_region_is_one_piece_of_the_tissue_with_its_share(share):
    slide = painted(1.0, 2, region_share=share)
    assert not (slide.region & ~slide.tissue).any()
    assert ndimage.label(slide.region)[1] == 1
    assert abs(slide.region.sum() / slide.tissue.sum() - share) < 0.02


def test_nuclei_multiply_grow_and_darken_with_the_biomarker():
    series = [painted(z, 3) for z in (-2.0, -1.0, 0.0, 1.0, 2.0)]
    assert np.all(np.diff([density(slide, slide.region) for slide in series]) > 0.01)
    counted = [nuclei(slide, slide.region) for slide in series[:4]]  # at 2 they touch and merge
    assert np.all(np.diff([count for count, _ in counted]) > 0)
    assert np.all(np.diff([area for _, area in counted]) > 0)


def test_rest_of_the_tissue_does_not_know_the_biomarker():
    low, high = painted(-1.5, 4), painted(1.5, 4)
    np.testing.assert_array_equal(low.region, high.region)
    far = low.tissue & (ndimage.distance_transform_edt(~low.region) > 6)
    assert abs(density(low, far) / density(high, far) - 1) < 0.03
    assert density(high, high.region) > 1.5 * density(low, low.region)


def test_averaged_tissue_predicts_the_biomarker():
    biomarkers = np.random.default_rng(7).standard_normal(20)
    slides = [painted(z, 100 + index, slide_mpp=1.0) for index, z in enumerate(biomarkers)]
    whole = [nuclear_area(slide, slide.tissue) for slide in slides]
    region = [nuclear_area(slide, slide.region) for slide in slides]
    diluted, pure = np.corrcoef([whole, region, biomarkers])[2, :2]
    assert diluted > 0.7
    assert pure > 0.85
    assert pure > diluted


def test_stain_varies_between_patients_only_by_nuisance():
    def spread(nuisance):
        slides = [painted(0.0, index, nuisance=nuisance, slide_mpp=1.0) for index in range(5)]
        return np.std([density(slide, slide.tissue) for slide in slides])

    assert spread(2.0) > 3 * spread(0.0)


@pytest.mark.parametrize(("mpp", "size"), [(0.5, 2048), (0.2528, 2031), (1.0, 1000)])
def test_openslide_and_tifffile_read_size_mpp_and_levels(tmp_path, mpp, size):
    slide = painted(0.0, slide_mpp=mpp, slide_um=size * mpp)
    path = tmp_path / "slide.tiff"
    write_slide(path, slide)
    with openslide.OpenSlide(path) as read:
        assert read.dimensions == (size, size)
        assert read.level_count == 3
        np.testing.assert_allclose(read.level_downsamples, [1, 4, 16], rtol=0.01)
        for axis in "xy":
            assert float(read.properties[f"openslide.mpp-{axis}"]) == pytest.approx(mpp, rel=1e-6)
        pixels = np.asarray(read.read_region((0, 0), 0, read.dimensions).convert("RGB"), dtype=float)
        assert np.abs(pixels - slide.rgb).mean() < 4  # JPEG
        small = np.asarray(read.read_region((0, 0), 2, read.level_dimensions[2]).convert("RGB"), dtype=float)
        whole = slide.rgb[: size // 16 * 16, : size // 16 * 16].astype(float)
        means = whole.reshape(size // 16, 16, size // 16, 16, 3).mean((1, 3))
        assert np.abs(small[: size // 16, : size // 16] - means).mean() < 6
    with tifffile.TiffFile(path) as read:
        assert all(page.is_tiled and page.tile == (256, 256) for page in read.pages)
        assert [page.subfiletype for page in read.pages] == [0, 1, 1]


def test_same_seed_same_pixels():
    np.testing.assert_array_equal(painted(0.3, 2).rgb, painted(0.3, 2).rgb)
    assert (painted(0.3, 2).tissue != painted(0.3, 4).tissue).any()


def test_blur_and_ink_are_drawn_where_they_are_said_to_be() -> None:
    clean = painted(0.0)
    spoilt = painted(0.0, blurred_share=0.4, blur_um=6.0)
    inked = painted(0.0, pen_marks=2)
    assert not clean.blurred.any()
    assert not clean.inked.any()
    assert spoilt.blurred.sum() / spoilt.tissue.sum() == pytest.approx(0.4, abs=0.03)
    assert (spoilt.tissue == clean.tissue).all()
    edges = np.abs(np.diff(spoilt.rgb[..., 1].astype(float), axis=1))[:, : 16 * 127].reshape(128, 16, 127, 16)
    edges, blurred, tissue = edges.mean((1, 3)), spoilt.blurred[:, :127], spoilt.tissue[:, :127]
    assert edges[blurred].mean() < 0.3 * edges[tissue & ~blurred].mean()
    changed = (inked.rgb != clean.rgb).any(axis=2).reshape(128, 16, 128, 16).mean((1, 3))
    assert inked.inked.any()
    assert changed[inked.inked].min() > 0.9
    far_px = ndimage.distance_transform_edt(~inked.inked)
    assert (changed[far_px > 5] == 0).all()
