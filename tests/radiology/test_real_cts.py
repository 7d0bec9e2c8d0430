"""Every real CT beside the project goes through the default encoder."""

from pathlib import Path

import numpy as np
import pytest

from sparra.radiology.encoders.local import LOCAL_IBSI_IDS
from sparra.radiology.extract import extract_ct
from sparra.radiology.settings import CtSettings

DATA = Path(__file__).parents[3] / "shared" / "data"
STS, ABDOMEN, PHANTOM = DATA / "sts-ct" / "nifti", DATA / "abdomen-ct", DATA / "ibsi" / "ibsi_1_ct_radiomics_phantom"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.exists(), reason="no ../shared/data beside the project"),
]


def pairs() -> list[tuple[str, Path, Path, int]]:
    """Name, CT, mask and label of each."""
    found = [
        (folder.name, folder / "CT_image.nii.gz", folder / "CT_mask.nii.gz", 1)
        for folder in (sorted(STS.glob("STS_*")) if STS.exists() else [])
    ]
    for ct in ("example_ct.nii.gz", "example_ct_sm.nii.gz"):
        for mask in ("example_seg.nii.gz", "example_seg_fast.nii.gz"):
            found += [(f"{ct[:-7]}-{mask[:-7]}-{label}", ABDOMEN / ct, ABDOMEN / mask, label) for label in (2, 3)]
    nifti = PHANTOM / "nifti"
    return [*found, ("ibsi", nifti / "image" / "phantom.nii.gz", nifti / "mask" / "mask.nii.gz", 1)]


def test_none_is_left_out() -> None:
    assert len(pairs()) == 16 + 8 + 1


@pytest.mark.parametrize(("name", "ct", "mask", "label"), pairs(), ids=[pair[0] for pair in pairs()])
def test_real_ct(name: str, ct: Path, mask: Path, label: int) -> None:
    # Half of the kidneys' masks cover a part of the scan only, on its lattice.
    bag, _ = extract_ct(ct, mask, label, CtSettings(), resample_mask=name.startswith("example"))
    assert bag.feature_names == tuple(LOCAL_IBSI_IDS)
    assert len(bag) > 50
    found = dict(zip(bag.feature_names, bag.features.T, strict=True))
    assert (found["stat_min"] <= found["stat_mean"]).all()
    assert ((found["cm_inv_diff"] > 0) & (found["cm_inv_diff"] <= 1)).all()
    assert (np.std(bag.features, axis=0) > 0).sum() > 85
