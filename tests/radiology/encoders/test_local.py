import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sparra.radiology.encoders import ct_encoders
from sparra.radiology.encoders.cooccurrence import cooccurrence_features, cooccurrence_matrices
from sparra.radiology.encoders.intensity import intensity_statistics
from sparra.radiology.encoders.local import LOCAL_IBSI_IDS, LocalEncoder, LocalEncoderSettings
from sparra.radiology.patches import Patches, place_patches

DATA = Path(__file__).parents[4] / "shared" / "data"


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
    assert len(set(LOCAL_IBSI_IDS.values())) == len(LOCAL_IBSI_IDS) == 38


def test_features_are_those_of_the_patch_and_only_its_tumour(volume: np.ndarray) -> None:
    mask = np.random.default_rng(8).random(volume.shape) < 0.6
    encoder = LocalEncoder(LocalEncoderSettings(bin_width_hu=50, hu_range=(-100, 200)))
    features = encoder.encode(volume, mask, patches_at([[3, 4, 5], [20, 2, 11]], 6))
    cube = (slice(20, 26), slice(2, 8), slice(11, 17))
    hu = volume[cube].clip(-100, 200)
    level = np.where(mask[cube], np.minimum((hu + 100) // 50, 5) + 1, 0).astype(int)
    expected = intensity_statistics(hu.reshape(1, -1), mask[cube].reshape(1, -1))
    expected |= cooccurrence_features(cooccurrence_matrices(level[None], 6))
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
    assert len(at_once) > 100


@pytest.mark.parametrize("hu", [-3000.0, -200.0, 37.0, 300.0, 3000.0])
def test_constant_patches_stay_finite(hu: float) -> None:
    constant = np.full((12, 12, 12), hu, np.float32)
    mask = np.zeros(constant.shape, bool)
    mask[5, 5, 5] = True
    features = LocalEncoder(LocalEncoderSettings()).encode(constant, mask, patches_at([[0, 0, 0]], 12))
    assert np.isfinite(features).all()
    assert features[0, 0] == np.clip(hu, -200, 300)


def test_coarse_and_fine_texture_differ_where_their_histograms_agree() -> None:
    fine = np.indices((12, 12, 12)).sum(axis=0) % 2 * 100.0
    coarse = (np.indices((12, 12, 12))[0] >= 6) * 100.0
    encoder, mask = LocalEncoder(LocalEncoderSettings()), np.ones((12, 12, 12), bool)
    rows = [encoder.encode(v.astype(np.float32), mask, patches_at([[0, 0, 0]], 12))[0] for v in (fine, coarse)]
    names = encoder.feature_names
    assert rows[0][names.index("stat_var")] == rows[1][names.index("stat_var")] == 2500
    assert rows[0][names.index("cm_contrast")] > 3 * rows[1][names.index("cm_contrast")]


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.exists(), reason="no ../shared/data beside the project")
def test_ibsi_digital_phantom() -> None:
    phantom = DATA / "ibsi" / "ibsi_1_digital_phantom" / "nifti"
    image, mask = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(phantom / name)))
        for name in ("image/phantom.nii.gz", "mask/mask.nii.gz")
    )
    levels = np.where(mask == 1, image, 0)
    found = intensity_statistics(levels.reshape(1, -1).astype(float), mask.reshape(1, -1) == 1)
    # The phantom's intensities are its grey levels; the highest is 6.
    found |= cooccurrence_features(cooccurrence_matrices(levels[None].astype(int), 6))
    checked = 0
    table = DATA / "ibsi" / "ibsi_reference_values" / "ibsi_1_dig_phantom.csv"
    with table.open(newline="") as handle:
        for row in csv.DictReader(handle, delimiter=";"):
            name = row["tag"].removesuffix("_3D_comb")
            if name not in found:
                continue
            expected = float(row["reference value"])
            # The consensus is published to three significant digits.
            rounding = 0.5 * 10 ** (np.floor(np.log10(abs(expected))) - 2)
            allowed = max(float(row["tolerance"]), rounding) * 1.0001
            assert found[name][0] == pytest.approx(expected, rel=0, abs=allowed), name
            checked += 1
    assert checked == len(found) == 41
