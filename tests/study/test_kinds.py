"""One study, one encoder and one magnification."""

from pathlib import Path

import numpy as np
import pytest

from sparra.bags import Bag
from sparra.cohort.tables import ImageRecord
from sparra.errors import UserError
from sparra.modality import Modality
from sparra.study.kinds import ImageKind, kind_of, odd_images


def image(name: str, modality: Modality = "slide", side_um: float | None = 128.0, **provenance: object) -> ImageKind:
    size = None if side_um is None else (side_um,) * (3 if modality == "ct" else 2)
    n_features = int(provenance.pop("n_features", 4))
    features = np.ones((3, n_features), np.float32)
    bag = Bag(modality, features, None, size, provenance={"encoder": "uni", **provenance})
    record = ImageRecord(name, modality, Path(f"/data/{name}.h5"), None, None, None, None, 2, name)
    return ImageKind(record, kind_of(bag))


def odd(images: list[ImageKind]) -> dict[str, str]:
    return {problem.subject_id: problem.what for _, problem in odd_images(images)}


def test_alike_images_are_not_odd() -> None:
    same = [image(f"s{number}", encoder=encoder) for number, encoder in enumerate(["uni", "uni_v1", {"name": "UNI"}])]
    assert odd([*same, image("ct", "ct", 12.0, encoder="local")]) == {}
    assert odd([]) == {}


def test_images_of_another_encoder_are_named_with_those_of_the_usual_one() -> None:
    images = [image("a"), image("b"), image("c"), image("d", encoder="conch"), image("e", n_features=8)]
    found = odd(images)
    assert set(found) == {"d", "e"}
    usual = "those of most slide images are 4 of encoder 'uni' (such as data/a.h5, data/b.h5, data/c.h5)"
    assert found["d"] == f"its features are 4 of encoder 'conch', {usual}"


def test_a_study_without_a_usual_encoder_is_refused_with_the_files() -> None:
    images = [image("a"), image("b"), image("c", encoder="conch"), image("d", encoder="conch")]
    with pytest.raises(
        UserError, match=r"mixes features of 2 kinds.*2 have 4 of encoder 'uni' \(data/a\.h5, data/b\.h5\); 2 have"
    ):
        odd_images(images)


def test_slides_of_another_magnification_are_named() -> None:
    images = [image("a"), image("b", side_um=117.0), image("c"), image("d", side_um=64.0)]
    assert odd(images) == {
        "d": "its tiles are 64 µm wide, those of most slides 117 (such as data/a.h5, data/b.h5, data/c.h5)"
    }


def test_tiles_of_one_size_seen_at_another_resolution_are_named() -> None:
    images = [image("a", tile_mpp=0.5), image("b", tile_mpp=0.46), image("c", tile_mpp=1.0), image("d")]
    assert odd(images) == {"c": "its tiles are 1 µm per pixel, those of most slides 0.5 (such as data/a.h5, data/b.h5)"}


def test_a_study_without_a_usual_magnification_is_refused() -> None:
    images = [image("a"), image("b"), image("c", side_um=256), image("d", side_um=256)]
    with pytest.raises(
        UserError, match=r"mixes magnifications.*128 µm wide in /data/a\.h5 and 256 µm wide in /data/c\.h5"
    ):
        odd_images(images)


def test_patches_of_a_ct_may_differ_in_size() -> None:
    assert odd([image("a", "ct", 12.0), image("b", "ct", 40.0), image("c", "ct", 90.0)]) == {}
