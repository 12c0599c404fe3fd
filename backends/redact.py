"""Takes secrets out of text that others wrote and a user is to read: an SDK's errors, a server's answers."""

from __future__ import annotations

import re

HIDDEN = "…"

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # https://user:password@host
    (re.compile(r"(?<=://)[^/\s@]+@"), ""),
    # name=value and name: value of what signs, presigned URLs above all
    (
        re.compile(
            r"(?i)\b((?:x-amz-)?(?:signature|security-token|credential|sig)|authorization|awsaccesskeyid|session_?token|"
            r"access_?token|id_?token|secret_?(?:access_?)?key|password)(\"?\s*[=:]\s*\"?)"
            r"(?:(?:bearer|basic|aws4-hmac-sha256|aws)\s+)?[^\s&,;\"'<>]+"
        ),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"), HIDDEN),  # JSON web tokens
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"), HIDDEN),  # ids of AWS keys
    # Keys and tokens as such: long, in base64, of all three kinds. Hex, names and paths have no upper case.
    (re.compile(r"(?=[A-Za-z0-9+/]*[A-Z])(?=[A-Za-z0-9+/]*[a-z])(?=[A-Za-z0-9+/]*\d)[A-Za-z0-9+/]{32,}={0,2}"), HIDDEN),
    (re.compile(r"\b[0-9a-f]{64}\b"), HIDDEN),  # signatures and HMACs
)


def redact(text: str) -> str:
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
