"""slideflow: ``<slide>.pt`` (N, D), ``<slide>.index.npz`` with ``arr_0`` (N, 2), and one ``bags_config.json``.

Locations are centres of tiles in pixels of level 0; the side of a tile is ``tile_um`` of the configuration.
"""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sparra.bags.foreign import BagSource, ForeignBag
from sparra.bags.readers.arrays import load_json, load_npy, load_npz
from sparra.bags.readers.hdf5 import number
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.bags.readers.torch_tensor import matrix_in
from sparra.errors import UserError


def recognise(path: Path) -> bool:
    """Tell slideflow's bags by the index beside them."""
    return _index(path).is_file()


def companions(source: BagSource) -> tuple[Path, ...]:
    """Return the index and the configuration."""
    return tuple(path for path in (_index(source.path), _configuration(source.path)) if path.is_file())


def read(source: BagSource) -> ForeignBag:
    """Read the features of one slide with the centres of its tiles.

    Raises
    ------
    UserError
        If a file is damaged.
    """
    path = source.path
    configuration = load_json(_configuration(path)) if _configuration(path).is_file() else {}
    return ForeignBag(
        features=matrix_in(path),
        positions=_locations(_index(path)),
        anchor="centre",
        side_um=number(configuration, "tile_um"),
        encoder_px=number(configuration, "tile_px"),
        encoder=_encoder(configuration),
        attributes={name: configuration.get(name) for name in ("tile_um", "tile_px", "num_features")},
    )


def _encoder(configuration: dict[str, Any]) -> str | None:
    """Return the last part of the extractor's class, without the word Features."""
    extractor = configuration.get("extractor")
    name = extractor.get("class") if isinstance(extractor, dict) else None
    if not isinstance(name, str):
        return None
    return name.rpartition(".")[2].removesuffix("Features") or None


def _locations(index: Path) -> NDArray[Any]:
    if index.suffix == ".npy":
        return load_npy(index)
    arrays = load_npz(index)
    if "arr_0" not in arrays:
        raise UserError("the index holds no array 'arr_0'", index, "Export the bags again")
    return arrays["arr_0"]


def _index(path: Path) -> Path:
    """Return the index, which slideflow writes as ``.npy`` where it may not use archives."""
    plain = path.with_name(f"{path.stem}.index.npy")
    return plain if plain.is_file() else path.with_name(f"{path.stem}.index.npz")


def _configuration(path: Path) -> Path:
    return path.with_name("bags_config.json")


bag_readers.register("slideflow")(BagReader("slideflow", (".pt",), recognise, read, 15, companions))
