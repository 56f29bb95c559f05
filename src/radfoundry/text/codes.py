"""Codes of findings in RadLex and SNOMED CT: their form, and the check digit of SNOMED."""

from __future__ import annotations

import re

SYSTEMS = {"radlex": re.compile(r"RID\d{1,6}"), "snomed": re.compile(r"\d{6,18}")}


def valid_code(system: str, code: object) -> bool:
    """Whether it has the form of a code of a system of `SYSTEMS`; not whether any finding is called so.

    >>> valid_code("radlex", "RID34539"), valid_code("snomed", 60046008), valid_code("snomed", "60046009")
    (True, True, False)
    """
    if not isinstance(code, str | int):
        return False
    plain = str(code)
    return bool(SYSTEMS[system].fullmatch(plain)) and (system != "snomed" or verhoeff(plain))


_D = ("0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432",
      "7659821043", "8765932104", "9876543210")  # fmt: skip
_P = ("0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415",
      "7046913258")  # fmt: skip


def verhoeff(number: str) -> bool:
    """Whether the last digit checks the others (Verhoeff 1969), as in every SNOMED CT identifier.

    >>> verhoeff("60046008"), verhoeff("60046009")
    (True, False)
    """
    check = 0
    for place, digit in enumerate(reversed(number)):
        check = int(_D[check][int(_P[place % 8][int(digit)])])
    return check == 0
