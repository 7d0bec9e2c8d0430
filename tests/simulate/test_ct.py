import numpy as np
import pytest
from scipy import ndimage

from sparra.simulate.ct import CYST, KIDNEY, TUMOUR, simulate_ct
from sparra.simulate.followup import subject_generators
from sparra.simulate.settings import SimulationSettings

COARSE = (2.0, 2.0, 3.0)  # a third of the voxels, for speed


def painted(z, index=0, **values):
    return simulate_ct(z, SimulationSettings(**values), subject_generators(0, index).ct)


@pytest.fixture(scope="module")
def cohort():
    return [painted(0.0, index, ct_spacing_mm=COARSE) for index in range(12)]


def test_tumours_are_whole_and_of_clinical_size(cohort):
    for ct in cohort:
        tumour = ct.labels == TUMOUR
        assert ndimage.label(tumour)[1] == 1
        volume_mm3 = tumour.sum() * np.prod(ct.spacing_mm)
        assert 33 < 2 * (3 * volume_mm3 / (4 * np.pi)) ** (1 / 3) < 60
        edges = [np.take(tumour, [0, -1], axis=axis) for axis in range(3)]
        assert not any(edge.any() for edge in edges)


def test_tissues_have_the_hounsfield_units_of_their_kind(cohort):
    for ct in cohort:
        assert 120 < ct.hu[ct.labels == KIDNEY].mean() < 220
        assert 60 < ct.hu[ct.labels == TUMOUR].mean() < 130
        assert ct.hu[-1, -1, -1] < -900
        assert np.abs(np.median(ct.hu[:, :, 45:][ct.labels[:, :, 45:] == 0]) + 105) < 60
    assert {tuple(np.unique(ct.labels)) for ct in cohort} == {(0, 1, 2), (0, 1, 2, 3)}
    cysts = [ndimage.binary_erosion(ct.labels == CYST, iterations=2) for ct in cohort]
    fluid = [ct.hu[cyst].mean() for ct, cyst in zip(cohort, cysts, strict=True) if cyst.any()]
    assert np.all(np.abs(fluid) < 20)


@pytest.mark.parametrize("share", [0.1, 0.22, 0.5])
def test_planted_region_is_one_piece_of_the_tumour_with_its_share(share):
    ct = painted(1.0, 3, region_share=share)
    tumour = ct.labels == TUMOUR
    assert not (ct.region & ~tumour).any()
    assert ndimage.label(ct.region)[1] == 1
    assert abs(ct.region.sum() / tumour.sum() - share) < 0.01


def texture(ct):
    """Standard deviation and correlation length of the planted region away from its edge."""
    inner = ndimage.binary_erosion(ct.region, iterations=2)
    values = ct.hu - ct.hu[inner].mean()
    pairs = inner[:, :, :-2] & inner[:, :, 2:]
    lagged = (values[:, :, :-2] * values[:, :, 2:])[pairs].mean()
    return values[inner].std(), lagged / values[inner].var()


def test_region_darkens_and_coarsens_with_the_biomarker():
    series = [painted(z, 5) for z in (-2.0, -1.0, 0.0, 1.0, 2.0)]
    means = [ct.hu[ct.region].mean() for ct in series]
    assert np.all(np.diff(means) < -20)
    (smooth, fine), (rough, coarse) = texture(series[0]), texture(series[-1])
    assert rough > 1.5 * smooth
    assert coarse > fine + 0.2


def test_rest_of_the_picture_does_not_know_the_biomarker():
    low, high = painted(-2.0, 7), painted(2.0, 7)
    np.testing.assert_array_equal(low.labels, high.labels)
    far = ndimage.distance_transform_edt(~low.region) > 6
    np.testing.assert_array_equal(low.hu[far], high.hu[far])


def test_neutral_biomarker_leaves_the_region_like_the_rest(cohort):
    gaps = []
    for ct in cohort:
        core = ndimage.binary_erosion(ct.labels == TUMOUR, iterations=2)
        gaps.append(ct.hu[core & ct.region].mean() - ct.hu[core & ~ct.region].mean())
    assert np.abs(np.mean(gaps)) < 5


def test_averaged_patches_predict_the_biomarker():
    biomarkers = np.random.default_rng(9).standard_normal(20)
    cts = [painted(z, 100 + index, ct_spacing_mm=COARSE) for index, z in enumerate(biomarkers)]
    whole = [ct.hu[ndimage.binary_erosion(ct.labels == TUMOUR)].mean() for ct in cts]
    region = [ct.hu[ct.region].mean() for ct in cts]
    diluted, pure = np.corrcoef([whole, region, biomarkers])[2, :2]
    assert diluted < -0.7
    assert pure < -0.9
    assert pure < diluted


def test_spacing_is_honoured_and_noise_is_correlated_in_plane_only():
    ct = painted(0.0, ct_spacing_mm=(1.0, 1.0, 4.0), nuisance=0.0)
    assert ct.hu.shape == (32, 156, 156)
    air = ct.hu[:, -12:, -12:].astype(float)
    air -= air.mean()
    assert 7 < air.std() < 15
    assert np.mean(air[:, :, :-1] * air[:, :, 1:]) / air.var() > 0.2
    assert abs(np.mean(air[:-1] * air[1:]) / air.var()) < 0.1


def test_same_seed_same_voxels():
    np.testing.assert_array_equal(painted(0.3, 2).hu, painted(0.3, 2).hu)
    assert (painted(0.3, 2).hu != painted(0.3, 4).hu).mean() > 0.5
