from dataclasses import replace

import numpy as np
import pytest

from sparra.radiology.encoders import ct_encoders
from sparra.radiology.encoders.local import LOCAL_FAMILIES, LOCAL_IBSI_IDS, LocalEncoder, LocalEncoderSettings
from sparra.radiology.patches import Patches, place_patches
from sparra.radiology.radiomics.histogram import histogram_features
from sparra.radiology.radiomics.intensity import intensity_statistics
from sparra.radiology.radiomics.shape import shape_features
from sparra.radiology.radiomics.texture import TEXTURE_IBSI_IDS, texture_features


def patches_at(starts: list[list[int]], edge: int) -> Patches:
    return Patches(np.array(starts), edge, np.ones(len(starts), np.float32), len(starts))


@pytest.fixture
def volume() -> np.ndarray:
    return np.rint(np.random.default_rng(4).normal(40, 60, (30, 30, 30))).astype(np.float32)


def test_card_matches_the_features(volume: np.ndarray) -> None:
    entry = ct_encoders["local"]
    encoder = entry.build(entry.settings())
    features = encoder.encode(volume, np.ones(volume.shape, bool), patches_at([[0, 0, 0], [5, 6, 7]], 8))
    assert features.dtype == np.float32
    assert features.shape == (2, entry.card.dimension) == (2, len(encoder.feature_names))
    assert len(set(LOCAL_IBSI_IDS.values())) == len(LOCAL_IBSI_IDS) == 93


def test_features_are_those_of_the_patch_and_only_its_tumour(volume: np.ndarray) -> None:
    mask = np.random.default_rng(8).random(volume.shape) < 0.6
    encoder = LocalEncoder(LocalEncoderSettings(bin_width_hu=50, hu_range=(-100, 200)))
    features = encoder.encode(volume, mask, patches_at([[3, 4, 5], [20, 2, 11]], 6))
    cube = (slice(20, 26), slice(2, 8), slice(11, 17))
    hu = volume[cube].clip(-100, 200)
    level = np.where(mask[cube], np.minimum((hu + 100) // 50, 5) + 1, 0).astype(int)
    expected = intensity_statistics(hu.reshape(1, -1), mask[cube].reshape(1, -1))
    expected |= histogram_features(level.reshape(1, -1), 6)
    expected |= texture_features(level[None], 6, list(TEXTURE_IBSI_IDS))
    for column, name in enumerate(encoder.feature_names):
        assert features[1, column] == pytest.approx(expected[name][0], rel=1e-5, abs=1e-6), name
    # What is no tumour does not matter, unless asked for.
    noise = np.where(mask, volume, 250).astype(np.float32)
    patches = patches_at([[3, 4, 5], [20, 2, 11]], 6)
    np.testing.assert_array_equal(encoder.encode(noise, mask, patches), features)
    whole = LocalEncoder(LocalEncoderSettings(masked=False))
    assert not np.array_equal(whole.encode(noise, mask, patches), whole.encode(volume, mask, patches))


def test_blocks_do_not_change_the_result(volume: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    patches = place_patches(np.pad(np.ones((18, 18, 18), bool), 6), 6, 3, 0.5)
    encoder, mask = LocalEncoder(LocalEncoderSettings()), np.ones(volume.shape, bool)
    at_once = encoder.encode(volume, mask, patches)
    monkeypatch.setattr("sparra.radiology.encoders.local._VOXELS_AT_ONCE", 1500)
    np.testing.assert_array_equal(encoder.encode(volume, mask, patches), at_once)
    monkeypatch.setattr("sparra.radiology.encoders.local._CELLS_AT_ONCE", 900)
    np.testing.assert_array_equal(encoder.encode(volume, mask, patches), at_once)
    assert len(at_once) > 100


@pytest.mark.parametrize("hu", [-3000.0, -200.0, 37.0, 300.0, 3000.0])
def test_constant_patches_stay_finite(hu: float) -> None:
    constant = np.full((12, 12, 12), hu, np.float32)
    mask = np.zeros(constant.shape, bool)
    mask[5, 5, 5] = True
    features = LocalEncoder(LocalEncoderSettings()).encode(constant, mask, patches_at([[0, 0, 0]], 12))
    assert np.isfinite(features).all()
    assert features[0, 0] == np.clip(hu, -200, 300)
    assert np.abs(features[0, list(LOCAL_IBSI_IDS).index("ngt_coarseness")]) <= 10


def test_coarse_and_fine_texture_differ_where_their_histograms_agree() -> None:
    fine = np.indices((12, 12, 12)).sum(axis=0) % 2 * 100.0
    coarse = (np.indices((12, 12, 12))[0] >= 6) * 100.0
    encoder, mask = LocalEncoder(LocalEncoderSettings()), np.ones((12, 12, 12), bool)
    rows = [encoder.encode(v.astype(np.float32), mask, patches_at([[0, 0, 0]], 12))[0] for v in (fine, coarse)]
    names = encoder.feature_names
    assert rows[0][names.index("stat_var")] == rows[1][names.index("stat_var")] == 2500
    assert rows[0][names.index("cm_contrast")] > 3 * rows[1][names.index("cm_contrast")]


def test_families_can_be_chosen_and_keep_their_values(volume: np.ndarray) -> None:
    mask, patches = np.ones(volume.shape, bool), patches_at([[1, 2, 3], [9, 9, 9]], 8)
    whole = LocalEncoder(LocalEncoderSettings())
    every = whole.encode(volume, mask, patches)
    for family, ids in LOCAL_FAMILIES.items():
        encoder = LocalEncoder(LocalEncoderSettings(families=(family,)))
        assert encoder.feature_names == tuple(ids)
        columns = [whole.feature_names.index(name) for name in ids]
        np.testing.assert_array_equal(encoder.encode(volume, mask, patches), every[:, columns])


def test_directions_may_be_averaged(volume: np.ndarray) -> None:
    mask, patches = np.ones(volume.shape, bool), patches_at([[1, 2, 3]], 8)
    encoder = LocalEncoder(LocalEncoderSettings(aggregation="3d_averaged", hu_range=(-300, 400)))
    levels = (np.floor((volume[1:9, 2:10, 3:11] + 300) / 25) + 1).astype(int)
    expected = texture_features(levels[None], 28, ["glcm", "glrlm"], "3d_averaged")
    found = dict(zip(encoder.feature_names, encoder.encode(volume, mask, patches)[0], strict=True))
    assert found["cm_contrast"] == pytest.approx(expected["cm_contrast"][0])
    assert found["rlm_lre"] == pytest.approx(expected["rlm_lre"][0])


def test_shape_of_the_tumour_joins_every_row_in_mm(volume: np.ndarray) -> None:
    mask = np.zeros(volume.shape, bool)
    mask[5:25, 6:20, 4:28] = True
    patches = replace(place_patches(mask, 6, 6, 0.5), spacing_mm=1.5)
    encoder = LocalEncoder(LocalEncoderSettings(families=("shape", "firstorder")))
    features = encoder.encode(volume, mask, patches)
    expected = shape_features(mask, (1.5, 1.5, 1.5))
    assert encoder.feature_names[18:] == tuple(expected)
    assert expected["morph_vol_approx"] == pytest.approx(20 * 14 * 24 * 1.5**3)
    for column, value in enumerate(expected.values(), start=18):
        np.testing.assert_allclose(features[:, column], value, rtol=1e-6)
    plain = LocalEncoder(LocalEncoderSettings(families=("firstorder",))).encode(volume, mask, patches)
    np.testing.assert_array_equal(features[:, :18], plain)
    alone = LocalEncoder(LocalEncoderSettings(families=("shape",)))
    assert alone.encode(volume, mask, patches).shape == (len(patches), 24)
