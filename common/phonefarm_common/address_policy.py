"""Decides which addresses callers' URLs may use: public ones, and the operator's additions."""

import re
import socket
from dataclasses import dataclass
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from yarl import URL

from phonefarm_common.reasons import FarmError, FieldProblem, Reason

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and its successors), written out:
# what Python's ipaddress calls global differs between patch versions.
_NOT_PUBLIC_V4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_PUBLIC_V6: Final = IPv6Network("2000::/3")
_NOT_PUBLIC_V6: Final = tuple(
    IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "3fff::/20")
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_NUMERIC: Final = re.compile(r"[0-9a-fx.]+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class AddressPolicy:
    """Permits public addresses and those in the networks `allowed`."""

    allowed: tuple[Network, ...] = ()

    def permits(self, address: Address) -> bool:
        """Tell whether a caller's URL may use *address*."""
        if isinstance(address, IPv6Address):
            if address.scope_id is not None:
                return False
            address = address.ipv4_mapped or address
        return self._is_listed(address) or _is_public(address)

    def _is_listed(self, address: Address) -> bool:
        return any(address in net for net in self.allowed if net.version == address.version)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    # A translator on the way would take these to the IPv4 address inside.
    if address in _NAT64:
        return _is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None:
        return _is_public(address.sixtofour)
    return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


class DisguisedAddressError(ValueError):
    """A host is an address in an ambiguous form."""


def ip_literal(host: str) -> Address | None:
    """Return *host* as an address, None when it is a name.

    Raise DisguisedAddressError for an IPv4 address in octal, hexadecimal, short or single-number
    form (inet_aton(3) reads those), or with a dot behind it.
    """
    bare = host.rstrip(".")
    try:
        address = ip_address(bare.strip("[]"))
    except (AddressValueError, ValueError):
        address = None
    if address is not None:
        if bare != host:
            raise DisguisedAddressError(f"write {address} without a dot at its end")
        return address
    if ":" in bare:
        raise DisguisedAddressError("it looks like an IPv6 address but is not valid")
    if _NUMERIC.fullmatch(bare):
        try:
            packed = socket.inet_aton(bare)
        except OSError:
            return None
        raise DisguisedAddressError(f"write it as {IPv4Address(packed)}")
    return None


def network(text: str) -> Network:
    """Parse a CIDR such as 127.0.0.0/8; ValueError."""
    return ip_network(text)


def _is_name(host: str) -> bool:
    """Tell whether *host*, in ASCII, may be looked up in the DNS (RFC 1035, 2.3.4)."""
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(0 < len(label) <= 63 for label in labels)


def check_url(
    text: str,
    policy: AddressPolicy,
    *,
    field: str = "callback.url",
    refusal: Reason = Reason.CALLBACK_URL_NOT_ALLOWED,
) -> None:
    """Raise FarmError naming *field* unless *text* is an http(s) URL with a permitted host.

    A literal address that may not is refused as *refusal*. A name is not resolved here: what it
    means is looked at when each attempt is made.
    """
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except (ValueError, TypeError):
        raise _refused(Reason.INVALID_REQUEST, field, "is not a URL") from None
    if url.scheme not in {"http", "https"}:
        raise _refused(Reason.INVALID_REQUEST, field, "must begin with http:// or https://")
    if not host or any(char.isspace() or not char.isprintable() for char in text):
        raise _refused(Reason.INVALID_REQUEST, field, "is not a URL with a host")
    place = urlsplit(text).netloc.rpartition("@")[2].rpartition("]")[2]
    if not place.partition(":")[2].isascii():
        raise _refused(Reason.INVALID_REQUEST, field, "must have its port in the digits 0 to 9")
    if port == 0:
        raise _refused(Reason.INVALID_REQUEST, field, "must not name port 0")
    try:
        address = ip_literal(host)
    except DisguisedAddressError as error:
        raise _refused(refusal, field, str(error)) from None
    if address is None and not _is_name(host):
        message = (
            "has a host that is not a DNS name: a name has up to 253 characters, with 1 to 63 "
            "between dots"
        )
        raise _refused(Reason.INVALID_REQUEST, field, message)
    if address is not None and not policy.permits(address):
        message = (
            f"{address} is not a public address; use a public address, or ask the "
            "operator to allow its network"
        )
        raise _refused(refusal, field, message)


def _refused(reason: Reason, field: str, message: str) -> FarmError:
    problem = FieldProblem(field=field, message=message)
    return FarmError(reason, f"{field}: {message}", problems=(problem,))
