"""Authorities and certificates for the tests, made by another library than the program's; files as Kubernetes swaps them; and
a replica that is served over TLS."""

from __future__ import annotations

import datetime
import ipaddress
import pathlib
import ssl
import urllib.request
from dataclasses import dataclass

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness import CHANNEL_OPTIONS, Server

NAME = "replica.example"
HOUR = 3600
DAY = 24 * HOUR


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes

    @property
    def x509(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate)

    @property
    def serial(self) -> str:
        """As `openssl x509 -serial` and the program's log write it."""
        text = f"{self.x509.serial_number:X}"
        return text.zfill(len(text) + len(text) % 2)


def after(seconds: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def in_pem(key) -> bytes:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form)


class Authority:
    """An authority that issues and revokes; `within` is the one above it."""

    def __init__(self, name: str = "Authority", within: "Authority | None" = None):
        self.name, self.within, self.revoked = named(name), within, []
        self.private = ec.generate_private_key(ec.SECP256R1())
        # By which what it signs names its key.
        self.by = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.private.public_key())
        constraint = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        above = within or self
        built = (x509.CertificateBuilder().subject_name(self.name).issuer_name(above.name)
                 .public_key(self.private.public_key()).serial_number(x509.random_serial_number())
                 .not_valid_before(after(-HOUR)).not_valid_after(after(30 * DAY))
                 .add_extension(constraint, critical=True).add_extension(usage, critical=True)
                 .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.private.public_key()), critical=False)
                 .add_extension(above.by, critical=False))
        self.certificate = built.sign(above.private, hashes.SHA256())
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str = NAME, uris=(), usage=ExtendedKeyUsageOID.SERVER_AUTH, begins: float = -HOUR,
              ends: float = 10 * DAY) -> Pair:
        """A certificate of a server, or with `uris` of a client; good from `begins` to `ends`, in seconds from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if uris else usage
        names = [x509.UniformResourceIdentifier(uri) for uri in uris] or [
            x509.DNSName(name), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        built = (x509.CertificateBuilder().subject_name(named(name)).issuer_name(self.name)
                 .public_key(key.public_key()).serial_number(x509.random_serial_number())
                 .not_valid_before(after(begins)).not_valid_after(after(ends))
                 .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                 .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
                 .add_extension(x509.SubjectAlternativeName(names), critical=False)
                 .add_extension(self.by, critical=False))
        certificate = built.sign(self.private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        between = self.pem if self.within else b""
        return Pair(certificate + between, in_pem(key))

    def client(self, name: str = "client", **options) -> Pair:
        """A client's certificate, known by the URI spiffe://customs.example/<name>."""
        return self.issue(name, uris=[f"spiffe://customs.example/{name}"], **options)

    def revoke(self, *pairs: Pair) -> bytes:
        """The revocation list, with these on it too."""
        self.revoked += [pair.x509.serial_number for pair in pairs]
        built = (x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(after(-HOUR))
                 .next_update(after(7 * DAY)).add_extension(self.by, critical=False)
                 .add_extension(x509.CRLNumber(1 + len(self.revoked)), critical=False))
        for serial in self.revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(after(-60)).build()
            built = built.add_revoked_certificate(entry)
        return built.sign(self.private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Mounted:
    """A folder of files behind one link, which is swapped: so a kubelet mounts a Secret."""

    def __init__(self, folder: pathlib.Path):
        self.folder, self.version, self.files = pathlib.Path(folder), 0, {}
        self.folder.mkdir(parents=True)

    def put(self, mode: int = 0o600, **files: bytes):
        """Puts files in the place of those of the same name, all at once; `tls_crt` is the file tls.crt."""
        self.files |= {name.replace("_", "."): content for name, content in files.items()}
        self.version += 1
        held = self.folder / f"..{self.version}"
        held.mkdir()
        for name, content in self.files.items():
            path = held / name
            path.touch(mode=0o600)
            path.write_bytes(content)
            path.chmod(mode)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        link = self.folder / "..next"
        link.symlink_to(held.name)
        link.rename(self.folder / "..data")

    def pair(self, pair: Pair, mode: int = 0o600):
        """Puts a server's pair."""
        self.put(mode, tls_crt=pair.certificate, tls_key=pair.key)

    def settings(self) -> dict[str, str]:
        """The settings that name the files which are there."""
        keys = {"tls.certificate_file": "tls.crt", "tls.key_file": "tls.key", "tls.client_ca_file": "ca.crt",
                "tls.client_crl_file": "crl.pem"}
        return {key: str(self.folder / name) for key, name in keys.items() if name in self.files}


class TlsServer(Server):
    """A replica over TLS, and its client, which trusts `authority` and shows `pair`."""

    def __init__(self, tmp_path, mounted: Mounted, authority: Authority, pair: Pair | None = None, settings=None, **options):
        own = {"tls.reload_interval": "100ms"} | mounted.settings() | (settings or {})
        super().__init__(tmp_path, own, **options)
        self.mounted, self.authority, self.pair = mounted, authority, pair

    def connect(self, pair: Pair | None | str = "own", authority: Authority | None = None) -> grpc.Channel:
        """A channel of a client of its own, by default the server's."""
        pair = self.pair if pair == "own" else pair
        credentials = grpc.ssl_channel_credentials(
            (authority or self.authority).pem, *((pair.key, pair.certificate) if pair else ()))
        # The shortest pause between two tries is the longest that one may take, handshake and all, which is too short here.
        options = [each for each in CHANNEL_OPTIONS if each[0] != "grpc.min_reconnect_backoff_ms"]
        options.append(("grpc.use_local_subchannel_pool", 1))
        return grpc.secure_channel(self.grpc_addr, credentials, options=options)

    def get(self, path: str) -> str:
        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        with urllib.request.urlopen(f"https://{self.http_addr}{path}", timeout=5, context=context) as answer:
            return answer.read().decode()
