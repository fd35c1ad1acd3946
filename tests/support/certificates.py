"""Certificates that a test creates: of an authority that it trusts, and of an unknown one."""

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
    """PEM files: the authority, an unknown authority, and the server's certificate (only for `HOST`) and key."""

    authority: Path
    stranger: Path
    chain: Path
    key: Path

    @property
    def key_and_chain(self) -> str:
        """The server's key and certificate in one text, as Kafka requires them."""
        return self.key.read_text() + self.chain.read_text()


def make_certificates(folder: Path) -> Certificates:
    """Create new certificates in `folder`. Only the owner can read the key."""
    made = Certificates(*(folder / name for name in ("authority.pem", "stranger.pem", "chain.pem", "key.pem")))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(made.authority))
    trustme.CA().cert_pem.write_to_path(str(made.stranger))
    server = authority.issue_cert(HOST)
    made.chain.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    # Java can read only PKCS #8.
    key = load_pem_private_key(server.private_key_pem.bytes(), None)
    made.key.touch(mode=0o600)
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made
