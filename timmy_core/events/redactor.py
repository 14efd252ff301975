"""Secrets never enter the log: what looks like one is replaced on the way in, before anything is hashed.

A value is judged by its name (`api_key`, `macaroon`, `Authorization` …) and by its shape: own rules for what this
house handles, and the rules of the package bc-detect-secrets for the tokens of well-known services. What was found is
replaced by `[redacted: kind]`, and the event's data gets `timmy.redacted` with how many there were.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from timmy_core.events.secret_shapes import Shapes

COUNT: Final = "timmy.redacted"
MAX_DEPTH: Final = 70  # deeper data is refused afterwards, so it is not walked here
MAX_TEXT: Final = 64 << 20  # longer text is refused afterwards too, even as a blob
_KEPT: Final = 4_096  # names and texts that are remembered as harmless; short ones only
_SHORT: Final = 100

_Found: TypeAlias = list[str]

# The last words of a name, run together, and what it then holds.
_NAMES: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("password", "passwd", "passphrase", "passcode", "pwd", "passwort", "passwordhash", "pin", "pincode", "otp"),
        "password",
    ),
    **dict.fromkeys(
        (
            "apikey", "accesskey", "secretkey", "privatekey", "privkey", "seckey", "signingkey", "encryptionkey",
            "masterkey", "adminkey", "inkey", "invoicekey", "walletkey", "authkey", "servicekey", "accountkey",
            "clientkey", "sshkey", "hmackey", "sharedkey", "sessionkey", "recoverykey", "nsec", "xprv", "wif",
        ),
        "key",
    ),
    **dict.fromkeys(("token", "jwt", "bearer", "authorization", "cookie"), "token"),
    **dict.fromkeys(("secret", "secrets", "credential", "credentials"), "secret"),
    **dict.fromkeys(("macaroon", "macaroons"), "macaroon"),
    **dict.fromkeys(("rune", "runes"), "rune"),
    **dict.fromkeys(("preimage", "preimages"), "preimage"),
    **dict.fromkeys(("seed", "seedphrase", "seedwords", "mnemonic", "recoveryphrase", "aezeed"), "seed phrase"),
}  # fmt: skip
_LONGEST: Final = 2
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# How the value is written does not change what it is.
_FORMS: Final = frozenset({"hex", "b", "64", "base", "text", "value", "str", "string", "raw", "plain", "header"})
# A token of a language model is a piece of text, and one of a list is a place in it.
_OTHER_TOKENS: Final = frozenset(
    {"first", "last", "next", "stop", "eos", "bos", "pad", "unk", "special", "prompt", "page"}
)
_LEAST: Final = {"token": 6}
_NOTHING: Final = re.compile(
    r"(?i)(?:none|null|true|false|yes|no|n/a|unset|missing|required|hidden|\W*|\$\{[^}]*\}|<[^>]*>|\$[A-Z_]+)\Z"
)
# Nothing but hex and dashes: ids, hashes, traces. A macaroon in hex begins with these four digits.
_ID: Final = re.compile(r"(?!0201)[0-9a-f-]{1,160}\Z")


class Redactor:
    """Replaces secrets in the data of events; safe to use from any thread."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._shapes = Shapes()
        self._lock = threading.Lock()
        self._known_names: dict[str, str] = {}
        self._harmless: set[str] = set()

    def clean(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the data without secrets: the same object where there is none, or a copy with the count."""
        if not isinstance(data, Mapping):
            return data  # refused afterwards, with its reason
        found: _Found = []
        cleaned = self._mapping(data, found, 0, "")
        if not found:
            return data
        with self._lock:
            self.counts.update(found)
        earlier = data.get(COUNT, 0)
        cleaned[COUNT] = len(found) + (earlier if type(earlier) is int and earlier > 0 else 0)
        return cleaned

    def clean_text(self, text: str) -> str:
        """Return a text without secrets, for what is not an event's data."""
        return self._text(text, [])

    def warm(self) -> None:
        """Load the rules now, so that the first text that needs them does not wait for it."""
        self._shapes.load()

    # Walking -------------------------------------------------------------------------------------------------

    def _mapping(self, value: Mapping[str, Any], found: _Found, depth: int, kind: str) -> dict[str, Any]:
        cleaned: dict[str, Any] = {}
        named = self._named_elsewhere(value) if "value" in value else ""
        for name, item in value.items():
            own, key = self._name(name, found)
            if key is not name and (key in value or key in cleaned):
                key = f"{key} {len(cleaned) + 1}"
            own = own or (named if name == "value" else "") or kind
            cleaned[key] = self._value(item, found, depth, own)
        return cleaned

    def _value(  # noqa: PLR0911 - one line a kind of value
        self, item: Any, found: _Found, depth: int, kind: str
    ) -> Any:
        if isinstance(item, str):
            if kind:
                return self._named(item, found, kind)
            return item if len(item) < _LEAST_SHAPE else self._text(item, found)
        if item is None or isinstance(item, (bool, float)) or depth >= MAX_DEPTH:
            return item
        if isinstance(item, int):
            return self._hide(found, kind) if kind == "password" else item
        if isinstance(item, Mapping):
            # A token with fields of its own is most often one of a model's; its fields are judged by themselves.
            return self._mapping(item, found, depth + 1, "" if kind == "token" else kind)
        if isinstance(item, (list, tuple)):
            return self._list(item, found, depth, kind)
        return item

    def _list(self, items: Sequence[Any], found: _Found, depth: int, kind: str) -> Any:
        if kind == "seed phrase" and all(isinstance(item, str) for item in items) and items:
            return self._hide(found, kind)
        if len(items) >= _LEAST_WORDS and all(isinstance(item, str) for item in items):
            joined = " ".join(items)
            if len(joined) < MAX_TEXT and self._shapes.is_phrase(joined):
                return self._hide(found, "seed phrase")
        return [self._value(item, found, depth + 1, kind) for item in items]

    # Judging -------------------------------------------------------------------------------------------------

    def _name(self, name: Any, found: _Found) -> tuple[str, Any]:
        """What a name says that its value is (nothing for most), and the name without secrets of its own."""
        kind = self._known_names.get(name)
        if kind is not None:
            return kind, name
        if not isinstance(name, str):
            return "", name  # refused afterwards
        kind = kind_of_name(name) if len(name) <= _SHORT else ""
        key = name if len(name) < _LEAST_SHAPE else self._text(name, found)
        if key is name and len(name) <= _SHORT and len(self._known_names) < _KEPT:
            self._known_names[name] = kind
        return kind, key

    def _named_elsewhere(self, value: Mapping[str, Any]) -> str:
        """The kind of `{"name": "password", "value": …}`."""
        name = value.get("name", value.get("key"))
        return kind_of_name(name) if isinstance(name, str) and len(name) <= _SHORT else ""

    def _named(self, text: str, found: _Found, kind: str) -> str:
        """A text under the name of a secret: hidden, unless it says that there is none."""
        if len(text) < _LEAST.get(kind, 1) or text.startswith("[redacted: ") or _NOTHING.match(text):
            return text
        if kind == "seed phrase" and text.isdecimal():
            return text  # a seed of a random generator
        return self._hide(found, kind)

    def _text(self, text: str, found: _Found) -> str:
        if text in self._harmless or _ID.match(text) or len(text) > MAX_TEXT:
            return text
        spans = self._shapes.find(text)
        if not spans:
            if len(text) <= _SHORT and len(self._harmless) < _KEPT:
                self._harmless.add(text)
            return text
        parts: list[str] = []
        end = 0
        for first, last, kind in spans:
            parts += (text[end:first], self._hide(found, kind))
            end = last
        return "".join(parts) + text[end:]

    @staticmethod
    def _hide(found: _Found, kind: str) -> str:
        found.append(kind)
        return f"[redacted: {kind}]"


_LEAST_SHAPE: Final = 8  # no shape is shorter
_LEAST_WORDS: Final = 12  # of a seed phrase


def kind_of_name(name: str) -> str:
    """Return what the value of that name is, if it is a secret: `X-Api-Key` a key, `input_tokens` nothing."""
    words = [word.lower() for word in _WORDS.findall(name)]
    while len(words) > 1 and words[-1] in _FORMS:
        words.pop()
    for length in range(min(_LONGEST, len(words)), 0, -1):
        kind = _NAMES.get("".join(words[-length:]))
        if kind:
            other = length == 1 and words[-1] == "token" and len(words) > 1 and words[-2] in _OTHER_TOKENS
            return "" if other else kind
    last = words[-1] if words else ""
    return next((kind for ending, kind in _RUN_TOGETHER.items() if last.endswith(ending)), "")


# Names that are written without any sign between their words, as `openaiapikey`.
_RUN_TOGETHER: Final = {
    "apikey": "key", "secretkey": "key", "privatekey": "key", "adminkey": "key", "password": "password",
    "passphrase": "password", "macaroon": "macaroon", "mnemonic": "seed phrase", "preimage": "preimage",
    "accesstoken": "token", "authtoken": "token", "refreshtoken": "token", "clientsecret": "secret",
}  # fmt: skip
