"""Whether a text has anything to see."""

from __future__ import annotations

import re
import unicodedata

BLANK_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"}
"""Controls, format characters such as joiners and marks of direction, surrogates, separators."""
BLANK_LETTERS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
"""What is blank beside: the rest of Unicode's Default_Ignorable_Code_Point, and the braille pattern of no dots."""


def is_blank(text: str) -> bool:
    """Whether no character of a text is visible; a mark that combines with one before it is."""
    return all(
        unicodedata.category(character) in BLANK_CATEGORIES or BLANK_LETTERS.match(character) for character in text
    )
