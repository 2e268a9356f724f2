"""TLS from files that are read again when they change, so that a renewed certificate needs no restart."""

import ssl
from pathlib import Path
from typing import Any

import grpc

from .errors import ConfigError


def read_pem(path: Path) -> bytes:
    """Raises ConfigError when the file is not there or is no PEM."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if b"-----BEGIN" not in pem:
        raise ConfigError(f"{path} is not a PEM file")
    return pem


class Watched:
    """A set of PEM files, and whether any has changed since it was last read."""

    def __init__(self, *paths: Path | None) -> None:
        self._paths = paths
        self._seen: tuple[tuple[int, int, int], ...] = ()

    def changed(self) -> bool:
        try:
            stats = [path.stat() for path in self._paths if path]
        except OSError:  # between two files of a renewal: keep what we have
            return False
        now = tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)
        changed, self._seen = now != self._seen, now
        return changed

    def again(self) -> None:
        """Makes the next `changed` say so: what was read could not be used."""
        self._seen = ()

    def read(self) -> list[bytes | None]:
        return [read_pem(path) if path else None for path in self._paths]


def check_pair(cert: Path, key: Path) -> None:
    """Raises ConfigError unless the files hold a whole chain and the private key that belongs to it, unencrypted."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except OSError as error:  # ssl.SSLError is one
        why = getattr(error, "reason", None) or error.strerror or error
        raise ConfigError(f"{cert} and {key} are not a certificate and its key: {why}") from error


def check_ca(ca: Path) -> None:
    """Raises ConfigError unless the file holds whole certificates."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
    except OSError as error:
        why = getattr(error, "reason", None) or error.strerror or error
        raise ConfigError(f"{ca} holds no certificates: {why}") from error


def server_credentials(cert: Path, key: Path, client_ca: Path | None) -> grpc.ServerCredentials:
    """Credentials that look at the files at each handshake; with `client_ca`, clients must show a certificate."""
    files = Watched(cert, key, client_ca)
    files.changed()

    def configuration() -> Any:
        chain, private_key, ca = files.read()
        check_pair(cert, key)
        if client_ca:
            check_ca(client_ca)
        return grpc.ssl_server_certificate_configuration([(private_key, chain)], root_certificates=ca)  # type: ignore[list-item]

    first = configuration()

    def fetch() -> Any:
        try:
            return configuration() if files.changed() else None
        except ConfigError:  # half-written: the next handshake looks again
            files.again()
            return None

    return grpc.dynamic_ssl_server_credentials(first, fetch, require_client_authentication=client_ca is not None)


class ClientTls:
    """A client's TLS files. `credentials` are those last read, and `renewed` reads them again when they change."""

    def __init__(self, ca: Path, cert: Path | None = None, key: Path | None = None) -> None:
        if bool(cert) != bool(key):
            raise ConfigError("a client certificate and its key go together")
        self._ca, self._cert, self._key = ca, cert, key
        self._files = Watched(ca, key, cert)
        self._files.changed()
        self._credentials = self._read()

    def renewed(self) -> bool:
        """Whether the files changed since the last call; from then on `credentials` are the new ones."""
        if not self._files.changed():
            return False
        try:
            self._credentials = self._read()
        except ConfigError:  # half-written: the next call looks again
            self._files.again()
            return False
        return True

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        """A new object after each renewal, so that several holders can each notice it."""
        return self._credentials

    def _read(self) -> grpc.ChannelCredentials:
        pems = self._files.read()
        check_ca(self._ca)
        if self._cert and self._key:
            check_pair(self._cert, self._key)
        return grpc.ssl_channel_credentials(*pems)
