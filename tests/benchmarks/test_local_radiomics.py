from importlib.util import find_spec

import pytest
from benchmarks.local_radiomics import as_images, differences, make_encoder, make_extractor, make_patches


@pytest.mark.skipif(
    find_spec("radiomics") is None, reason="PyRadiomics is not installed: it needs a C compiler, see docs/radiomics.md"
)
def test_patches_have_the_values_of_pyradiomics_where_definitions_agree() -> None:
    volume, mask, patches = make_patches(12, seed=5)
    encoder, extractor = make_encoder("3d_averaged"), make_extractor()
    theirs = [extractor.execute(image, label) for image, label in as_images(volume, mask, patches)]
    largest = differences(encoder, encoder.encode_exactly(volume, mask, patches), theirs)
    assert len(largest) == 90
    assert max(largest.values()) < 1e-10, max(largest, key=lambda name: largest[name])
