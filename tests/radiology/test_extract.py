import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from sparra.bags import write_bag
from sparra.encoders import EncoderCard
from sparra.radiology.encoders import CtEncoderEntry, ct_encoders
from sparra.radiology.errors import (
    EmptyMaskError,
    GeometryMismatchError,
    LabelAbsentError,
    MaskTooSmallError,
    NonFiniteVoxelsError,
)
from sparra.radiology.extract import extract_ct
from sparra.radiology.geometry import Grid
from sparra.radiology.io import Reading, read_pair
from sparra.radiology.patches import Patches
from sparra.radiology.settings import CtSettings
from sparra.settings import Settings

PATIENT = "Doe^Jane"  # as written by conftest.write_dicom
DATA = Path(__file__).parents[3] / "shared" / "data"
STS = DATA / "sts-ct"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="no ../shared/data beside the project")
SLOPE = np.array([2.0, -3.0, 1.5])


def positions_of(grid: Grid) -> np.ndarray:
    return grid.to_mm(np.moveaxis(np.indices(grid.size[::-1])[::-1], 0, -1))


@pytest.fixture
def ramp(oblique_grid: Grid) -> np.ndarray:
    """HU that rise linearly with the position in the scanner, about 0 in the middle."""
    positions = positions_of(oblique_grid)
    return ((positions - positions.mean(axis=(0, 1, 2))) @ SLOPE).astype(np.float32)


def test_positions_lie_where_the_scanner_says(
    write_pair: Callable, ramp: np.ndarray, block_mask: np.ndarray, oblique_grid: Grid
) -> None:
    pair = write_pair(ramp, block_mask, oblique_grid)
    settings = CtSettings(patch_mm=5.0, stride_mm=3.0, encoder_options={"hu_range": (-1000, 1000), "masked": False})
    bag, preview = extract_ct(pair.image, pair.mask, 1, settings)
    middle = positions_of(oblique_grid).mean(axis=(0, 1, 2))
    # The mean of a linear ramp over a cube is its value at the centre; whole HU and the scan's edge blur it.
    expected = (bag.positions - middle) @ SLOPE
    np.testing.assert_allclose(bag.features[:, 0], expected, atol=0.5)
    assert expected.max() - expected.min() > 60
    assert bag.patch_size == pytest.approx((5 * 1.024,) * 3)
    # The preview agrees: its pixels at the positions hold the same ramp, and its mask the tumour.
    x, y, z = np.rint(preview.to_pixels(bag.positions)).astype(int).T
    np.testing.assert_allclose(preview.pixels[z, y, x], expected, atol=1.5)
    assert preview.pixels.dtype == np.int16
    assert preview.mask is not None
    tumour = positions_of(oblique_grid)[block_mask == 1].mean(axis=0)
    found = np.stack(np.nonzero(preview.mask), axis=1)[:, ::-1].mean(axis=0)
    np.testing.assert_allclose(preview.to_pixels(tumour[None])[0], found, atol=0.6)
    np.testing.assert_allclose(bag.positions.mean(axis=0), tumour, atol=1.0)


def test_preview_reaches_the_margin(
    write_pair: Callable, ramp: np.ndarray, block_mask: np.ndarray, oblique_grid: Grid
) -> None:
    pair = write_pair(ramp, block_mask, oblique_grid)
    _, preview = extract_ct(pair.image, pair.mask, 1, CtSettings(margin_mm=15.0))
    inside = np.stack(np.nonzero(preview.mask), axis=1)
    rim = np.minimum(inside.min(axis=0), np.array(preview.pixels.shape) - 1 - inside.max(axis=0))
    assert (rim * 1.024 >= 14).all()
    assert (rim * 1.024 <= 18).all()


def test_provenance_is_json_and_holds_no_names(
    write_pair: Callable, ramp: np.ndarray, block_mask: np.ndarray, oblique_grid: Grid
) -> None:
    block_mask[12:, 33:, 37:] = 1
    pair = write_pair(ramp, block_mask, oblique_grid)
    bag, _ = extract_ct(pair.image, pair.mask, None, CtSettings())
    text = json.dumps(dict(bag.provenance), allow_nan=False)
    assert str(pair.image.parent) not in text
    voxel = 0.8 * 0.9 * 3.0
    assert bag.provenance["tumour_volume_mm3"] == pytest.approx(6 * 20 * 20 * voxel)
    assert bag.provenance["components_found"] == 2
    assert bag.provenance["dropped_volume_mm3"] == pytest.approx(2 * 3 * 3 * voxel)
    assert bag.provenance["scan_spacing_mm"] == pytest.approx([0.8, 0.9, 3.0])
    assert bag.provenance["encoder"]["name"] == "local"
    assert bag.provenance["settings"]["encoder_options"]["bin_width_hu"] == 25
    everything, _ = extract_ct(pair.image, pair.mask, None, CtSettings(component="all"))
    assert everything.provenance["tumour_volume_mm3"] == pytest.approx((6 * 20 * 20 + 18) * voxel)
    assert np.ptp(everything.positions, axis=0).max() > np.ptp(bag.positions, axis=0).max()


def test_same_input_same_bag(
    write_pair: Callable, ramp: np.ndarray, block_mask: np.ndarray, oblique_grid: Grid
) -> None:
    pair = write_pair(ramp, block_mask, oblique_grid)
    first, second = (extract_ct(pair.image, pair.mask, 1, CtSettings())[0] for _ in range(2))
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.positions, second.positions)
    assert first.provenance == second.provenance


def test_mirrored_storage_gives_the_same_tumour(
    write_pair: Callable, ramp: np.ndarray, block_mask: np.ndarray, oblique_grid: Grid
) -> None:
    pair = write_pair(ramp, block_mask, oblique_grid)
    bag, _ = extract_ct(pair.image, pair.mask, 1, CtSettings())
    flipped = Grid(
        oblique_grid.size,
        oblique_grid.spacing,
        tuple(oblique_grid.to_mm([39, 0, 0]).tolist()),
        oblique_grid.direction * np.array([-1, 1, 1]),
    )
    pair = write_pair(ramp[:, :, ::-1].copy(), block_mask[:, :, ::-1].copy(), flipped)
    other, _ = extract_ct(pair.image, pair.mask, 1, CtSettings())
    assert len(other) == len(bag)
    np.testing.assert_allclose(other.positions.mean(axis=0), bag.positions.mean(axis=0), atol=1.1)
    np.testing.assert_allclose(other.features.mean(axis=0)[:4], bag.features.mean(axis=0)[:4], rtol=0.1, atol=3)


def test_tumour_that_fills_a_thin_scan(write_pair: Callable) -> None:
    grid = Grid((20, 20, 2), (1.0, 1.0, 3.0), (0.0, 0.0, 0.0), np.eye(3))
    pair = write_pair(np.full((2, 20, 20), 40.0, np.float32), np.ones((2, 20, 20), np.uint8), grid)
    bag, preview = extract_ct(pair.image, pair.mask, 1, CtSettings())
    np.testing.assert_allclose(bag.features[:, 0], 40)
    assert np.unique(preview.pixels).tolist() == [40]
    assert 0.4 < bag.extras["tumour_fraction"].max() < 0.6


def test_typed_errors(write_pair: Callable, ramp: np.ndarray, block_mask: np.ndarray, oblique_grid: Grid) -> None:
    def extract(voxels: np.ndarray, mask: np.ndarray, label: int = 1, grid: Grid | None = None) -> None:
        pair = write_pair(voxels, mask, oblique_grid, grid)
        extract_ct(pair.image, pair.mask, label, CtSettings())

    with pytest.raises(EmptyMaskError):
        extract(ramp, np.zeros_like(block_mask))
    with pytest.raises(LabelAbsentError, match="which holds 1"):
        extract(ramp, block_mask, label=2)
    few = np.zeros_like(block_mask)
    few[5, 5, 5:30] = 1
    with pytest.raises(MaskTooSmallError, match=r"54 mm³, less than minimum_volume_mm3 100"):
        extract(ramp, few)
    elsewhere = Grid(oblique_grid.size, oblique_grid.spacing, (0.0, 0.0, 0.0), oblique_grid.direction)
    with pytest.raises(GeometryMismatchError, match=r"origin by 105\.1 mm"):
        extract(ramp, block_mask, grid=elsewhere)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_voxels_matter_only_near_the_tumour(
    write_pair: Callable, ramp: np.ndarray, oblique_grid: Grid, bad: float
) -> None:
    wide = Grid((90, 36, 14), oblique_grid.spacing, oblique_grid.origin, oblique_grid.direction)
    voxels = np.pad(ramp, ((0, 0), (0, 0), (0, 50)))
    mask = np.zeros(voxels.shape, np.uint8)
    mask[4:10, 8:28, 10:30] = 1
    voxels[:, :, 70:] = bad
    pair = write_pair(voxels, mask, wide)
    bag, _ = extract_ct(pair.image, pair.mask, 1, CtSettings())
    assert np.isfinite(bag.features).all()
    voxels[5, 10, 12] = bad
    pair = write_pair(voxels, mask, wide)
    with pytest.raises(NonFiniteVoxelsError, match="1 voxels in or near"):
        extract_ct(pair.image, pair.mask, 1, CtSettings())


class Constant:
    feature_names = ()

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def encode(self, volume: np.ndarray, mask: np.ndarray, patches: Patches) -> np.ndarray:
        return np.ones((len(patches), 3), np.float32)


@pytest.fixture
def another_encoder(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(ct_encoders, "_entries", dict(ct_encoders._entries))
    card = EncoderCard("ones", "ct", 3, "", "any", "", "", "none", None, False, "none", "")
    ct_encoders.register("ones")(CtEncoderEntry(card, Settings, Constant))
    return "ones"


def test_another_encoder_joins_by_name(
    another_encoder: str, write_pair: Callable, ramp: np.ndarray, block_mask: np.ndarray, oblique_grid: Grid
) -> None:
    pair = write_pair(ramp, block_mask, oblique_grid)
    bag, _ = extract_ct(pair.image, pair.mask, 1, CtSettings(encoder=another_encoder))
    assert bag.features.shape == (len(bag), 3)
    assert bag.provenance["encoder"]["name"] == "ones"


@needs_data
@pytest.mark.real_data
def test_dicom_and_nifti_of_one_patient_agree() -> None:
    mask = STS / "nifti" / "STS_019" / "CT_mask.nii.gz"
    nifti, _ = extract_ct(STS / "nifti" / "STS_019" / "CT_image.nii.gz", mask, 1, CtSettings())
    dicom, _ = extract_ct(STS / "dicom" / "STS_019" / "CT" / "image", mask, 1, CtSettings())
    np.testing.assert_allclose(dicom.positions, nifti.positions, atol=1e-3)
    np.testing.assert_allclose(dicom.features, nifti.features, rtol=1e-4, atol=1e-4)


@needs_data
@pytest.mark.real_data
def test_structure_set_gives_the_voxels_and_features_of_the_published_mask() -> None:
    """STS_019: the mask of the NIfTI was made by others (MIRP) from this RTSTRUCT."""
    published = STS / "nifti" / "STS_019"
    series, structures = (STS / "dicom" / "STS_019" / "CT" / part for part in ("image", "mask"))
    ct, drawn = read_pair(series, structures, "GTV_Mass_CT", Reading())
    mask = sitk.GetArrayFromImage(drawn) > 0
    voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(published / "CT_image.nii.gz")))
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(published / "CT_mask.nii.gz"))) > 0
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ct), voxels)
    assert 2 * (mask & expected).sum() / (mask.sum() + expected.sum()) >= 0.99
    nifti, _ = extract_ct(published / "CT_image.nii.gz", published / "CT_mask.nii.gz", 1, CtSettings())
    dicom, _ = extract_ct(series, structures, "GTV_Mass_CT", CtSettings())
    np.testing.assert_allclose(dicom.positions, nifti.positions, atol=1e-3)
    np.testing.assert_allclose(dicom.features, nifti.features, rtol=1e-3, atol=1e-3)


def test_no_identifier_of_the_patient_reaches_the_bag(
    write_series: Callable, oblique_grid: Grid, block_mask: np.ndarray, tmp_path: Path
) -> None:
    folder = write_series(np.random.default_rng(0).integers(-50, 150, block_mask.shape).astype(np.int16))
    image = sitk.GetImageFromArray(block_mask)
    image.SetMetaData("PatientName", PATIENT)
    image.SetSpacing(oblique_grid.spacing)
    image.SetOrigin(oblique_grid.origin)
    image.SetDirection(oblique_grid.direction.ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / "mask.nrrd"))
    assert PATIENT.encode() in (tmp_path / "mask.nrrd").read_bytes()
    bag, preview = extract_ct(folder, tmp_path / "mask.nrrd", 1, CtSettings())
    write_bag(tmp_path / "bag.h5", bag, preview)
    header = pydicom.dcmread(next(folder.iterdir()))
    for secret in (PATIENT, "secret-4711", header.SeriesInstanceUID, header.FrameOfReferenceUID):
        assert secret.encode() not in (tmp_path / "bag.h5").read_bytes()


@needs_data
@pytest.mark.real_data
@pytest.mark.parametrize("patient", ["STS_002", "STS_035"])
def test_real_tumours(patient: str) -> None:
    folder = STS / "nifti" / patient
    bag, preview = extract_ct(folder / "CT_image.nii.gz", folder / "CT_mask.nii.gz", 1, CtSettings())
    assert 150 < len(bag) < 400
    mean = bag.features[:, bag.feature_names.index("stat_mean")]
    assert 0 < mean.mean() < 100  # soft tissue
    x, y, z = np.rint(preview.to_pixels(bag.positions)).astype(int).T
    assert preview.mask is not None
    full = bag.extras["tumour_fraction"] > 0.9
    assert full.sum() > 20
    assert preview.mask[z, y, x][full].all()


@needs_data
@pytest.mark.real_data
def test_kidneys_by_label_and_a_mask_of_another_crop() -> None:
    folder = DATA / "abdomen-ct"
    right, left = (
        extract_ct(folder / "example_ct_sm.nii.gz", folder / "example_seg.nii.gz", label, CtSettings())[0]
        for label in (2, 3)
    )
    # LPS: the left kidney lies at larger x.
    assert left.positions[:, 0].mean() > right.positions[:, 0].mean() + 80
    with pytest.raises(GeometryMismatchError, match="122 x 101 x 30 voxels, its CT has 122 x 101 x 112"):
        extract_ct(folder / "example_ct.nii.gz", folder / "example_seg.nii.gz", 2, CtSettings())


def test_a_given_spacing_replaces_a_header_that_is_wrong(write_pair: Callable, block_mask: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    voxels = rng.normal(40, 20, block_mask.shape).astype(np.float32)
    size = block_mask.shape[::-1]
    true = Grid(size, (0.8, 0.9, 3.0), (0.0, 0.0, 0.0), np.eye(3))
    expected, _ = extract_ct(*_paths(write_pair(voxels, block_mask, true)), 1, CtSettings())
    wrong = Grid(size, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    mended, _ = extract_ct(*_paths(write_pair(voxels, block_mask, wrong)), 1, CtSettings(), (0.8, 0.9, 3.0))
    np.testing.assert_allclose(mended.positions, expected.positions, atol=1e-4)
    np.testing.assert_allclose(mended.features, expected.features, rtol=1e-4, atol=1e-4)


def _paths(pair: object) -> tuple[Path, Path]:
    return pair.image, pair.mask  # type: ignore[attr-defined]
