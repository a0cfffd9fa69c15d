"""TLS between bot and trainer, for hosts where no proxy does it. Both sides take 1.2 and newer only."""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path

from storage.errors import ConfigurationError


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a trainer listens with.

    Args:
        certificate: PEM; where others have signed it, with their certificates behind it.
        key: PEM without a passphrase, mode 0600.

    Raises:
        ConfigurationError: a file cannot be read or used, or others may read the key.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if os.name == "posix" and stat.S_IMODE(key.stat().st_mode) & 0o077:
            raise ConfigurationError(f"The file {key} holds a secret but others may read it. Run: chmod 600 {key}")
        # Without an answer here a key with a passphrase would ask for it on the terminal, and a service would hang.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        reason = error.reason or "the key may have a passphrase"
        raise ConfigurationError(
            f"The certificate {certificate} and the key {key} cannot be used together: {reason}."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"The certificate {certificate} or its key {key}: {error.strerror}.") from None
    return context


def client_context(authority: Path) -> ssl.SSLContext:
    """What a bot connects with: trusts the certificates in this PEM file, and no others.

    Raises:
        ConfigurationError: it cannot be read, or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=str(authority))
    except ssl.SSLError:
        raise ConfigurationError(f"The file {authority} holds no certificate in PEM form.") from None
    except OSError as error:
        raise ConfigurationError(f"The certificate file {authority} cannot be read: {error.strerror}.") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
