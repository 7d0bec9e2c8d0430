from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparra.bags import Bag, Preview, read_bag, read_preview, write_bag
from sparra.errors import UserError


def ct_bag(n_patches: int = 7) -> Bag:
    generator = np.random.default_rng(1)
    return Bag(
        modality="ct",
        features=generator.normal(size=(n_patches, 3)).astype(np.float32),
        positions=generator.normal(size=(n_patches, 3)) * 100,
        patch_size=(6.144, 6.144, 6.144),
        feature_names=("mean", "µ₂", "entropy"),
        extras={"tumour_fraction": generator.uniform(size=n_patches), "inside": np.arange(n_patches) > 2},
        provenance={"encoder": "ibsi", "grid": {"shape": [3, 4, 5]}, "note": "x" * 100_000},
    )


def ct_preview() -> Preview:
    generator = np.random.default_rng(2)
    return Preview(
        modality="ct",
        pixels=generator.integers(-1000, 1000, (4, 5, 6)).astype(np.int16),
        mask=generator.uniform(size=(4, 5, 6)) > 0.5,
        spacing=(1.0, 2.0, 3.0),
        origin=(-10.0, 5.5, 300.25),
        direction=np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    )


def test_everything_comes_back(tmp_path: Path) -> None:
    bag, preview = ct_bag(), ct_preview()
    write_bag(tmp_path / "bag.h5", bag, preview)
    back, picture = read_bag(tmp_path / "bag.h5"), read_preview(tmp_path / "bag.h5")
    assert (back.modality, back.patch_size, back.feature_names) == ("ct", bag.patch_size, bag.feature_names)
    assert back.provenance == bag.provenance
    np.testing.assert_array_equal(back.features, bag.features)
    np.testing.assert_array_equal(back.positions, bag.positions)
    assert back.features.dtype == np.float32
    assert back.extras.keys() == bag.extras.keys()
    for name, values in bag.extras.items():
        np.testing.assert_array_equal(back.extras[name], values)
        assert back.extras[name].dtype == values.dtype
    assert picture is not None
    assert (picture.modality, picture.spacing, picture.origin) == ("ct", preview.spacing, preview.origin)
    np.testing.assert_array_equal(picture.pixels, preview.pixels)
    np.testing.assert_array_equal(picture.mask, preview.mask)
    np.testing.assert_array_equal(picture.direction, preview.direction)
    assert picture.pixels.dtype == np.int16
    assert picture.mask is not None
    assert picture.mask.dtype == np.bool_


def test_features_are_a_read_only_map_where_they_lie_in_one_piece(tmp_path: Path) -> None:
    bag = ct_bag()
    write_bag(tmp_path / "bag.h5", bag)
    features = read_bag(tmp_path / "bag.h5").features
    assert isinstance(features, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        features[0, 0] = 1
    with h5py.File(tmp_path / "bag.h5", "r+") as file:
        del file["features"]
        file.create_dataset("features", data=bag.features, chunks=(2, 3), compression="gzip")
    np.testing.assert_array_equal(read_bag(tmp_path / "bag.h5").features, bag.features)


def test_what_is_absent_stays_absent(tmp_path: Path) -> None:
    bag = Bag("slide", np.ones((3, 2)), positions=None)
    write_bag(tmp_path / "bag.h5", bag)
    back = read_bag(tmp_path / "bag.h5")
    assert (back.positions, back.patch_size, back.feature_names, dict(back.extras)) == (None, None, (), {})
    assert read_preview(tmp_path / "bag.h5") is None
    preview = Preview("slide", np.zeros((2, 3, 3), np.uint8), None, (8.0, 8.0), (4.0, 4.0), np.eye(2))
    write_bag(tmp_path / "bag.h5", bag, preview)
    picture = read_preview(tmp_path / "bag.h5")
    assert picture is not None
    assert picture.mask is None


@given(n_patches=st.integers(1, 40), n_features=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_float16_keeps_eleven_bits(
    tmp_path_factory: pytest.TempPathFactory, n_patches: int, n_features: int, seed: int
) -> None:
    features = np.random.default_rng(seed).normal(size=(n_patches, n_features)).astype(np.float32)
    path = tmp_path_factory.mktemp("bag") / "bag.h5"
    write_bag(path, Bag("slide", features, None), dtype="float16")
    back = read_bag(path)
    assert back.features.dtype == np.float16
    np.testing.assert_allclose(back.features, features, rtol=2**-11, atol=2**-24)


def test_overflow_of_float16_is_told_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too large for float16"):
        write_bag(tmp_path / "bag.h5", Bag("slide", np.array([[1e5]]), None), dtype="float16")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_bag(tmp_path: Path) -> None:
    path = tmp_path / "bag.h5"
    write_bag(path, ct_bag())
    bad = Bag("slide", np.ones((2, 2)), None, provenance={"not json": {1, 2}})
    with pytest.raises(TypeError):
        write_bag(path, bad)
    assert len(read_bag(path)) == 7
    assert [file.name for file in tmp_path.iterdir()] == ["bag.h5"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_truncated_file_is_one_sentence_with_its_name(tmp_path: Path, share: float) -> None:
    path = tmp_path / "cut.h5"
    write_bag(path, ct_bag(200), ct_preview())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    for read in (read_bag, read_preview):
        with pytest.raises(UserError, match=r"cut\.h5: the bag cannot be read") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_foreign_and_other_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    with pytest.raises(UserError, match="no such bag"):
        read_bag(path)
    with h5py.File(path, "w") as file:
        file["features"] = np.ones((2, 2))
    with pytest.raises(UserError, match="not a sparra bag"):
        read_bag(path)
    write_bag(path, ct_bag())
    with h5py.File(path, "a") as file:
        file.attrs["version"] = 99
    with pytest.raises(UserError, match="version 99 of the format, not 1"):
        read_bag(path)
    write_bag(path, ct_bag())
    with h5py.File(path, "a") as file:
        del file["features"]
    with pytest.raises(UserError, match="damaged"):
        read_bag(path)
    write_bag(path, ct_bag())
    with h5py.File(path, "a") as file:
        file["features"][0, 0] = np.nan
    with pytest.raises(UserError, match=r"other\.h5: 1 patches hold NaN"):
        read_bag(path)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"extras": {"tumour_fraction": np.ones(6)}}, r"'tumour_fraction' has shape \(6,\), expected \(7,\)"),
        ({"patch_size": (6.0, 6.0)}, "2 sides of a patch in 3 dimensions"),
    ],
)
def test_values_of_other_patches_are_refused(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        replace(ct_bag(), **changed)
