"""Bags: the patch features of one image, where each patch lies, and how they came to be."""

from sparra.bags.bag import Bag
from sparra.bags.preview import Preview
from sparra.bags.store import read_bag, read_preview, write_bag

__all__ = ["Bag", "Preview", "read_bag", "read_preview", "write_bag"]
