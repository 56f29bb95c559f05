"""What can go wrong, as a small tree. Every message says what, where, and what to do next.

RadfoundryError            anything the toolkit refuses or could not do; the CLI prints it and exits 2
├── InputError             a file or table from outside is wrong
│   ├── ReadError          an image could not be read, or was refused
│   ├── TableError         a cohort, prediction or findings table breaks its contract (row and column named)
│   └── InputMismatch      an image does not fit an encoder's input contract
├── UnknownName            no encoder, dataset or study of that name (nearest names given)
├── LicenceNotAccepted     a restricted licence was not accepted by name
├── MissingExtra           an optional dependency is not installed (install command given)
├── WeightsError           a checkpoint is missing, corrupt or of another architecture
├── NotEnoughData          the data cannot support the requested estimate
└── RunError               a run folder cannot be written or read

Notice is no error but a warning: the work goes on, and the commands print it as `note: ...`.
"""

from __future__ import annotations


class RadfoundryError(Exception):
    """Base of every error the toolkit raises on purpose."""


class InputError(RadfoundryError):
    """A file or table from outside is wrong."""


class ReadError(InputError):
    """An image file could not be read, or was refused with a reason."""


class TableError(InputError):
    """A table breaks its contract; the message names the row and the column."""


class InputMismatch(InputError):
    """An image does not fit what an encoder was trained on."""


class UnknownName(RadfoundryError):
    """Nothing is registered under that name."""


class LicenceNotAccepted(RadfoundryError):
    """A restricted licence has to be accepted by name before use."""


class MissingExtra(RadfoundryError):
    """An optional dependency is not installed."""


class WeightsError(RadfoundryError):
    """A checkpoint is missing, corrupt, or belongs to another architecture."""


class NotEnoughData(RadfoundryError):
    """The data cannot support the requested estimate."""


class RunError(RadfoundryError):
    """A run folder cannot be written or read."""


class Notice(UserWarning):
    """Nothing failed, but whoever reads the result should know this."""
