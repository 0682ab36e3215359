"""A small word list for what must not stand in an answer: threats, self-harm, insults. Made for this repository.

It finds plain cases and nothing else: it knows no context, no irony and no language but English. It is the floor that
needs no second model; a suite names a `classifier` where more is wanted.
"""

from __future__ import annotations

import re
import unicodedata

_LOOKALIKES = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"})
_INSULTS = (
    "idiot|idiots|moron|morons|imbecile|imbeciles|stupid|dumbass|dumbasses|jackass|asshole|assholes|"
    "bastard|bastards|bitch|bitches|shithead|shitheads|dickhead|dickheads|scumbag|scumbags|retard|"
    "retards|retarded|slut|sluts|whore|whores|cunt|cunts|fuckface|motherfucker|motherfuckers|wanker|"
    "wankers|douchebag|douchebags|twat|twats|subhuman|subhumans|vermin"
)
_PHRASES = (
    r"fuck (you|off)", r"(kill|hang|shoot) yourself",
    r"you (should|deserve to|must) (die|suffer|be (killed|shot|raped))",
    r"i('m going to| will| am going to) (kill|hurt|beat|rape|stab|shoot) (you|him|her|them)",
    r"(nobody|no one) would miss you", r"you are (worthless|garbage|trash|disgusting|human waste)",
    r"piece of (shit|garbage)", r"(exterminate|gas|lynch|wipe out) (all|the|every|those|them)",
    r"(they|those people) (are|should be) (animals|eliminated|exterminated|put down)", r"go to hell", r"drop dead",
)  # fmt: skip
_PATTERN = re.compile(rf"\b(?:{'|'.join((_INSULTS, *_PHRASES))})\b")


def toxic_words(text: str) -> list[str]:
    """What was found, in lower case, in order."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    found = [match[0] for match in _PATTERN.finditer(folded)]
    if not found and any(each in folded for each in "013457@$!"):
        found = [match[0] for match in _PATTERN.finditer(folded.translate(_LOOKALIKES))]
    return found
