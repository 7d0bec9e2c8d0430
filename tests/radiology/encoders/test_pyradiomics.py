import builtins
from importlib.util import find_spec

import numpy as np
import pytest
import SimpleITK as sitk
from benchmarks.parts.pyradiomics_baselines import BASELINES, IMAGES, Case, cases, ours_beside, read_images
from benchmarks.parts.pyradiomics_names import PYRADIOMICS_NAMES

from sparra.errors import UserError
from sparra.radiology.encoders import ct_encoders
from sparra.radiology.encoders.pyradiomics import PyRadiomicsEncoder, PyRadiomicsSettings, source_images
from sparra.radiology.encoders.region import CtRegion
from sparra.radiology.geometry import Grid
from sparra.radiology.region import select_tumour

needs_pyradiomics = pytest.mark.skipif(
    find_spec("radiomics") is None, reason="PyRadiomics is not installed: it needs a C compiler, see docs/radiomics.md"
)
#: What a mesh's triangles decide; its corners decide the diameters.
MESH = ("MeshVolume", "SurfaceArea", "SurfaceVolumeRatio", "Sphericity")
needs_baselines = pytest.mark.skipif(not BASELINES.exists(), reason="no ../shared/data/pyradiomics beside the project")


@pytest.fixture
def region() -> CtRegion:
    """A ball of radius 8 mm in noise, on an oblique scan of 1 x 1 x 2 mm."""
    rng = np.random.default_rng(6)
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    grid = Grid((40, 36, 20), (1.0, 1.0, 2.0), (-12.0, 30.0, 5.0), turn)
    scan = np.rint(rng.normal(40, 30, (20, 36, 40))).astype(np.float32)
    z, y, x = np.indices(scan.shape)
    mask = (2 * (z - 10)) ** 2 + (y - 17) ** 2 + (x - 21) ** 2 <= 64
    return CtRegion(scan, mask, np.ones_like(mask), grid, scan, 0.25, grid, select_tumour(mask, "largest"))


@needs_pyradiomics
def test_851_features_of_the_original_and_the_wavelets(region: CtRegion) -> None:
    entry = ct_encoders["pyradiomics"]
    encoder = entry.build(entry.settings())
    rows = encoder.encode_region(region)
    assert rows.features.shape == (1, entry.card.dimension) == (1, len(set(encoder.feature_names))) == (1, 851)
    assert sum(name.startswith("original_") for name in encoder.feature_names) == 107
    found = dict(zip(encoder.feature_names, rows.features[0], strict=True))
    assert found["original_shape_VoxelVolume"] == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.15)
    # The tumour's box: 17 x 17 voxels in the plane, 9 slices.
    assert rows.centres.tolist() == [[21, 17, 10]]
    assert rows.size == (17, 17, 9)


@needs_pyradiomics
def test_original_alone_and_resampled_to_the_stage_spacing(region: CtRegion) -> None:
    encoder = PyRadiomicsEncoder(PyRadiomicsSettings(image_types=("Original",)))
    fine = encoder.encode_region(region).features[0]
    coarse_grid = Grid((20, 18, 20), (2.0, 2.0, 2.0), region.grid.origin, region.grid.direction)
    coarse = CtRegion(
        region.volume, region.mask, region.inside, coarse_grid, region.scan, 0.25, region.grid, region.tumour
    )
    names = encoder.feature_names
    assert len(names) == 107
    assert not np.array_equal(fine, encoder.encode_region(coarse).features[0])


@needs_pyradiomics
def test_its_refusal_is_one_sentence() -> None:
    encoder = PyRadiomicsEncoder(PyRadiomicsSettings(image_types=("Original",)))
    image = sitk.GetImageFromArray(np.zeros((5, 5, 5), np.float32))
    mask = np.zeros((5, 5, 5), np.uint8)
    mask[2, 2, 2] = 1
    with pytest.raises(UserError, match="PyRadiomics refuses the tumour: mask only contains 1 segmented voxel"):
        encoder.execute(image, sitk.GetImageFromArray(mask), None)


def test_without_pyradiomics_the_error_tells_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_radiomics(name: str, *rest: object, **options: object) -> object:
        if name.split(".")[0] == "radiomics":
            raise ImportError(name)
        return real_import(name, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", no_radiomics)
    with pytest.raises(UserError, match=r"not installed.*--no-build-isolation --no-deps pyradiomics==3"):
        PyRadiomicsEncoder(PyRadiomicsSettings())


def test_the_images_are_those_of_the_scan(region: CtRegion) -> None:
    image, mask = source_images(region)
    assert (image.GetSpacing(), image.GetOrigin()) == (region.grid.spacing, region.grid.origin)
    np.testing.assert_allclose(image.GetDirection(), region.grid.direction.ravel())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask).astype(bool), region.mask)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), region.scan)


def baseline(family_names: tuple[str, ...]) -> list[Case]:
    return [case for case in cases() if case.name in family_names] if BASELINES.exists() else []


@pytest.mark.real_data
@needs_pyradiomics
@needs_baselines
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("resampled", [False, True])
def test_encoder_gives_the_published_baselines(image: str, resampled: bool) -> None:
    """All 107 features of the original image, on the scan's grid and resampled to 2 mm."""
    encoder = PyRadiomicsEncoder(PyRadiomicsSettings(image_types=("Original",)))
    found = encoder.execute(*read_images(image), (2.0, 2.0, 2.0) if resampled else None)
    name = f"{image}_resampling" if resampled else image
    compared = 0
    for case in baseline((name,)):
        # The baselines were made with voxelArrayShift, which the paper's settings do not have.
        shifted = case.settings.get("voxelArrayShift", 0)
        for feature, expected in case.expected.items():
            if shifted and feature.endswith(
                ("firstorder_Energy", "firstorder_TotalEnergy", "firstorder_RootMeanSquared")
            ):
                continue
            # For the mesh of brain1 PyRadiomics 3.0.1 itself differs from its baseline by up to 9e-4.
            mesh = name == "brain1" and feature.removeprefix("original_shape_") in MESH
            allowed = 1e-3 if mesh else 1e-6
            assert float(found[feature]) == pytest.approx(expected, rel=allowed, abs=1e-9), feature
            compared += 1
    assert compared == 107 - (0 if resampled else 3)


@pytest.mark.real_data
@needs_baselines
@pytest.mark.parametrize("image", IMAGES)
def test_our_own_features_give_the_published_baselines(image: str) -> None:
    """Where both define a feature alike; three settings, for fixed bin size and number, and slice by slice."""
    compared = set()
    for case in baseline((image, f"{image}_FBN", f"{image}_2d")):
        for name, ours, theirs in ours_beside(case) or []:
            # The two meshes cut cubes with ambiguous corners differently.
            of_area = name in ("morph_area_mesh", "morph_av", "morph_sphericity")
            allowed = 5e-3 if of_area else 1e-3 if name == "morph_volume" else 1e-9
            assert ours == pytest.approx(theirs, rel=allowed, abs=1e-12), (case.name, name)
            compared.add((case.name, name))
    assert len(compared) == 9 + 15 + 3 * 74
    assert {name for _, name in compared} == set(PYRADIOMICS_NAMES) - {"stat_energy", "stat_rms"}
