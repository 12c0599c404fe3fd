"""Whom TLS trusts where an endpoint says it by a file: the authorities in it, and no others.

The file is read when a store is opened, so what changes in it counts from the next piece of work on. It is the
endpoint's alone: requests for credentials trust as the process does.
"""

from __future__ import annotations

import ssl

from backends.errors import Kind, StoreError


def context(path: str, store: str) -> ssl.SSLContext:
    """``path`` holds PEM. UNTRUSTED where it does not; ``store`` is for messages. Takes milliseconds: use a thread."""
    try:
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        why = "holds no certificates, or a broken one: it is PEM, from -----BEGIN CERTIFICATE----- on"
        raise StoreError(Kind.UNTRUSTED, "open", store, "", f"the CA bundle {path} {why}") from error
    except OSError as error:
        why = f"cannot be read ({error.strerror}): is the Secret mounted there, and has it this key?"
        raise StoreError(Kind.UNTRUSTED, "open", store, "", f"the CA bundle {path} {why}") from error


def advice(variable: str) -> str:
    """What to do about a certificate that nobody vouches for. ``variable`` is where the process has its authorities."""
    return (
        "put the store's authority into the Secret of endpoint.caBundleSecretRef or, without one, into what "
        f"{variable} says; insecureSkipVerify goes without"
    )
