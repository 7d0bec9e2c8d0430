import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparra.bags import Bag, write_bag
from sparra.bags.readers import bag_readers, import_bag, is_bag_file
from sparra.errors import UserError

HIPT = Path(__file__).parents[3] / "shared" / "data" / "hipt-rcc" / "bags"


def test_suffix_tells_bags_from_images() -> None:
    assert is_bag_file(Path("a/b.h5"))
    assert is_bag_file(Path("TCGA-3Z-A93Z-01Z-00-DX1.79F4D1A6.PT"))
    assert not is_bag_file(Path("slide.svs"))
    assert not is_bag_file(Path("ct.nii.gz"))
    assert {"sparra", "torch-tensor", "trident", "clam"} <= set(bag_readers)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(5, 3), (1, 5, 3)])
def test_tensor_becomes_a_bag(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    path = tmp_path / "bag.pt"
    tensor = torch.arange(15).reshape(shape).to(dtype)
    torch.save(tensor, path)
    bag = import_bag(path, "slide")
    np.testing.assert_array_equal(bag.features, np.arange(15.0).reshape(5, 3))
    assert bag.positions is None
    assert bag.modality == "slide"
    assert bag.provenance["reader"] == "torch-tensor"
    assert bag.provenance["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_column_without_a_name_is_no_feature(tmp_path: Path) -> None:
    (tmp_path / "s1.csv").write_text(",f0,f1\n0,0.5,1.5\n1,2.5,3.5\n")
    bag = import_bag(tmp_path / "s1.csv", "slide")
    assert bag.feature_names == ("f0", "f1")
    np.testing.assert_array_equal(bag.features, [[0.5, 1.5], [2.5, 3.5]])


def test_transposed_tensor_keeps_its_values(tmp_path: Path) -> None:
    torch.save(torch.arange(6.0).reshape(2, 3).T, tmp_path / "bag.pt")
    bag = import_bag(tmp_path / "bag.pt", "ct")
    np.testing.assert_array_equal(bag.features, [[0, 3], [1, 4], [2, 5]])
    assert bag.features.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (torch.full((3, 2), torch.nan), "3 patches hold NaN"),
        (torch.tensor([[1.0, torch.inf], [0, 0]]), "1 patches hold NaN or infinite"),
        (torch.ones(7), r"shape \(7,\)"),
        (torch.ones(2, 3, 4), r"shape \(2, 3, 4\)"),
        (torch.ones(0, 4), r"shape \(0, 4\)"),
        (torch.ones(2, 3, dtype=torch.int64), "not dense and float"),
        (torch.eye(3).to_sparse(), "not dense and float"),
        ({"values": torch.ones(2, 3)}, "holds a dictionary of values, no 'features'"),
        ({"features": [1, 2]}, "holds a list"),
        ([1, 2], "holds a list"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: Any, sentence: str) -> None:
    path = tmp_path / "odd.pt"
    torch.save(content, path)
    with pytest.raises(UserError, match=rf"odd\.pt: .*{sentence}"):
        import_bag(path, "slide")


class _Payload:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.witness,)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    path, witness = tmp_path / "evil.pt", tmp_path / "code-ran"
    torch.save(_Payload(witness), path)
    with pytest.raises(UserError, match="does not run"):
        import_bag(path, "slide")
    path.write_bytes(pickle.dumps(_Payload(witness), protocol=2))
    with pytest.raises(UserError, match="does not run"):
        import_bag(path, "slide")
    assert not witness.exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_tensor_is_one_sentence(tmp_path: Path, share: float) -> None:
    path = tmp_path / "cut.pt"
    torch.save(torch.ones(100, 8), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"cut\.pt: .*truncated") as caught:
        import_bag(path, "slide")
    assert "\n" not in str(caught.value)


def test_own_bag_keeps_positions_and_encoder(tmp_path: Path) -> None:
    bag = Bag("slide", np.ones((2, 3), np.float32), np.eye(2) * 128, provenance={"encoder": "uni"})
    write_bag(tmp_path / "bag.h5", bag)
    back = import_bag(tmp_path / "bag.h5", "slide", mpp=0.25)
    np.testing.assert_array_equal(back.positions, bag.positions)
    assert back.provenance["encoder"] == "uni"
    assert back.provenance["reader"] == "sparra"
    with pytest.raises(UserError, match="holds a slide, the table says ct"):
        import_bag(tmp_path / "bag.h5", "ct")


def test_no_file_and_no_reader(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such bag"):
        import_bag(tmp_path / "none.pt", "slide")
    (tmp_path / "bag.xyz").touch()
    with pytest.raises(UserError, match=r"'\.xyz' is no format of bags\. Readers exist for"):
        import_bag(tmp_path / "bag.xyz", "slide")


@pytest.mark.real_data
@pytest.mark.skipif(not HIPT.exists(), reason="real data absent")
def test_published_hipt_bags_import() -> None:
    paths = sorted(HIPT.glob("*.pt"))
    assert len(paths) >= 490
    bags = [import_bag(path, "slide") for path in paths[::10]]
    assert {bag.features.shape[1] for bag in bags} == {192}
    assert {bag.features.dtype for bag in bags} == {np.dtype(np.float32)}
    assert 20 < np.median([len(bag) for bag in bags]) < 80
