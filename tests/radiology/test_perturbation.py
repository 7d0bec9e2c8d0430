import numpy as np
import pytest
import SimpleITK as sitk

from sparra.radiology.geometry import Grid
from sparra.radiology.perturbation import Perturbation, PerturbationSettings, draw_perturbations, move_boundary, perturb


@pytest.fixture
def scan(oblique_grid: Grid) -> tuple[sitk.Image, sitk.Image]:
    """A long block, off the middle of its grid, brighter than what surrounds it."""
    mask = np.zeros(oblique_grid.size[::-1], np.uint8)
    mask[5:9, 14:20, 8:30] = 1
    images = [sitk.GetImageFromArray(array) for array in (mask * 100.0 + 10, mask)]
    for image in images:
        image.SetSpacing(oblique_grid.spacing)
        image.SetOrigin(oblique_grid.origin)
        image.SetDirection(oblique_grid.direction.ravel().tolist())
    return sitk.Cast(images[0], sitk.sitkFloat32), images[1]


def moments(image: sitk.Image) -> tuple[float, np.ndarray, np.ndarray]:
    """Volume in mm³, centre in mm and long axis of a mask."""
    grid = Grid.of(image)
    points = grid.to_mm(np.argwhere(sitk.GetArrayFromImage(image) > 0)[:, ::-1])
    axes = np.linalg.eigh(np.cov(points.T))[1]
    return len(points) * grid.voxel_mm3, points.mean(axis=0), axes[:, -1]


def measured(scan: tuple[sitk.Image, sitk.Image], perturbation: Perturbation) -> tuple[sitk.Image, sitk.Image]:
    return perturb(*scan, perturbation, 1.0, 10.0, np.random.default_rng(0))


def test_nothing_perturbed_is_the_tumour_itself(scan: tuple[sitk.Image, sitk.Image]) -> None:
    ct, mask = measured(scan, Perturbation())
    volume, centre, axis = moments(mask)
    before = moments(scan[1])
    assert volume == pytest.approx(before[0], rel=0.08)
    np.testing.assert_allclose(centre, before[1], atol=0.3)
    assert abs(axis @ before[2]) > 0.999
    assert Grid.of(ct).spacing == (1, 1, 1)
    inside = sitk.GetArrayFromImage(ct)[sitk.GetArrayFromImage(mask) > 0]
    assert np.median(inside) == pytest.approx(110, abs=2)


def test_rotation_and_translation_are_those_asked_for(scan: tuple[sitk.Image, sitk.Image]) -> None:
    _, centre, axis = moments(scan[1])
    _, mask = measured(scan, Perturbation(rotation_degrees=(0, 0, 20)))
    _, turned_centre, turned = moments(mask)
    angle = np.degrees(np.arccos(abs(turned @ axis)))
    # About the patient's z axis, which the block's own long axis does not lie square to.
    expected = np.degrees(np.arccos(1 - (1 - np.cos(np.radians(20))) * (1 - axis[2] ** 2)))
    assert angle == pytest.approx(expected, abs=1.5)
    np.testing.assert_allclose(turned_centre, centre, atol=0.5)
    _, mask = measured(scan, Perturbation(translation_mm=(3, -2, 1)))
    _, moved_centre, _ = moments(mask)
    # The scan is sampled 3, -2 and 1 mm further on.
    np.testing.assert_allclose(centre - moved_centre, (3, -2, 1), atol=0.4)


def test_noise_has_the_deviation_asked_for_and_its_generator(scan: tuple[sitk.Image, sitk.Image]) -> None:
    ct = sitk.GetArrayFromImage(scan[0])
    flat = sitk.GetImageFromArray(np.full_like(ct, 50))
    flat.CopyInformation(scan[0])
    noisy = [
        perturb(flat, scan[1], Perturbation(noise_hu=8), 0.8, 5.0, np.random.default_rng(seed))[0] for seed in (3, 3, 4)
    ]
    first, again, other = (sitk.GetArrayFromImage(image)[6:-6, 6:-6, 6:-6] for image in noisy)
    # Interpolation averages some of it away.
    assert 4 < first.std() < 9
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("distance_mm", [-3.0, -1.0, 1.0, 3.0])
def test_the_border_moves_by_the_distance(distance_mm: float) -> None:
    z, y, x = np.indices((49, 49, 49)) - 24
    ball = (z**2 + y**2 + x**2) * 0.8**2 <= 12**2
    moved = move_boundary(ball, 0.8, distance_mm)
    radius = (moved.sum() * 0.8**3 * 3 / 4 / np.pi) ** (1 / 3)
    # Half the volume is left at a radius of 9.5 mm, which 3 mm inwards would go below.
    assert radius == pytest.approx(12 + distance_mm, abs=0.45) if distance_mm > -3 else 9.5 <= radius < 12
    assert (ball & moved).sum() == min(ball.sum(), moved.sum())


def test_erosion_leaves_half_the_volume() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[3:6, 3:6, 3:6] = True
    assert move_boundary(mask, 1.0, -5.0).sum() >= 13.5


def test_draws_are_the_same_for_a_seed_and_within_their_limits() -> None:
    settings = PerturbationSettings(repeats=50, rotation_degrees=3, translation_mm=0.4, noise_hu=7, boundary_mm=1.2)
    drawn = draw_perturbations(settings)
    assert drawn == draw_perturbations(settings)
    assert drawn[0] == Perturbation()
    assert len(set(drawn)) == 51
    assert all(max(map(abs, d.rotation_degrees)) <= 3 and max(map(abs, d.translation_mm)) <= 0.4 for d in drawn)
    assert all(abs(d.boundary_mm) <= 1.2 for d in drawn)
    assert {d.noise_hu for d in drawn[1:]} == {7}
    still = draw_perturbations(PerturbationSettings(repeats=2, rotation_degrees=0, translation_mm=0, noise_hu=0))
    assert {d.rotation_degrees for d in still} == {(0, 0, 0)}
