import hashlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from sparra.bags import Bag, write_bag
from sparra.bags.readers import bag_readers, import_bag, is_bag_file
from sparra.errors import UserError
from sparra.weights.checkpoint import read_checkpoint

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


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0.5,1.5\n2.5,3.5\n", "first row holds numbers, not names"),
        ("0,0,0\n0,1,0\n", "first row holds numbers, not names"),
        (",1,3\n0,2,4\n", "first row holds numbers, not names"),
        ("\n1e-3, -2\n1,2\n", "first row holds numbers, not names"),
        ("f0,f1\n", "no patch, only names of columns"),
    ],
)
def test_a_table_without_names_or_rows_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "s1.csv").write_text(text)
    with pytest.raises(UserError, match=sentence):
        import_bag(tmp_path / "s1.csv", "slide")


@pytest.mark.parametrize("head", [",0,1", "0,1", "1,2", "V1,2"])
def test_numbers_that_pandas_gives_to_columns_are_names(tmp_path: Path, head: str) -> None:
    index = "0," if head.startswith(",") else ""
    (tmp_path / "s1.csv").write_text(f"{head}\n{index}0.5,1.5\n")
    bag = import_bag(tmp_path / "s1.csv", "slide")
    assert bag.feature_names == tuple(head.removeprefix(",").split(","))
    np.testing.assert_array_equal(bag.features, [[0.5, 1.5]])


def test_a_program_called_pt_is_refused_without_a_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "s1.pt"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match="no tensor, or holds Python objects, which sparra does not run"):
            import_bag(tmp_path / "s1.pt", "slide")
        with pytest.raises(UserError, match="would have to be run to be read"):
            read_checkpoint(tmp_path / "s1.pt")


@pytest.mark.parametrize("name", ["s1.pt", "s1.h5", "s1.npy", "s1.csv", "features.npy"])
def test_a_pointer_of_git_lfs_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(UserError, match=r"Git LFS's pointer to the file, not the file\. Run 'git lfs pull'"):
        import_bag(tmp_path / name, "slide")


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
        (torch.ones(2, 3, 4, 4), r"shape \(2, 3, 4, 4\), maps of features"),
        (
            torch.tensor([[1.0, 2.0], [1.0, 1e300]], dtype=torch.float64),
            "1 patches hold features too large for float32",
        ),
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


def test_of_many_names_in_a_file_some_are_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s1.h5", "w") as file:
        for number in range(1000):
            file.create_group(f"features/{number:04}")
    with pytest.raises(UserError, match=r"'features' is a group \(of 0000, .*, 0007 and 992 more\), not a dataset"):
        import_bag(tmp_path / "s1.h5", "slide")
