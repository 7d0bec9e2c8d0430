"""OME-TIFF: the resolution in the OME-XML, whatever its unit, and levels in sub-resolutions."""

import uuid
from pathlib import Path

import numpy as np
import pytest
import tifffile

from sparra.errors import UserError
from sparra.pathology.decoders.by_tifffile import _of_ome
from sparra.pathology.extract import extract_slide
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import Slide

from .conftest import PaintTissue, halved

MPP = 0.2275


def write_ome(path: Path, picture: np.ndarray, size: float, unit: str, levels: int = 3) -> None:
    """Write a pyramid whose levels are sub-resolutions (SubIFDs) of the first."""
    options: dict = {"photometric": "rgb", "tile": (256, 256), "compression": "deflate"}
    metadata = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeXUnit": unit}
    metadata |= {"PhysicalSizeY": size, "PhysicalSizeYUnit": unit}
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(picture, subifds=levels - 1, metadata=metadata, **options)
        for _ in range(levels - 1):
            picture = halved(picture)
            writer.write(picture, subfiletype=1, metadata=None, **options)


@pytest.mark.parametrize(("size", "unit"), [(MPP, "µm"), (MPP, "\u03bcm"), (MPP / 1000, "mm"), (MPP * 1000, "nm")])
def test_resolution_levels_and_pixels(tmp_path: Path, size: float, unit: str) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (900, 1300, 3), dtype=np.uint8)
    path = tmp_path / "slide.ome.tif"
    write_ome(path, picture, size, unit)
    with Slide(path) as slide:
        assert slide.resolution.x == pytest.approx(MPP)
        assert slide.resolution.source == "metadata"
        facts = slide.describe()
        assert facts["vendor"] == "ome-tiff"
        assert facts["level_dimensions"] == [[1300, 900], [650, 450], [325, 225]]
        assert np.array_equal(slide.read_um(100 * MPP, 300 * MPP, 256 * MPP, 256), picture[300:556, 100:356])
        from_level = slide.read_um(64 * MPP, 128 * MPP, 512 * MPP, 256)
    assert np.array_equal(from_level, halved(picture)[64:320, 32:288])


@pytest.mark.parametrize("overview_first", [True, False])
def test_the_slide_is_the_largest_picture(tmp_path: Path, overview_first: bool) -> None:
    slide_picture, overview = (np.full((side, side, 3), side % 256, np.uint8) for side in (700, 300))
    path = tmp_path / "slide.ome.tif"
    pictures = [(overview, 8.0), (slide_picture, MPP)]
    with tifffile.TiffWriter(path, ome=True) as writer:
        for picture, mpp in pictures if overview_first else pictures[::-1]:
            metadata = {"axes": "YXS", "PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
            writer.write(picture, photometric="rgb", tile=(256, 256), metadata=metadata)
    with Slide(path) as slide:
        assert slide.dimensions == (700, 700)
        assert slide.resolution.x == pytest.approx(MPP)
        assert (slide.read_um(0, 0, 64 * MPP, 64) == 700 % 256).all()


def test_a_file_of_a_set_shows_its_own_picture(tmp_path: Path) -> None:
    """Bio-Formats writes a set of files, in each of which OME-XML tells of all."""
    sides, names, ids = (700, 300), ("a.ome.tif", "b.ome.tif"), [f"urn:uuid:{uuid.UUID(int=n)}" for n in (1, 2)]
    images = "".join(
        f'<Image ID="Image:{n}"><Pixels ID="Pixels:{n}" DimensionOrder="XYCZT" Type="uint8" SizeX="{side}" '
        f'SizeY="{side}" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="0.{n + 1}" PhysicalSizeY="0.{n + 1}">'
        f'<Channel ID="Channel:{n}" SamplesPerPixel="3"/>'
        f'<TiffData IFD="0" PlaneCount="1"><UUID FileName="{names[n]}">{ids[n]}</UUID></TiffData></Pixels></Image>'
        for n, side in enumerate(sides)
    )
    schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    for n, side in enumerate(sides):
        picture = np.full((side, side, 3), 100 + n, np.uint8)
        xml = f'<?xml version="1.0"?><OME xmlns="{schema}" UUID="{ids[n]}">{images}</OME>'
        options: dict = {"photometric": "rgb", "tile": (256, 256), "metadata": None}
        tifffile.imwrite(tmp_path / names[n], picture, description=xml, **options)
    for n, side in enumerate(sides):
        with Slide(tmp_path / names[n]) as slide:
            assert slide.dimensions == (side, side)
            assert slide.resolution.x == pytest.approx((n + 1) / 10)
            assert (slide.read_um(0, 0, 6.4 * (n + 1), 64) == 100 + n).all()


def test_the_objective_is_the_pictures_own() -> None:
    objectives = "".join(f'<Objective ID="O:{x}" NominalMagnification="{x}"/>' for x in (2, 40))
    images = "".join(
        f'<Image><ObjectiveSettings ID="O:{x}"/><Pixels SizeX="{side}" SizeY="9"/></Image>'
        for side, x in ((5, 2), (8, 40))
    )
    xml = f'<OME xmlns="http://ome"><Instrument>{objectives}</Instrument>{images}</OME>'
    assert [_of_ome(xml, (side, 9)) for side in (5, 8, 7)] == [(None, 2.0), (None, 40.0), (None, 2.0)]
    assert _of_ome('<OME xmlns="http://ome"/>', (1, 1)) == (None, None)


def test_tissue_to_tiles(tmp_path: Path, paint_tissue: PaintTissue) -> None:
    picture, _ = paint_tissue(480, 480, 0.5, 2500, tissue_um=(96.0, 96.0, 384.0, 384.0))
    path = tmp_path / "slide.ome.tiff"
    write_ome(path, picture, 0.5, "µm", levels=2)
    bag, _ = extract_slide(path, None, SlideSettings(tile_um=64))
    assert len(bag) >= 16
    assert (np.abs(bag.positions - 240) < 170).all()


def write_planes(path: Path, picture: np.ndarray, names: list[str] | None = None, **options: object) -> None:
    """Write each colour as a picture of its own, and levels as sub-resolutions, as raw2ometiff does without --rgb."""
    metadata: dict = {"axes": "CYX", "PhysicalSizeX": MPP, "PhysicalSizeY": MPP}
    if names:
        metadata["Channel"] = {"Name": names}
    common: dict = {"photometric": "minisblack", "tile": (256, 256), **options}
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(np.moveaxis(picture, -1, 0).copy(), subifds=1, metadata=metadata, **common)
        writer.write(np.moveaxis(halved(picture), -1, 0).copy(), subfiletype=1, metadata=None, **common)


@pytest.mark.parametrize("names", [None, ["Red", "green", "B"], ["Channel 0", "Channel 1", "Channel 2"]])
@pytest.mark.parametrize("compression", [None, "deflate", "jpeg"])
def test_colours_in_three_pictures_are_one_slide(tmp_path: Path, names: list[str] | None, compression: str) -> None:
    picture = np.random.default_rng(0).integers(90, 255, (900, 1300, 3), dtype=np.uint8)
    if compression == "jpeg":  # exact where pieces are even
        picture[...] = (200, 140, 180)
    path = tmp_path / "slide.ome.tif"
    write_planes(path, picture, names, compression=compression)
    with Slide(path) as slide:
        assert slide.resolution.x == pytest.approx(MPP)
        assert slide.describe()["level_dimensions"] == [[1300, 900], [650, 450]]
        assert np.array_equal(slide.read_um(100 * MPP, 300 * MPP, 256 * MPP, 256), picture[300:556, 100:356])
        from_level = slide.read_um(64 * MPP, 128 * MPP, 512 * MPP, 256)
    assert np.array_equal(from_level, halved(picture)[64:320, 32:288])


@pytest.mark.parametrize(
    ("level", "names"),
    [(60, None), (60, ["Red", "Green", "Blue"]), (220, ["Hematoxylin", "DAB", "Residual"]), (220, ["", "", "Blue2"])],
)
def test_channels_that_are_no_colours_are_refused(tmp_path: Path, level: int, names: list[str] | None) -> None:
    path = tmp_path / "slide.ome.tif"
    write_planes(path, np.full((512, 512, 3), level, np.uint8), names)
    with pytest.raises(UserError, match="3 separate channels and not one picture in RGB colour"):
        Slide(path)


def test_a_damaged_colour_is_told(tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.tif"
    picture = np.random.default_rng(0).integers(90, 255, (900, 1300, 3), dtype=np.uint8)
    write_planes(path, picture, compression="deflate")
    with tifffile.TiffFile(path) as file:
        blue = file.series[0].levels[0].pages[2]
        start, length = blue.dataoffsets[0], blue.databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + length] = b"\x5a" * length
    path.write_bytes(content)
    with Slide(path) as slide, pytest.raises(UserError, match="damaged or cut off"):
        slide.read_um(0, 0, 100 * MPP, 100)


def test_colours_in_three_files_are_refused(tmp_path: Path) -> None:
    """Each file's own picture would otherwise be read three times, as grey."""
    names, ids = [f"s_C{n}.ome.tif" for n in range(3)], [f"urn:uuid:{uuid.UUID(int=n)}" for n in range(3)]
    channels = "".join(
        f'<Channel ID="Channel:0:{n}" SamplesPerPixel="1"/><TiffData FirstC="{n}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{names[n]}">{ids[n]}</UUID></TiffData>'
        for n in range(3)
    )
    for n in range(3):
        xml = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{ids[n]}">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="512" SizeY="512" '
            f'SizeC="3" SizeZ="1" SizeT="1">{channels}</Pixels></Image></OME>'
        )
        options: dict = {"photometric": "minisblack", "tile": (256, 256), "metadata": None}
        tifffile.imwrite(tmp_path / names[n], np.full((512, 512), 150 + n, np.uint8), description=xml, **options)
    for name in names:
        with pytest.raises(UserError, match="3 separate channels and not one picture in RGB colour"):
            Slide(tmp_path / name, MPP)


def test_pieces_are_measured_before_one_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "slide.ome.tif"
    write_planes(path, np.full((512, 512, 3), 220, np.uint8))
    monkeypatch.setattr("sparra.pathology.decoders.by_tifffile.LARGEST_PIECE_PX", 1000)
    monkeypatch.setattr("sparra.pathology.decoders.by_tifffile.are_bright", pytest.fail)
    with pytest.raises(UserError, match="pieces of 256 × 256 pixels, too large"):
        Slide(path, MPP)


@pytest.mark.parametrize("kept", [1.0, 0.9])
def test_one_channel_is_not_shown_as_the_slide(tmp_path: Path, kept: float) -> None:
    """OpenSlide opens either, and shows red alone as grey: a file cut before its OME-XML, and one stored inverted."""
    path = tmp_path / "slide.ome.tif"
    picture = np.random.default_rng(0).integers(120, 255, (512, 512, 3), dtype=np.uint8)
    write_planes(path, picture, photometric="miniswhite" if kept == 1 else "minisblack")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(UserError, match=r"not RGB|not one picture in RGB"):
        Slide(path, MPP)
