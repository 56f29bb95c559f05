"""The header scan and its command."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from radfoundry.cli.scan import Scan
from radfoundry.errors import ReadError
from radfoundry.io import read, scan
from tests._data import data_dir
from tests.io.synthetic import ct_series, dicom, save, uid


def test_one_row_a_series(tmp_path):
    ct_series(tmp_path / "ct", slices=5, SeriesDescription="Chest")
    ct_series(tmp_path / "mixed", slices=3, EchoTime=10, SeriesInstanceUID=uid("m"))
    save(
        dicom(np.ones((4, 4), np.uint16), EchoTime=20, SeriesInstanceUID=uid("m")),
        tmp_path / "mixed" / "x.dcm",
    )
    (tmp_path / "png").mkdir()
    for name in "ab":
        Pillow.new("L", (4, 4)).save(tmp_path / "png" / f"{name}.png")
    (tmp_path / "png" / "readme.txt").write_text("x")
    (tmp_path / "broken.dcm").write_bytes(b"no")
    table = scan(tmp_path).set_index("path")
    assert list(table.index) == ["broken.dcm", "ct", "mixed", "png"]
    assert table.loc["ct", ["files", "positions", "rows", "modality", "description"]].tolist() == [
        5,
        5,
        6,
        "CT",
        "Chest",
    ]
    assert table.loc["mixed", "problem"] == "2 echoes; 2 matrix sizes"
    assert table.loc["png", ["format", "files"]].tolist() == ["png", 2]
    assert table.loc["broken.dcm", "format"] == "unreadable"


def test_command_prints_json_without_identifiers(tmp_path, capsys):
    ct_series(tmp_path)
    assert Scan(tmp_path, json=True).run() == 0
    out, err = capsys.readouterr()
    (row,) = json.loads(out)
    assert (row["files"], row["format"]) == (4, "dicom")
    assert "secret" not in out.lower()
    assert "1 series, 4 files, 0 unreadable" in err
    (tmp_path / "broken.dcm").touch()
    assert Scan(tmp_path).run() == 1
    assert "broken.dcm" in capsys.readouterr().out


def test_odd_files_neither_stop_nor_hang_the_scan(tmp_path, capsys):
    """A name that is no UTF-8, a pipe, a link to its own folder."""
    ct_series(tmp_path / "ct")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.dcm")).write_bytes(b"no")
        os.mkfifo(tmp_path / "pipe.dcm")
    except OSError:
        pytest.skip("this file system has neither pipes nor free names")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert Scan(tmp_path, json=True).run() == 1
    rows = {row["path"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {"ct", "pipe.dcm", "\\xff.dcm"}
    assert "no ordinary file" in rows["pipe.dcm"]["problem"]
    with pytest.raises(ReadError, match="no ordinary file"):
        read(tmp_path)


def test_scan_of_real_series():
    table = scan(data_dir("dicom_series"))
    assert len(table) == 23 and table["files"].sum() == 532
    assert not (table["format"] == "unreadable").any()
