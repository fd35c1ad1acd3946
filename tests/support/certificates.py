"""Certificates that a test makes for itself: of an authority that it trusts, and of a stranger."""

from pathlib import Path

import attrs
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

HOST = "127.0.0.1"


@attrs.frozen
class Certificates:
    """PEM files: the authority that signed for `HOST` alone, a stranger's, and the server's certificate and key."""

    authority: Path
    stranger: Path
    chain: Path
    key: Path

    @property
    def key_and_chain(self) -> str:
        """The server's key and certificate in one text, as Kafka wants them."""
        return self.key.read_text() + self.chain.read_text()


def make_certificates(folder: Path) -> Certificates:
    """Make new ones in `folder`, the key readable by its owner alone."""
    made = Certificates(*(folder / name for name in ("authority.pem", "stranger.pem", "chain.pem", "key.pem")))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(made.authority))
    trustme.CA().cert_pem.write_to_path(str(made.stranger))
    server = authority.issue_cert(HOST)
    made.chain.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    # Java reads PKCS #8 only.
    key = load_pem_private_key(server.private_key_pem.bytes(), None)
    made.key.touch(mode=0o600)
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made
