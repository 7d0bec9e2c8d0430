from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.color import rgb_from_hed
from skimage.draw import disk

WriteSlide = Callable[..., Path]
PaintTissue = Callable[..., tuple[np.ndarray, np.ndarray]]


def halved(picture: np.ndarray) -> np.ndarray:
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    blocks = picture[:height, :width].astype(np.float64).reshape(height // 2, 2, width // 2, 2, 3)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


@pytest.fixture
def write_slide(tmp_path: Path) -> WriteSlide:
    """A pyramidal tiled TIFF, lossless, with the mpp in its resolution tags."""

    def write(
        picture: np.ndarray,
        mpp: float | tuple[float, float] | None = 0.25,
        levels: int = 2,
        name: str = "slide.tif",
        description: str | None = None,
    ) -> Path:
        path = tmp_path / name
        tags: dict = {"photometric": "rgb", "tile": (256, 256), "compression": "deflate", "metadata": None}
        with tifffile.TiffWriter(path) as writer:
            for level in range(levels):
                if mpp is not None:
                    x, y = mpp if isinstance(mpp, tuple) else (mpp, mpp)
                    tags |= {"resolution": (1e4 / x / 2**level, 1e4 / y / 2**level)}
                    tags |= {"resolutionunit": "CENTIMETER"}
                writer.write(picture, subfiletype=int(level > 0), description=description, **tags)
                picture = halved(picture)
        return path

    return write


def stained(haematoxylin: np.ndarray, eosin: np.ndarray) -> np.ndarray:
    """The colour of stain amounts in optical density, by the forward Beer-Lambert law."""
    stains = [vector / np.linalg.norm(vector) for vector in rgb_from_hed[:2]]
    density = haematoxylin[..., None] * stains[0] + eosin[..., None] * stains[1]
    return np.clip(np.rint(256 * 10**-density - 1), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def paint_tissue() -> PaintTissue:
    """Nuclei of 3 µm radius, no nearer than 9 µm, in eosin: the picture, and the centres in µm."""

    def paint(
        width_um: float,
        height_um: float,
        mpp: float,
        nuclei_per_mm2: float = 2000.0,
        seed: int = 0,
        tissue_um: tuple[float, float, float, float] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(seed)
        left, top, right, bottom = tissue_um or (0.0, 0.0, width_um, height_um)
        wanted = round((right - left) * (bottom - top) * nuclei_per_mm2 / 1e6)
        centres: list[np.ndarray] = []
        for candidate in generator.uniform((left + 5, top + 5), (right - 5, bottom - 5), (wanted * 20, 2)):
            if len(centres) == wanted:
                break
            if not centres or np.min(np.linalg.norm(np.array(centres) - candidate, axis=1)) > 9:
                centres.append(candidate)
        shape = (round(height_um / mpp), round(width_um / mpp))
        haematoxylin, eosin = np.zeros(shape), np.zeros(shape)
        inside = np.s_[round(top / mpp) : round(bottom / mpp), round(left / mpp) : round(right / mpp)]
        haematoxylin[inside], eosin[inside] = 0.08, 0.25
        for x, y in centres:
            haematoxylin[disk((y / mpp - 0.5, x / mpp - 0.5), 3 / mpp, shape=shape)] = 0.7
        return stained(haematoxylin, eosin), np.array(centres).reshape(-1, 2)

    return paint
