"""The default slide encoder: colour, texture and nuclei of a tile, from nothing but the tile itself."""

import numpy as np
from numpy.typing import NDArray

from sparra.encoders import EncoderCard
from sparra.pathology.encoders.base import SlideEncoderEntry
from sparra.pathology.encoders.nuclei import detect_nuclei
from sparra.pathology.encoders.stains import (
    EOSIN,
    HAEMATOXYLIN,
    RESIDUAL,
    Planes,
    halve,
    optical_density,
    resample,
    stain_amount,
)
from sparra.pathology.encoders.texture import (
    GLCM_STATISTICS,
    LBP_CLASSES,
    Values,
    cooccurrence_statistics,
    gradient_statistics,
    local_binary_patterns,
)

INTERNAL_MPP = 0.5
# Tiles of a few megabytes of planes stay in the processor's cache.
CHUNK = 4
WHITE_DENSITY = np.float32(0.06)
PERCENTILES = (5, 25, 50, 75, 95)
STAINS = {"haematoxylin": HAEMATOXYLIN, "eosin": EOSIN, "residual": RESIDUAL}
GRADIENT_SCALES_UM = ("0.5", "1", "2")
GLCM_DISTANCES_UM = (1, 4)

FEATURE_NAMES: tuple[str, ...] = (
    *(f"{stain}_{name}" for stain in STAINS for name in ("mean", "sd", "skewness")),
    *(f"{stain}_p{percentile}" for stain in ("haematoxylin", "eosin") for percentile in PERCENTILES),
    "haematoxylin_eosin_correlation",
    "white_fraction",
    *(
        f"{plane}_gradient_{scale}um_{name}"
        for scale in GRADIENT_SCALES_UM
        for plane in ("haematoxylin", "density")
        for name in ("mean", "sd")
    ),
    *(f"lbp_{name}" for name in LBP_CLASSES),
    *(f"haematoxylin_glcm_{distance}um_{name}" for distance in GLCM_DISTANCES_UM for name in GLCM_STATISTICS),
    "nuclei_per_mm2",
    "nuclear_area_fraction",
    "nuclear_mean_area_um2",
    "nuclear_sd_area_um2",
    "nuclear_mean_axis_ratio",
    "nuclear_sd_axis_ratio",
    "nuclear_mean_spacing_um",
    "nuclear_sd_spacing_um",
    "nuclear_touching_fraction",
    "nuclear_haematoxylin",
    "nuclear_contrast",
)


class LocalEncoder:
    """Hand-crafted features of H&E tiles, computed for whole stacks of tiles.

    Works at a fixed internal resolution: tiles at another mpp are first resampled to 0.5 µm a pixel. Colour,
    local binary patterns, co-occurrence and nuclei are taken at 1 µm, gradients at 0.5, 1 and 2 µm. Stain
    amounts are optical densities and each tile is encoded by itself. A ratio over nothing (the mean area of
    no nuclei) is 0. Spacing is the distance from a nucleus to the nearest other one in the tile.
    """

    feature_names = FEATURE_NAMES

    def encode(self, tiles: NDArray[np.uint8], mpp: float) -> NDArray[np.float32]:
        """Encode square tiles.

        Parameters
        ----------
        tiles : ndarray of uint8, shape (batch, height, height, 3)
        mpp : float
            µm per pixel of the tiles.

        Returns
        -------
        ndarray of float32, shape (batch, 64)
            Columns as in `feature_names`.
        """
        # Twice halved, so a multiple of four; at least 8 pixels remain at 2 µm.
        side = 4 * max(8, round(tiles.shape[1] * mpp / INTERNAL_MPP / 4))
        chunks = (tiles[start : start + CHUNK] for start in range(0, len(tiles), CHUNK))
        return np.concatenate([_encode(tile if side == tile.shape[1] else resample(tile, side)) for tile in chunks])


def _encode(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    density = optical_density(tiles)
    density_1um = [halve(plane) for plane in density]
    stains = {name: stain_amount(density_1um, stain) for name, stain in STAINS.items()}
    haematoxylin, mean_density = stains["haematoxylin"], _mean(density_1um)
    features = _colour(stains, mean_density)
    pyramids = {
        "haematoxylin": (stain_amount(density, HAEMATOXYLIN), haematoxylin, halve(haematoxylin)),
        "density": (_mean(density), mean_density, halve(mean_density)),
    }
    for name, pyramid in pyramids.items():
        for scale, planes in zip(GRADIENT_SCALES_UM, pyramid, strict=True):
            mean, spread = gradient_statistics(planes)
            features |= {f"{name}_gradient_{scale}um_mean": mean, f"{name}_gradient_{scale}um_sd": spread}
    patterns = local_binary_patterns(mean_density)
    features |= {f"lbp_{name}": patterns[:, column] for column, name in enumerate(LBP_CLASSES)}
    for distance in GLCM_DISTANCES_UM:
        statistics = cooccurrence_statistics(haematoxylin, distance)
        features |= {f"haematoxylin_glcm_{distance}um_{name}": value for name, value in statistics.items()}
    features |= _nuclear(haematoxylin)
    return np.stack([features[name] for name in FEATURE_NAMES], axis=1).astype(np.float32)


def _mean(density: list[Planes]) -> Planes:
    mean: Planes = (density[0] + density[1] + density[2]) * np.float32(1 / 3)
    return mean


def _colour(stains: dict[str, Planes], mean_density: Planes) -> dict[str, Values]:
    batch = len(mean_density)
    features: dict[str, Values] = {}
    deviations, spreads = {}, {}
    for name, planes in stains.items():
        values = planes.reshape(batch, -1)
        mean = values.mean(axis=1)
        deviation = values - mean[:, None]
        squares = deviation * deviation
        spread = np.sqrt(squares.mean(axis=1))
        skewness = _ratio((squares * deviation).mean(axis=1), spread**3)
        features |= {f"{name}_mean": mean, f"{name}_sd": spread, f"{name}_skewness": skewness}
        deviations[name], spreads[name] = deviation, spread
        if name != "residual":
            ordered = np.sort(values, axis=1)
            last = ordered.shape[1] - 1
            features |= {f"{name}_p{p}": ordered[:, round(last * p / 100)] for p in PERCENTILES}
    covariance = (deviations["haematoxylin"] * deviations["eosin"]).mean(axis=1)
    features["haematoxylin_eosin_correlation"] = _ratio(covariance, spreads["haematoxylin"] * spreads["eosin"])
    features["white_fraction"] = (mean_density < WHITE_DENSITY).reshape(batch, -1).mean(axis=1)
    return features


def _nuclear(haematoxylin: Planes) -> dict[str, Values]:
    nuclei = detect_nuclei(haematoxylin)
    batch, *sides = haematoxylin.shape
    area_um2 = float(np.prod(sides))
    mask, values = nuclei.mask.reshape(batch, -1), haematoxylin.reshape(batch, -1)
    nuclear_um2 = mask.sum(axis=1).astype(np.float64)
    inside = (values * mask).sum(axis=1)
    nuclear = _ratio(inside, nuclear_um2)
    elsewhere = _ratio(values.sum(axis=1) - inside, area_um2 - nuclear_um2)
    count = np.bincount(nuclei.tile, minlength=batch)
    features: dict[str, Values] = {
        "nuclei_per_mm2": count / area_um2 * 1e6,
        "nuclear_area_fraction": nuclear_um2 / area_um2,
        "nuclear_touching_fraction": _ratio(np.bincount(nuclei.tile[nuclei.touching], minlength=batch), count),
        "nuclear_haematoxylin": nuclear,
        "nuclear_contrast": np.where(count > 0, nuclear - elsewhere, 0.0),
    }
    for name, each in (
        ("area_um2", nuclei.area_um2),
        ("axis_ratio", nuclei.axis_ratio),
        ("spacing_um", nuclei.spacing_um),
    ):
        mean, spread = _over_nuclei(each, nuclei.tile, batch)
        features |= {f"nuclear_mean_{name}": mean, f"nuclear_sd_{name}": spread}
    return features


def _over_nuclei(values: Values, tile: NDArray[np.intp], batch: int) -> tuple[Values, Values]:
    """Return mean and standard deviation of the nuclei's values in each tile; NaN is left out."""
    known = np.isfinite(values)
    values, tile = values[known], tile[known]
    count = np.bincount(tile, minlength=batch)
    mean = _ratio(np.bincount(tile, values, batch), count)
    return mean, np.sqrt(_ratio(np.bincount(tile, (values - mean[tile]) ** 2, batch), count))


def _ratio(numerator: Values | NDArray[np.int64], denominator: Values | NDArray[np.int64]) -> Values:
    """Divide; 0 where the denominator is nearly 0."""
    quotient = np.zeros(len(numerator))
    return np.divide(numerator, denominator, out=quotient, where=denominator > 1e-9)


LOCAL_ENCODER = SlideEncoderEntry(
    card=EncoderCard(
        name="local",
        modality="slide",
        dimension=len(FEATURE_NAMES),
        input_description="square RGB tiles of at least 16 µm, uint8 (batch, height, width, 3)",
        resolution="any mpp; resampled to 0.5 µm per pixel",
        intensity="optical density, fixed haematoxylin and eosin vectors; no stain normalisation",
        licence="GPL-3.0-or-later",
        weights="none",
        weights_sha256=None,
        gated=False,
        pretraining="none",
        reference="Ruifrok 2001 (stains), Ojala 2002 (local binary patterns), Haralick 1973 (co-occurrence)",
    ),
    build=lambda settings: LocalEncoder(),
)
