import numpy as np
import torch

from sparra.segmentation.regions import REGIONS, merge_regions, region_masks, to_regions


def test_regions_and_back() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (5, 6, 7)).astype(np.uint8)
    masks = region_masks(labels)
    np.testing.assert_array_equal(merge_regions(masks), labels)
    stacked = to_regions(torch.from_numpy(labels))
    assert stacked.dtype == torch.float32
    for index, name in enumerate(REGIONS):
        np.testing.assert_array_equal(stacked[index].numpy().astype(bool), masks[name])


def test_every_combination_of_regions_has_the_label_that_the_docstring_says() -> None:
    kidney, mass, tumour = (np.array([bits >> k & 1 for bits in range(8)], bool) for k in range(3))
    merged = merge_regions({"kidney_and_mass": kidney, "mass": mass, "tumour": tumour})
    #           none  kidney mass  k+m  tumour k+t m+t all
    assert merged.tolist() == [0, 1, 3, 3, 2, 2, 2, 2]
