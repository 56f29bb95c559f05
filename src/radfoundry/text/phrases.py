"""Words and phrases: report and dictionary brought to the same stems, and what a phrase stands for.

The signs of a phrase (`a|b`, `a_b`, `a?`, `...`) are told in the docstring of `findings`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import product

from radfoundry.errors import InputError

GAP = "..."
MOST_WORDINGS = 2_000
"""One phrase may stand for so many wordings; more is a slip of `|`."""
WORD = re.compile(r"[^\W_]+")


def fold(text: str) -> str:
    """Lower case without accents, of the same length: offsets stay those of the text.

    >>> fold("Derrame PLEURAL, cardiomegalía")
    'derrame pleural, cardiomegalia'
    """
    if text.isascii():
        return text.lower()
    return "".join(_folded(letter) for letter in text)


@lru_cache(maxsize=4096)
def _folded(letter: str) -> str:
    first = unicodedata.normalize("NFKD", letter)[:1].lower()
    return first if len(first) == 1 else letter


@lru_cache(maxsize=65536)
def stem(word: str, language: str = "en") -> str:
    """One form for singular and plural (Spanish: and for both genders); the same on both sides is enough.

    >>> [stem(w) for w in ("opacities", "masses", "effusions", "atelectasis", "lung")]
    ['opacity', 'mass', 'effusion', 'atelectasis', 'lung']
    >>> stem("aumentadas", "es") == stem("aumentado", "es")
    True
    """
    if language == "es":
        for ending in ("es", "s"):
            if word.endswith(ending) and len(word) > len(ending) + 3:
                word = word[: -len(ending)]
                break
        return word[:-1] if word[-1] in "aeo" and len(word) > 4 else word
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def words(text: str, language: str = "en") -> tuple[str, ...]:
    """The stemmed words of a text."""
    return tuple(stem(word, language) for word in WORD.findall(fold(text)))


@lru_cache(maxsize=65536)
def parts(phrase: str, language: str = "en") -> tuple[tuple[tuple[str, ...], ...], ...]:
    """A phrase as parts between which words may stand; each part as all its wordings.

    >>> parts("effusion|pleural_fluid ... left")
    ((('effusion',), ('pleural', 'fluid')), (('left',),))
    >>> parts("small? effusion")
    ((('small', 'effusion'), ('effusion',)),)

    Raises InputError for a part without words, or a phrase that stands for too many wordings.
    """
    found, total = [], 1
    for piece in phrase.split(GAP):
        places = [_place(word, language) for word in piece.split()]
        for place in places:
            total *= len(place)
        if total > MOST_WORDINGS:
            raise InputError(f"stands for more than {MOST_WORDINGS} wordings")
        made = {tuple(w for choice in chosen for w in choice): None for chosen in product(*places)}
        if () in made:
            raise InputError("has no words before, after or between its gaps")
        found.append(tuple(made))
    return tuple(found)


def wordings(phrase: str, language: str = "en") -> tuple[tuple[tuple[str, ...], ...], ...]:
    """All wordings of a phrase, each a sequence of parts.

    >>> wordings("heart|cardiac_shadow ... enlarged")
    ((('heart',), ('enlarged',)), (('cardiac', 'shadow'), ('enlarged',)))
    """
    return tuple(product(*parts(phrase, language)))


def _place(word: str, language: str) -> list[tuple[str, ...]]:
    optional = word.endswith("?")
    found = [words(choice.replace("_", " "), language) for choice in word.removesuffix("?").split("|")]
    if not all(found):
        raise InputError(f"has an empty alternative in {word!r}")
    return [*found, ()] if optional else found
