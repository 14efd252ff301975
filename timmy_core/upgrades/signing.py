"""Signs a decision: canonical JSON under Ed25519, with a key that only a PIN opens, or with one of OpenSSH's."""

from __future__ import annotations

import json
import secrets
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from timmy_core.clock import iso
from timmy_core.errors import ApprovalError
from timmy_core.upgrades.model import Decision

SIGNED: Final = b"timmy upgrade decision 1\n"
SIGNATURE_BYTES: Final = 64
KEY_BYTES: Final = 32
_NONCE: Final = 12
_NAMESPACE: Final = "timmy-upgrade"
_SSH_S: Final = 60.0
_BARE: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}


def statement(decision: Decision) -> bytes:
    """Return the bytes that a signature covers: every field, in the one way to write them."""
    said = asdict(decision) | {"expires_at": iso(decision.expires_at)}
    return SIGNED + json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


# Keys of Timmy's own -----------------------------------------------------------------------------------------


def make(key: bytes) -> tuple[str, str]:
    """Make a signing key; returns it sealed with `key`, and the public one, both in hex."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    made = Ed25519PrivateKey.generate()
    return seal(key, made.private_bytes_raw()), made.public_key().public_bytes_raw().hex()


def public(private: bytes) -> str:
    """Return the public key of a private one, in hex."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw().hex()


def seal(key: bytes, private: bytes) -> str:
    """Encrypt a private key; returns hex."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    nonce = secrets.token_bytes(_NONCE)
    return (nonce + ChaCha20Poly1305(key).encrypt(nonce, private, SIGNED)).hex()


def unseal(key: bytes, sealed: str) -> bytes | None:
    """Decrypt a private key; None where `key` is not the one."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    content = bytes.fromhex(sealed)
    try:
        return ChaCha20Poly1305(key).decrypt(content[:_NONCE], content[_NONCE:], SIGNED)
    except InvalidTag:
        return None


def sign(private: bytes, decision: Decision) -> str:
    """Return the signature of a decision, in hex."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private).sign(statement(decision)).hex()


def holds(public: str, decision: Decision, signature: str) -> bool:
    """Whether a signature is one of this key over this very decision."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), statement(decision))
    except (InvalidSignature, ValueError):
        return False
    return True


# Keys of OpenSSH ---------------------------------------------------------------------------------------------


def ssh_sign(key: Path, agent: Path | None, decision: Decision) -> str:
    """Sign with `ssh-keygen -Y sign`; the key may be in an agent, whose socket is given, or on a token; returns hex.

    Raises:
        ApprovalError: it could not be signed.
    """
    words = ["ssh-keygen", "-Y", "sign", "-q", "-n", _NAMESPACE, "-f", str(key)]
    done = _ssh_keygen(words, statement(decision), {"SSH_AUTH_SOCK": str(agent)} if agent else {})
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip()[-300:]
        message = f"ssh-keygen did not sign with {key}: {said or 'it said nothing'}; is its agent named in ssh_agent?"
        raise ApprovalError(message)
    return done.stdout.hex()


def ssh_holds(public: str, decision: Decision, signature: str) -> bool:
    """Whether a signature of `ssh_sign` is one of this public key (a line as in `id_ed25519.pub`)."""
    try:
        content = bytes.fromhex(signature)
    except ValueError:
        return False
    with tempfile.TemporaryDirectory(prefix="timmy-signature-") as folder:
        allowed, signed = Path(folder, "allowed"), Path(folder, "signature")
        kind, _, rest = public.strip().partition(" ")
        allowed.write_text(f'timmy namespaces="{_NAMESPACE}" {kind} {rest.split(" ")[0]}\n', encoding="utf-8")
        signed.write_bytes(content)
        words = ["ssh-keygen", "-Y", "verify", "-q", "-n", _NAMESPACE, "-I", "timmy", "-f", str(allowed)]
        return _ssh_keygen([*words, "-s", str(signed)], statement(decision)).returncode == 0


def _ssh_keygen(
    words: list[str], content: bytes, further: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    environment = {**_BARE, **(further or {})}
    try:
        return subprocess.run(  # noqa: S603 - constants and a path from the settings; no shell
            words, input=content, capture_output=True, timeout=_SSH_S, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"ssh-keygen cannot be run: {error}; install OpenSSH, or take ssh_key out of [upgrades]"
        raise ApprovalError(message) from error
