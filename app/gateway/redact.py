"""Takes keys and addresses of persons out of log lines, whatever brought them there. Without I/O.

What is logged holds no prompt, answer or key to begin with; but clients choose request ids and feature tags, and errors
quote what they are about. Where nothing looks like a secret it costs a few searches for fixed bytes; names that come
back are looked at once (`log.shown`).
"""

from __future__ import annotations

import re

_MARKS = (b"@", b"sk-", b"sk_", b"pk_", b"rk_", b"ghp_", b"gho_", b"ghs_", b"github_pat_", b"glpat-", b"xox", b"AKIA")
_MARKS_TOO = (b"ASIA", b"AIza", b"hf_", b"eyJ", b"earer ", b"://")
_SECRET = re.compile(
    rb"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{12,200}|\bgh[pos]_[A-Za-z0-9]{16,100}|\bgithub_pat_[A-Za-z0-9_]{16,200}"
    rb"|\bglpat-[A-Za-z0-9_-]{12,100}|\bxox[a-z]-[A-Za-z0-9-]{8,200}|\b(?:AKIA|ASIA)[A-Z0-9]{16}"
    rb"|\bAIza[A-Za-z0-9_-]{30,100}|\bhf_[A-Za-z0-9]{16,100}|\beyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_.-]{8,4000}"
    rb"|(?<=earer )[A-Za-z0-9._~+/=-]{8,4000}"
)
_EMAIL = re.compile(rb"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
_IN_URL = re.compile(rb"(?<=://)[^/@\s\"]{1,200}:[^/@\s\"]{1,200}(?=@)")


def redacted(lines: bytes) -> bytes:
    """Lines of JSON, in which strings may have lost a part."""
    if not any(mark in lines for mark in _MARKS) and not any(mark in lines for mark in _MARKS_TOO):
        return lines
    lines = _SECRET.sub(b"[SECRET]", lines)
    if b"://" in lines:
        lines = _IN_URL.sub(b"[SECRET]", lines)
    return _EMAIL.sub(b"[EMAIL]", lines) if b"@" in lines else lines
