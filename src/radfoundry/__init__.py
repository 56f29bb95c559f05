"""radfoundry: radiology foundation models from DICOM to evidence.

Importing the package is light: torch and the rest are imported where they are used.
"""

from __future__ import annotations

__version__ = "0.1.0"
