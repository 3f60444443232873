"""Texts as nobody would pick them, drawn from a seed: scripts, marks, emoji, controls, white space, very long words."""

from __future__ import annotations

import random
import unicodedata

SCRIPTS = {
    "latin": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ",
    "accented": "éèñüçåøßİıŠžőﬁ½²",
    "decomposed": "e\u0301a\u0308n\u0303o\u0302\u0323",
    "greek": "αβγδεζΑΒΓΔΕΩ\u1f00",
    "cyrillic": "абвгдежзийАБВй\u0306",
    "devanagari": "नमस्तेदुनियाहिंदीक्षत्रज्ञ",
    "bengali": "বাংলাভাষাক্ষ",
    "tamil": "தமிழ்மொழி",
    "thai": "สวัสดีชาวโลกน้ำที่นี่",
    "lao": "ສະບາຍດີ",
    "khmer": "សួស្តី",
    "tibetan": "བོད་སྐད",
    "arabic": "مرحباالعالم\u064e\u0650\u0651\u0652",
    "hebrew": "שלוםעולם\u05b8\u05bc\u05b0",
    "han": "日本語中文漢字𠮷",
    "kana": "かなカナがポﾊﾟ",
    "hangul": "한국어\u1112\u1161\u11ab",
    "ethiopic": "ሰላም",
    "digits": "0123456789٣٤५६",
}
EMOJI = (
    "👍🏽",
    "👩\u200d👩\u200d👧",
    "❤\ufe0f",
    "1\ufe0f\u20e3",
    "🇩🇪",
    "🏴\U000e0067\U000e0062\U000e007f",
    "😀",
)
PUNCTUATION = ".,;:!?-–—…'\"()[]{}/\\@#%&*_+=<>|~^`$।؟、。「」"
SPACES = (" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u2028", "\x85", "\x1f")
CONTROLS = ("\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u202e", "\u2060", "\ufeff", "\u00ad", "\x01", "\x7f")
LONE_MARKS = ("\u0301", "\u093f", "\u20dd", "\u0e34")


def texts(count: int, seed: int) -> list[str]:
    """So many texts with a visible character, equal for equal seeds."""
    drawn = random.Random(seed)
    found = (_text(drawn) for _ in iter(int, 1))
    return [text for _, text in zip(range(count), filter(_is_visible, found), strict=False)]


def _text(drawn: random.Random) -> str:
    parts = [_part(drawn) for _ in range(drawn.randint(1, 7))]
    return "".join(part + (drawn.choice(SPACES) if drawn.random() < 0.5 else "") for part in parts)


def _part(drawn: random.Random) -> str:
    parts = (
        (60, lambda: _word(drawn, drawn.randint(1, 9))),
        (10, lambda: drawn.choice(EMOJI) * drawn.randint(1, 3)),
        (12, lambda: drawn.choice(PUNCTUATION) * drawn.randint(1, 3)),
        (6, lambda: _word(drawn, 3) + drawn.choice(CONTROLS) + _word(drawn, 3)),
        (4, lambda: drawn.choice(LONE_MARKS) + drawn.choice(["", " ", "a", "!"])),
        (4, lambda: "".join(_word(drawn, 2) for _ in range(4))),  # scripts in one word
        (4, lambda: _word(drawn, drawn.randint(60, 150))),
    )
    (make,) = drawn.choices([make for _, make in parts], [weight for weight, _ in parts])
    return make()


def _word(drawn: random.Random, length: int) -> str:
    letters = SCRIPTS[drawn.choice(list(SCRIPTS))]
    word = "".join(drawn.choice(letters) for _ in range(length))
    return unicodedata.normalize(drawn.choice(["NFC", "NFD"]), word) if drawn.random() < 0.3 else word


def _is_visible(text: str) -> bool:
    return any(unicodedata.category(character)[0] in "LNPS" for character in text)
