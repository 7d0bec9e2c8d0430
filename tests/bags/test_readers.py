from pathlib import Path

import numpy as np
import pytest
import torch

from sparra.bags import Bag, write_bag
from sparra.bags.readers import import_bag, is_bag_file
from sparra.errors import UserError

DATA = Path(__file__).parents[3] / "shared" / "data" / "hipt-rcc" / "bags"


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code from the file ran",)


@pytest.mark.parametrize("shape", [(6, 4), (1, 6, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_tensor_is_read_in_either_shape(tmp_path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    features = torch.arange(24, dtype=dtype).reshape(shape)
    torch.save(features, tmp_path / "bag.pt")
    bag = import_bag(tmp_path / "bag.pt", "slide")
    np.testing.assert_array_equal(bag.features, np.arange(24, dtype=np.float32).reshape(6, 4))
    assert bag.positions is None
    assert len(str(bag.provenance["source_sha256"])) == 64


@pytest.mark.parametrize(
    "content",
    [{"features": torch.zeros(3, 2)}, torch.zeros(3), torch.zeros(2, 3, 4), torch.zeros(3, 2, dtype=torch.int64),
     torch.full((3, 2), float("nan")), torch.zeros(0, 5), "text", Evil()],
)  # fmt: skip
def test_anything_else_is_one_sentence_that_names_the_file(
    tmp_path: Path, content: object, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "bag.pt")
    with pytest.raises(UserError, match=r"bag\.pt"):
        import_bag(tmp_path / "bag.pt", "slide")
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_tensors_are_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "bag.pt"
    torch.save(torch.zeros(300, 40), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match="truncated"):
        import_bag(path, "slide")


def test_our_own_bags_are_read_and_their_modality_checked(tmp_path: Path) -> None:
    bag = Bag("slide", np.eye(3, dtype=np.float32), np.zeros((3, 2)))
    write_bag(tmp_path / "bag.h5", bag)
    np.testing.assert_array_equal(import_bag(tmp_path / "bag.h5", "slide").features, bag.features)
    with pytest.raises(UserError, match="slide bag, listed as ct"):
        import_bag(tmp_path / "bag.h5", "ct")


def test_files_are_told_apart_by_their_ending(tmp_path: Path) -> None:
    assert is_bag_file(Path("a.PT"))
    assert is_bag_file(Path("a.h5"))
    assert not is_bag_file(Path("a.svs"))
    with pytest.raises(UserError, match=r"no bag reader knows '\.svs'"):
        import_bag(Path("a.svs"), "slide")
    with pytest.raises(UserError, match="does not exist"):
        import_bag(tmp_path / "absent.pt", "slide")


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.exists(), reason="no ../shared/data beside the project")
def test_real_hipt_bags_are_read() -> None:
    for path in sorted(DATA.glob("*.pt"))[:20]:
        bag = import_bag(path, "slide")
        assert bag.features.shape[1] == 192
        assert bag.features.dtype == np.float32
