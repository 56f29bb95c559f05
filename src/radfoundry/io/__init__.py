"""Files to typed images: `read` takes anything, `read_image` one picture, `scan` lists a tree."""

from __future__ import annotations

from radfoundry.io.reader import read, read_image
from radfoundry.io.scan import scan

__all__ = ["read", "read_image", "scan"]
