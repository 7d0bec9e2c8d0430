"""How the files of slides end, the first file of those that are folders too (MIRAX) among them."""

SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".dcm")
