"""SegVol's vision transformer (Du et al. 2024), pre-trained without labels: one row a token."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt

from sparra.encoders import EncoderCard
from sparra.networks.volume_transformer import VolumeTransformer
from sparra.radiology.encoders.base import CtEncoderEntry, ct_encoders
from sparra.radiology.encoders.network import NetworkEncoder
from sparra.radiology.encoders.region import CtRegion, Orientation, Rows, Triple
from sparra.radiology.encoders.sliding import encode_windows
from sparra.radiology.encoders.windows import foreground_window, into_window
from sparra.radiology.geometry import Grid
from sparra.radiology.region import bounding_box
from sparra.weights import Layout, LoadedNetwork, NetworkOptions, WeightsSource, load_network

#: The pre-training's decoder lies in the file too; newer MONAI writes blocks of cross-attention that do nothing.
SEGVOL_LAYOUT = Layout(
    ("state_dict",),
    ("module.",),
    scope="model.encoder.",
    ignored=(r"blocks\.\d+\.(norm_cross_attn|cross_attn)\..+",),
)
#: Axes of the training's arrays: slices upwards, rows to anterior, columns to the patient's right.
_TOWARDS = "SAR"
_SOURCE = WeightsSource.on_hub("segvol", "BAAI/SegVol", "ViT_pretrain.ckpt")


class SegVolOptions(NetworkOptions):
    """Options of ``segvol``.

    Attributes
    ----------
    tokens : {"patch", "voxel"}
        ``patch``: the network sees the CT as it is, and each of its patches of 4 × 16 × 16 voxels is a row.
        ``voxel``: the paper's way: the region is enlarged 4 × 16 × 16 fold, so that each voxel becomes a patch
        and a row; hundreds of windows and some 100,000 rows for a large tumour, of blurred intensities that
        the network never saw in training.
    keep : {"tumour", "box"}
        Rows whose part of tumour is the stage's ``minimum_tumour_fraction`` at least, or (as in the paper) all
        rows in the tumour's box and its margin.
    margin_voxels : tuple of int
        Margin of that box along z, y, x.
    overlap : float
        Of neighbouring windows.
    window_batch : int
        Windows encoded at a time.
    """

    tokens: Literal["patch", "voxel"] = "patch"
    keep: Literal["tumour", "box"] = "tumour"
    margin_voxels: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt] = (4, 8, 8)
    overlap: float = Field(0.25, ge=0, lt=1)
    window_batch: int = Field(1, ge=1)


class SegVolEncoder(NetworkEncoder):
    """Moves the network over the region; rows are tokens after the last normalisation.

    The scan is turned to SAR (arrays run to superior, anterior, right), as in the training.
    """

    def __init__(self, loaded: LoadedNetwork, options: SegVolOptions) -> None:
        network = loaded.network
        assert isinstance(network, VolumeTransformer)  # for the type checker: this class builds no other
        super().__init__(loaded)
        self.options = options
        self.patch = network.patch
        self.window: Triple = tuple(n // p for n, p in zip(network.size, network.patch, strict=True))  # type: ignore[assignment]
        self.token: Triple = network.patch if options.tokens == "patch" else (1, 1, 1)

    def extent(self, box: Triple, grid: Grid) -> Triple:
        """See `RegionEncoder.extent`."""
        orientation = Orientation.of(grid, _TOWARDS)
        tokens = self._token_grid(orientation.turn_size(box))
        lengths = (float(n * t) for n, t in zip(tokens, self.token, strict=True))
        x, y, z = orientation.back_size((next(lengths), next(lengths), next(lengths)))
        return (int(z), int(y), int(x))

    def encode_region(self, region: CtRegion) -> Rows:
        """See `RegionEncoder.encode_region`."""
        orientation = Orientation.of(region.grid, _TOWARDS)
        mask = orientation.turn(region.mask).astype(bool)
        box = bounding_box(mask)
        tokens = self._token_grid(tuple(side.stop - side.start for side in box))
        part = tuple(_around(box[i], tokens[i] * self.token[i], mask.shape[i]) for i in range(3))
        first = [side.start for side in part]
        hu = orientation.turn(region.volume)[part].astype(np.float32)
        # What lies beyond the scan is black, as in the training's padding.
        inside = orientation.turn(region.inside)[part].astype(bool)
        image = np.where(inside, into_window(hu, foreground_window(region.scan)), np.float32(0))
        fraction = _block_means(mask[part], self.token)
        kept = self._kept(fraction, box, first, region.minimum_tumour_fraction)
        features = self._encode(image, tokens, kept)
        centres = np.argwhere(kept) * self.token + (np.asarray(self.token) - 1) / 2 + first
        original = orientation.back(centres.astype(np.float64), region.mask.shape)
        size = orientation.back_size((float(self.token[0]), float(self.token[1]), float(self.token[2])))
        return Rows(features, original[:, ::-1], size, fraction[kept], fraction.size)

    def _token_grid(self, box: tuple[int, ...]) -> Triple:
        """Tokens that cover a box and its margin, a window at least."""
        margin = self.options.margin_voxels
        counts = [max(w, -(-(n + 2 * m) // t)) for n, m, t, w in zip(box, margin, self.token, self.window, strict=True)]
        return (counts[0], counts[1], counts[2])

    def _kept(
        self, fraction: NDArray[np.float32], box: tuple[slice, ...], first: list[int], minimum: float
    ) -> NDArray[np.bool_]:
        if self.options.keep == "tumour":
            kept = (fraction >= minimum) & (fraction > 0)
            kept[np.unravel_index(fraction.argmax(), fraction.shape)] = True
            return kept
        within = []
        for axis, side in enumerate(box):
            margin, token = self.options.margin_voxels[axis], self.token[axis]
            centre = first[axis] + np.arange(fraction.shape[axis]) * token + (token - 1) / 2
            within.append((centre > side.start - margin - 0.5) & (centre < side.stop + margin - 0.5))
        kept_box: NDArray[np.bool_] = within[0][:, None, None] & within[1][:, None] & within[2]
        return kept_box

    def _encode(self, image: NDArray[np.float32], tokens: Triple, kept: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the features of the kept tokens, in the order of the grid."""

        def read(start: Triple) -> NDArray[np.float32]:
            if self.options.tokens == "patch":
                cut = [slice(s * t, (s + w) * t) for s, t, w in zip(start, self.token, self.window, strict=True)]
                return image[tuple(cut)]
            return enlarged(image, start, self.window, self.patch)

        def encode(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
            result: NDArray[np.float32] = self.loaded.run(torch.from_numpy(inputs)[:, None]).numpy()
            return result

        layers = encode_windows(tokens, self.window, self.options.overlap, self.options.window_batch, read, encode)
        # Filled in place: joining the layers' parts at the end would hold all of them twice.
        features = np.empty((0, 0), np.float32)
        done = 0
        for layer, found in layers:
            if layer == 0:
                features = np.empty((int(kept.sum()), found.shape[-1]), np.float32)
            rows = found[kept[layer]]
            features[done : done + len(rows)] = rows
            done += len(rows)
        return features


def enlarged(image: NDArray[np.float32], start: Triple, count: Triple, factor: Triple) -> NDArray[np.float32]:
    """Enlarge `count` voxels of `image` from `start` on, linearly, as if the whole image were enlarged.

    Voxels are areas: with factor s, the enlarged voxel j lies at (j + 1/2) / s - 1/2 of the image, and what
    lies beyond the first and the last centre repeats them.
    """
    result = image
    for axis in range(3):
        index = np.arange(start[axis] * factor[axis], (start[axis] + count[axis]) * factor[axis])
        place = ((index + 0.5) / factor[axis] - 0.5).clip(0, image.shape[axis] - 1)
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, image.shape[axis] - 1)
        shape = [1, 1, 1]
        shape[axis] = -1
        weight = (place - below).astype(np.float32).reshape(shape)
        result = result.take(below, axis) * (1 - weight) + result.take(above, axis) * weight
    return result


def _around(box: slice, length: int, size: int) -> slice:
    """Stretch of `length` with the box in its middle, inside an array of `size`."""
    first = max(0, min((box.start + box.stop - length) // 2, size - length))
    return slice(first, first + length)


def _block_means(mask: NDArray[np.bool_], block: Triple) -> NDArray[np.float32]:
    pairs = [n for side, length in zip(mask.shape, block, strict=True) for n in (side // length, length)]
    means: NDArray[np.float32] = mask.reshape(pairs).mean(axis=(1, 3, 5), dtype=np.float32)
    return means


def segvol_network() -> VolumeTransformer:
    """Make the network at its published size."""
    return VolumeTransformer()


def build_segvol(options: SegVolOptions) -> SegVolEncoder:
    """Load the weights and make the encoder.

    Raises
    ------
    UserError
        If the weights are absent or not SegVol's.
    """
    return SegVolEncoder(load_network(segvol_network, _SOURCE, SEGVOL_LAYOUT, options), options)


ct_encoders.register("segvol")(
    CtEncoderEntry(
        card=EncoderCard(
            name="segvol",
            modality="ct",
            dimension=768,
            input_description="windows of 32 x 256 x 256 voxels (z, y, x); one row a patch of 4 x 16 x 16",
            resolution="any; 1.024 mm in the paper",
            intensity="percentiles 0.05 and 99.95 of the scan's foreground to 0-1",
            licence="MIT",
            weights=_SOURCE.address,
            weights_sha256=None,
            gated=False,
            pretraining="96,000 CTs of public sources, without labels (SimMIM)",
            overlap=(
                "SegVol's data include KiTS19, KiTS23 and KiPA22 and collections of TCIA: on these cohorts it may"
                " have seen your test patients."
            ),
            reference="Du et al., NeurIPS 2024, ViT-B, tokens after the last normalisation",
            input_size=(32, 256, 256),
            files=(_SOURCE,),
            parameters_millions=87.4,
            notes="tokens: voxel is the paper's way and costs hundreds of windows a tumour; see docs/encoders.md.",
        ),
        settings=SegVolOptions,
        build=build_segvol,
    )
)
