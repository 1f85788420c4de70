"""Which addresses callbacks may go to."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import strategies as st
from phonefarm_common.address_policy import (
    AddressPolicy,
    DisguisedAddressError,
    check_url,
    ip_literal,
    network,
)
from phonefarm_common.outbound_http import AddressNotAllowedError, PermittedResolver
from phonefarm_common.reasons import FarmError
from support.examples import given

PUBLIC_ONLY = AddressPolicy()

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "223.255.255.255",
    "2606:4700::1111",
    "2001:4860:4860::8888",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]
NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - a host to refuse
    "0.1.2.3",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1111%eth0",
    "fec0::1",
    "ff02::1",
    "ffff::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_permitted(text: str) -> None:
    """An address of the public internet is a receiver, also through a translator's prefix."""
    assert PUBLIC_ONLY.permits(ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_special_addresses_are_refused(text: str) -> None:
    """Nothing of the special-purpose registries is a receiver, in whatever wrapping."""
    assert not PUBLIC_ONLY.permits(ip_address(text))


def test_a_setting_opens_its_network_and_nothing_beside_it() -> None:
    """An allowed network is permitted in plain and mapped form; its neighbours stay refused."""
    policy = AddressPolicy(allowed=(network("10.1.0.0/16"), network("fd00::/64")))

    assert policy.permits(ip_address("10.1.2.3"))
    assert policy.permits(ip_address("::ffff:10.1.2.3"))
    assert policy.permits(ip_address("fd00::5"))
    for text in ("10.2.0.1", "fd00:0:0:1::5", "64:ff9b::a01:203", "127.0.0.1"):
        assert not policy.permits(ip_address(text))


@given(st.ip_addresses(v=4))
def test_an_embedded_address_fares_like_the_plain_one(address: IPv4Address) -> None:
    """Mapped, NAT64 and 6to4 forms of an IPv4 address are permitted exactly when it is."""
    number = int(address)
    mapped = IPv6Address((0xFFFF << 32) | number)
    nat64 = IPv6Address(int(IPv6Address("64:ff9b::")) | number)
    sixtofour = IPv6Address((0x2002 << 112) | (number << 80) | 1)

    verdicts = {PUBLIC_ONLY.permits(a) for a in (mapped, nat64, sixtofour)}

    assert verdicts == {PUBLIC_ONLY.permits(address)}


@given(st.ip_addresses(v=4))
def test_every_numeric_form_of_an_address_is_seen_as_one(address: IPv4Address) -> None:
    """What inet_aton(3) would read as an address never passes for a name."""
    number = int(address)
    a, b, c, d = address.packed
    forms = [
        str(number),
        hex(number),
        f"0{number:o}",
        f"0x{a:x}.{b}.{c}.{d}",
        f"{a}.{(b << 16) | (c << 8) | d}",
        f"{a}.{b}.{(c << 8) | d}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{address}.",
    ]

    assert ip_literal(str(address)) == address
    for form in forms:
        if form == str(address):
            continue
        with pytest.raises(DisguisedAddressError):
            ip_literal(form)


@given(st.text(alphabet="0123456789abcdefx.:%[]", max_size=24))
def test_a_host_taken_for_a_name_is_no_address_to_the_system(host: str) -> None:
    """Where we see a name, the system's numeric reader sees no address either."""
    try:
        is_name = ip_literal(host) is None
    except DisguisedAddressError:
        is_name = False

    if is_name and host:
        with pytest.raises((OSError, ValueError)):
            socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)


@given(st.text(max_size=60))
def test_any_text_as_a_url_is_accepted_or_refused_by_name(text: str) -> None:
    """The check of a URL ends in a verdict, whatever stands there."""
    for url in (text, f"http://{text}", f"https://{text}/x"):
        refusal = None
        try:
            check_url(url, PUBLIC_ONLY)
        except FarmError as error:
            refusal = error

        assert refusal is None or refusal.problems[0].field == "callback.url"


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/a?b=c",
        "http://hooks.example.com:8080",
        "http://8.8.8.8/",
        "https://[2606:4700::1111]:443/x",
        "http://b\u00fccher.example/",
        "http://user:pass@e.example/",
        "HTTPS://E.EXAMPLE/",
        "http://127.0.0.1.e.example/",
        "http://cafe.example/",
    ],
)
def test_ordinary_urls_are_accepted(url: str) -> None:
    """A public receiver's URL passes, names that look a little like addresses included."""
    check_url(url, PUBLIC_ONLY)


async def test_the_resolver_lets_only_permitted_addresses_out() -> None:
    """Of several addresses the forbidden are left out; with none left the name is refused."""

    async def lookup(name: str) -> list[IPv4Address | IPv6Address]:
        both = [ip_address("10.0.0.1"), ip_address("8.8.8.8"), ip_address("fe80::1%2")]
        return both if name == "mixed" else both[:1]

    resolver = PermittedResolver(lookup, PUBLIC_ONLY)

    found = await resolver.resolve("mixed", 443)

    assert [(one["host"], one["port"]) for one in found] == [("8.8.8.8", 443)]
    with pytest.raises(AddressNotAllowedError):
        await resolver.resolve("private", 443)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"http://{'a' * 64}.example/", "not a DNS name"),
        ("http://a..example/", "not a DNS name"),
        (f"http://{'.'.join(['abcdefg'] * 32)}/", "not a DNS name"),
        ("http://a.example:\u0668\u0660/", "digits 0 to 9"),
        ("http://8.8.8.8:\uff18/", "digits 0 to 9"),
    ],
)
def test_a_url_that_can_never_be_called_is_refused(url: str, said: str) -> None:
    """Before the farm tries it for a day."""
    with pytest.raises(FarmError) as refused:
        check_url(url, PUBLIC_ONLY)

    assert said in refused.value.problems[0].message


@pytest.mark.parametrize(
    "url",
    [
        f"http://{'a' * 63}.example:8080/",
        "http://user:\u0668@a.example./?q=\u0668:\u0660",
        "http://_srv.b\u00fccher.example",
        "http://[2606:4700::1111]/",
    ],
)
def test_a_url_that_can_be_called_is_taken(url: str) -> None:
    """Long labels, a dot at the end, letters of other alphabets outside the port."""
    check_url(url, PUBLIC_ONLY)
