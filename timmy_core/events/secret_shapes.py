"""What secrets look like: own rules for keys, macaroons, seed phrases and passwords in text, and those of a package.

What is asked first is cheap: whether a text holds the letters without which a pattern cannot match. Every pattern is
linear in the text: what may repeat has a bound, or cannot begin in the middle of itself. The package's patterns are not
all so, and see single words of bounded length only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

Span: TypeAlias = tuple[int, int, str]
_Test: TypeAlias = Callable[[str], bool]
# (kind, pattern, test of what was found)
_Rule: TypeAlias = tuple[str, re.Pattern[str], _Test | None]

_DIGIT: Final = re.compile(r"\d")
_HEX_END: Final = re.compile(r"[0-9a-f]{40}\Z")
_PLAIN_WORD: Final = re.compile(r"[^\W\d_]+[.!?]?\Z")

# A text without any of these holds no secret that is told by its shape; most texts end here.
_MAYBE: Final = re.compile(r"[^\s,;]{16}|[=:]|(?i:bearer|basic)\s|PRIVATE KEY")
# Only words like these can be a token of some service: letters mixed with digits, or long.
_WORD: Final = re.compile(r"[^\s\"'<>,;()]{12,}")
_TOKEN: Final = re.compile(r"(?=[A-Za-z0-9]*\d)[A-Za-z0-9]{16}|[A-Za-z0-9_-]{30}|xox[a-z]-|AKC")
_PIECE: Final = 2_000  # a longer word is looked at in pieces, which overlap by the longest token
_OVERLAP: Final = 300


def _has_digit(text: str) -> bool:
    return _DIGIT.search(text) is not None


def _long_or_digit(text: str) -> bool:
    return len(text) >= 20 or _has_digit(text)  # noqa: PLR2004 - longer than a word of prose


def _is_basic(text: str) -> bool:
    """Whether it is `user:password` in base64."""
    try:
        return b":" in base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False


_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def _is_base58check(text: str) -> bool:
    number = 0
    for sign in text:
        number = number * 58 + _BASE58.index(sign)
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return hashlib.sha256(hashlib.sha256(raw[:-4]).digest()).digest()[:4] == raw[-4:]


_START: Final = r"(?<![A-Za-z0-9])"
_KEYS: Final[dict[str, str]] = {
    "sk-": r"sk-(?=[A-Za-z_-]{0,40}\d)[A-Za-z0-9_-]{16,}",
    "k_live_": r"[srp]k_live_[A-Za-z0-9]{16,}",
    "k_test_": r"[srp]k_test_[A-Za-z0-9]{16,}",
    "gh": r"gh[pousr]_[A-Za-z0-9]{20,}",
    "github_pat_": r"github_pat_\w{20,}",
    "glpat-": r"glpat-[\w-]{20,}",
    "AIza": r"AIza[\w-]{35}",
    "hf_": r"hf_[A-Za-z0-9]{30,}",
    "gsk_": r"gsk_[A-Za-z0-9]{20,}",
    "npm_": r"npm_[A-Za-z0-9]{20,}",
    "whsec_": r"whsec_[A-Za-z0-9]{20,}",
    "dop_v1_": r"dop_v1_[A-Za-z0-9]{20,}",
    "xai-": r"xai-[\w-]{20,}",
    "pplx-": r"pplx-[\w-]{20,}",
    "tskey-": r"tskey-[\w-]{20,}",
    "pypi-": r"pypi-AgE[\w-]{20,}",
    "AGE-SECRET-KEY-1": r"AGE-SECRET-KEY-1[0-9A-Z]{20,}",
    "nsec1": r"nsec1[02-9ac-hj-np-z]{58}",
    "prv": r"[xyztuv]prv[1-9A-HJ-NP-Za-km-z]{90,}",
}
_NAMED: Final = (
    "password", "passwd", "passphrase", "pwd", "secret", "apikey", "api_key", "api-key", "accesskey", "access_key",
    "access-key", "adminkey", "admin_key", "admin-key", "invoice_key", "invoice-key", "privatekey", "private_key",
    "private-key", "signing_key", "signing-key", "token", "macaroon", "preimage", "mnemonic", "rune", "pin",
)  # fmt: skip
_ASSIGNED: Final = re.compile(
    rf"(?i)(?:{'|'.join(_NAMED[:-2])}|(?<![a-z])(?:rune|pin))"
    r"\\?[\"']?\s{0,3}(?P<sign>=>|:=|=|:)\s{0,3}(?P<quote>\\?[\"']?)(?P<secret>[^\s\"'\\&,;{}()\[\]<>]{4,500})"
)
# (letters that have to be there, rule); the secret is the group of that name, or all where there is none.
_OWN: Final[tuple[tuple[tuple[str, ...], _Rule], ...]] = (
    (
        ("PRIVATE KEY",),
        (
            "private key",
            re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY.*?(?:-----END [A-Z0-9 ]{0,60}-----|\Z)", re.DOTALL),
            None,
        ),
    ),
    (("PuTTY-User-Key",), ("private key", re.compile(r"PuTTY-User-Key-File-\d:.*", re.DOTALL), None)),
    # Its signature alone is 64 digits: what has no more is a hash.
    (("0201",), ("macaroon", re.compile(_START + r"0201[0-9a-fA-F]{61,}"), None)),
    (("AgE",), ("macaroon", re.compile(_START + r"AgE[A-Z][\w+/-]{40,}={0,2}"), None)),
    (("MDAx",), ("macaroon", re.compile(_START + r"MDAx[\w+/-]{60,}={0,2}"), None)),
    (("L402", "LSAT"), ("macaroon", re.compile(r"\b(?:L402|LSAT)\s{1,3}(?P<secret>[\w+/=:-]{16,})"), None)),
    (("bearer",), ("token", re.compile(r"(?i)\bbearer\s{1,3}(?P<secret>[\w.~+/=-]{8,})"), _long_or_digit)),
    (("eyJ",), ("token", re.compile(r"(?<![\w-])eyJ[\w=-]{8,}\.[\w=-]{2,}(?:\.[\w=-]*){0,3}"), None)),
    (
        ("basic",),
        ("password", re.compile(r"(?i)\bbasic\s{1,3}(?P<secret>[a-z0-9+/]{6,}={0,2})(?![\w+/=])"), _is_basic),
    ),
    (
        ("://",),
        ("password", re.compile(r"://[^\s/:@\"'<>]{0,200}:(?P<secret>[^\s/@\"'<>]{1,200})@"), None),
    ),
    (tuple(_KEYS), ("key", re.compile(f"{_START}(?:{'|'.join(_KEYS.values())})"), None)),
    (("cashu",), ("ecash", re.compile(_START + r"cashu[AB][\w-]{40,}={0,2}"), None)),
    (
        ("5", "K", "L", "c", "9"),
        ("key", re.compile(_START + r"[5KLc9][1-9A-HJ-NP-Za-km-z]{50,51}(?![A-Za-z0-9])"), _is_base58check),
    ),
)

# Rules of the package that are not used, and why.
_UNUSED: Final = frozenset(
    {
        "KeywordDetector",  # names are judged here, with what they mean in this house
        "Base64HighEntropyString", "HexHighEntropyString",  # ids and hashes are what a log is full of
        "AzureStorageKeyDetector",  # 64 bytes in base64 are most often a SHA-512
        "BasicAuthDetector", "PrivateKeyDetector", "JwtTokenDetector",  # own rules, which take all of it
        "CloudantDetector", "SoftlayerDetector", "IbmCloudIamDetector", "IbmCosHmacDetector",  # names with a value
    }
)  # fmt: skip


class Shapes:
    """Finds secrets in text; the package's rules and the word list load when a text first needs them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: tuple[_Rule, ...] | None = None
        self._words: dict[str, int] | None = None

    def load(self) -> None:
        """Load what loads late."""
        self._service_rules()
        self._word_list()

    def find(self, text: str) -> list[Span]:
        """Return where the secrets of a text begin and end, in order, without overlaps, and what each is."""
        spans: list[Span] = []
        if _MAYBE.search(text):
            spans += self._by_rules(text)
        if text.count(" ") + text.count("\n") + text.count(",") >= _PHRASES[-1] - 1:
            spans += self._phrases(text)
        return _merged(spans) if spans else spans

    def is_phrase(self, text: str) -> bool:
        """Whether a seed phrase is in a text."""
        return next(self._phrases(text), None) is not None

    def _by_rules(self, text: str) -> Iterator[Span]:
        low = text.lower()
        for needles, rule in _OWN:
            if any(needle in text or needle in low for needle in needles):
                yield from _matches(text, rule)
        if ("=" in text or ":" in text) and any(name in low for name in _NAMED):
            yield from (_assigned(match) for match in _ASSIGNED.finditer(text) if _is_value(match))
        yield from self._of_services(text)

    def _of_services(self, text: str) -> Iterator[Span]:
        for word in _WORD.finditer(text):
            if not _TOKEN.search(text, *word.span()):
                continue
            for start in range(*word.span(), _PIECE - _OVERLAP):
                piece = text[start : min(start + _PIECE, word.end())]
                for rule in self._service_rules():
                    for first, last, kind in _matches(piece, rule):
                        if _stands_alone(text, start + first, start + last):
                            yield start + first, start + last, kind

    # Tokens of services --------------------------------------------------------------------------------------

    def _service_rules(self) -> tuple[_Rule, ...]:
        with self._lock:
            if self._rules is None:
                self._rules = _load_rules()
        return self._rules

    # Seed phrases --------------------------------------------------------------------------------------------

    def _word_list(self) -> dict[str, int]:
        with self._lock:
            if self._words is None:
                from mnemonic import Mnemonic

                self._words = {word: place for place, word in enumerate(Mnemonic("english").wordlist)}
        return self._words

    def _phrases(self, text: str) -> Iterator[Span]:
        """BIP-39: 12 to 24 words of the list with a checksum in them; numbers and signs may stand between."""
        known = self._word_list()
        if _RUN not in bytes(map(known.__contains__, _LETTERS.findall(text.lower()))):
            return
        run: list[re.Match[str]] = []
        for match in _LETTERS.finditer(text):
            if match.group().lower() in known:
                run.append(match)
                continue
            yield from _in_run(run, known)
            run = []
        yield from _in_run(run, known)


_LETTERS: Final = re.compile(r"[A-Za-z]+")
_PHRASES: Final = (24, 21, 18, 15, 12)
_RUN: Final = b"\x01" * _PHRASES[-1]  # so many words of the list, one after the other


def _in_run(run: list[re.Match[str]], known: dict[str, int]) -> Iterator[Span]:
    if len(run) < _PHRASES[-1]:
        return
    places = [known[match.group().lower()] for match in run]
    first = 0
    while len(run) - first >= _PHRASES[-1]:
        size = next((size for size in _PHRASES if _holds(places[first : first + size], size)), 0)
        if size:
            yield run[first].start(), run[first + size - 1].end(), "seed phrase"
        first += size or 1


def _holds(places: list[int], size: int) -> bool:
    """Whether words (by their places in the list, 11 bits each) end with the checksum of those before it."""
    if len(places) != size:
        return False
    number = 0
    for place in places:
        number = number << 11 | place
    bits = size // 3
    entropy = (number >> bits).to_bytes(bits * 4, "big")
    return number & (1 << bits) - 1 == hashlib.sha256(entropy).digest()[0] >> 8 - bits


def _assigned(match: re.Match[str]) -> Span:
    return *match.span("secret"), "secret"


def _matches(text: str, rule: _Rule) -> Iterator[Span]:
    kind, pattern, test = rule
    group = "secret" if "secret" in pattern.groupindex else 0
    for match in pattern.finditer(text):
        if test is None or test(match.group(group)):
            yield (*match.span(group), kind)


def _is_value(match: re.Match[str]) -> bool:
    """Whether what follows a name in a text is a value, and not the rest of a sentence."""
    name, value = match.group().lower(), match["secret"]
    if value.lower().startswith(("bearer", "basic", "redacted", "${", "none", "null", "true", "false", "***")):
        return False
    if value.replace(".", "").isdecimal():
        return name.startswith(("pass", "pwd", "pin"))
    if match["quote"]:
        return True
    if match["sign"] == ":" and _PLAIN_WORD.match(value):
        return False
    return name.startswith(("pass", "pwd")) or len(value) >= 8  # noqa: PLR2004 - `token=next` is no secret


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for first, last, kind in sorted(spans, key=lambda span: (span[0], -span[1])):
        if merged and first < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]), merged[-1][2])
        else:
            merged.append((first, last, kind))
    return merged


def _load_rules() -> tuple[_Rule, ...]:
    """Take the patterns out of the package; its own way to apply them is made for files of source code."""
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.plugins.base import RegexBasedDetector

    tests: dict[str, _Test] = {
        "AWSKeyDetector": lambda found: _HEX_END.search(found) is None,  # forty hex digits are a commit
    }
    return tuple(
        (name.lower(), pattern, tests.get(kind.__name__))
        for name, kind in sorted(get_mapping_from_secret_type_to_class().items())
        if issubclass(kind, RegexBasedDetector) and kind.__name__ not in _UNUSED
        for pattern in _patterns(kind)
    )


def _patterns(kind: Any) -> Iterable[re.Pattern[str]]:
    patterns: Iterable[re.Pattern[str]] = kind.denylist
    return patterns


def _stands_alone(text: str, first: int, last: int) -> bool:
    """Whether no letter or digit is next to it: inside a hash or an invoice a shape means nothing."""
    return not (text[max(0, first - 1) : first].isalnum() and text[first].isalnum()) and not (
        text[last : last + 1].isalnum() and text[last - 1].isalnum()
    )
