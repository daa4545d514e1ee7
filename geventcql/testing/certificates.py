"""Throw-away certificates for TLS between clients and test nodes, made with the ``openssl`` program.

Layer: testing. Runs in the calling greenlet. Cassandra reads these PEM files itself
(``PEMBasedSslContextFactory``, Cassandra 4.1 and later), so no Java key store is needed.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

from geventcql.testing.jars import MissingTool
from geventcql.testing.processes import run

_EXTENSIONS = {
    "ca": "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n",
    "node": "extendedKeyUsage=serverAuth,clientAuth\n",
    "client": "extendedKeyUsage=clientAuth\n",
}
_EVERY_CERTIFICATE = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n"


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files that belong together.

    `ca_file`: the authority's certificate, for both sides to trust. `node_file`: the nodes' key and certificate in one
    file. `client_certificate`, `client_key`: for clients of nodes that demand a certificate.
    """

    ca_file: str
    node_file: str
    client_certificate: str
    client_key: str

    def ssl_context(self, with_certificate: bool = True) -> ssl.SSLContext:
        """A client's context: it trusts the authority, checks addresses and shows a certificate, unless told not to."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if with_certificate:
            context.load_cert_chain(self.client_certificate, self.client_key)
        return context


def make_certificates(directory: str, names: Iterable[str]) -> Certificates:
    """Make an authority, one certificate for the nodes (valid for the IP addresses and host names `names`) and one
    for clients, in `directory`. They last 30 days.

    Raises MissingTool if there is no openssl program, RuntimeError with its words if it fails.
    """
    alternatives = ",".join(("IP:" if _is_address(name) else "DNS:") + name for name in names)
    _issue(directory, "ca", "")
    _issue(directory, "node", f"subjectAltName={alternatives}\n")
    _issue(directory, "client", "")
    node_file = os.path.join(directory, "node.pem")
    with open(node_file, "wb") as joined:
        for part in ("node.key", "node.crt"):
            with open(os.path.join(directory, part), "rb") as source:
                joined.write(source.read())
    return Certificates(
        ca_file=os.path.join(directory, "ca.crt"),
        node_file=node_file,
        client_certificate=os.path.join(directory, "client.crt"),
        client_key=os.path.join(directory, "client.key"),
    )


def _issue(directory: str, name: str, extensions: str) -> None:
    """Make `name`.key and `name`.crt, signed by the authority, or by itself if it is the authority."""
    path = os.path.join(directory, name)
    with open(path + ".ext", "w", encoding="ascii") as file:
        file.write(_EXTENSIONS[name] + _EVERY_CERTIFICATE + extensions)
    key = ("-newkey", "rsa:2048", "-nodes", "-keyout", path + ".key")
    _openssl("req", "-new", *key, "-subj", f"/O=geventcql tests/CN={name}", "-out", path + ".csr")
    ca = os.path.join(directory, "ca")
    by_authority = ("-CA", ca + ".crt", "-CAkey", ca + ".key", "-CAcreateserial")
    signer = ("-signkey", path + ".key") if name == "ca" else by_authority
    _openssl(
        *("x509", "-req", "-in", path + ".csr", "-days", "30", "-sha256", *signer),
        *("-extfile", path + ".ext", "-out", path + ".crt"),
    )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _openssl(*arguments: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise MissingTool("Certificates for TLS are made with openssl. Install it (Debian: apt-get install openssl).")
    status, text = run([program, *arguments], timeout=60)
    if status != 0:
        raise RuntimeError(f"openssl {arguments[0]} failed:\n{text}")
