from __future__ import annotations

import pytest

from leakwarden.service.hosts import Hosts, same_origin


def scope(server, scheme="http"):
    return {"type": "http", "server": server, "scheme": scheme}


def allows(host, *, server=("127.0.0.1", 9877), allowed=(), scheme="http"):
    hosts = Hosts(allowed)
    return hosts.allows(hosts.local(scope(server, scheme)), host.encode())


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9877", "localhost:9877", "LocalHost:9877", "[::1]:9877"]
)
def test_names_of_loopback_with_the_port_listened_on_are_answered(host):
    assert allows(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "localhost:9878",
        "127.0.0.1",
        "evil.example:9877",
        "localhost.evil.example:9877",
        "127.0.0.1.evil.example:9877",
        "localhost:9877.evil.example",
        "localhost:9877@evil.example",
        "192.0.2.1:9877",
    ],
)
def test_any_other_host_is_foreign(host):
    assert not allows(host)


def test_the_address_that_a_connection_came_to_is_answered_and_loopback_names_are_not():
    server = ("192.0.2.5", 80)
    assert allows("192.0.2.5", server=server)
    assert allows("192.0.2.5:80", server=server)
    assert not allows("localhost:80", server=server)
    assert not allows("192.0.2.6", server=server)
    assert allows("[fd00::5]:9877", server=("fd00::5", 9877))


def test_a_port_may_be_left_out_only_where_it_is_the_scheme_s_own():
    assert allows("localhost", server=("127.0.0.1", 80))
    assert allows("localhost", server=("127.0.0.1", 443), scheme="https")
    assert not allows("localhost", server=("127.0.0.1", 443))


def test_an_allowed_name_without_a_port_holds_for_any_and_with_one_for_that():
    allowed = ("desk.example", "other.example:81")
    assert allows("desk.example", allowed=allowed)
    assert allows("Desk.Example:1234", allowed=allowed)
    assert allows("other.example:81", allowed=allowed)
    assert not allows("other.example", allowed=allowed)
    assert not allows("other.example:82", allowed=allowed)


def test_a_server_without_an_address_answers_allowed_names_alone():
    assert not allows("localhost", server=None)
    assert allows("desk.example", server=None, allowed=("desk.example",))


def test_many_local_addresses_do_not_grow_the_table_without_bound():
    hosts = Hosts(())
    for port in range(2000):
        hosts.local(scope(("127.0.0.1", port)))
    assert len(hosts._locals) <= 256


@pytest.mark.parametrize(
    ("origin", "same"),
    [
        (b"http://localhost:9877", True),
        (b"https://LOCALHOST:9877", True),
        (b"http://localhost:3000", False),
        (b"http://localhost", False),
        (b"null", False),
        (b"", False),
        (b"http://evil.example", False),
        (b"file://localhost:9877", False),
        (b"localhost:9877", False),
        (b"http://localhost:9877/", False),
    ],
)
def test_only_the_service_s_own_pages_have_its_origin(origin, same):
    assert same_origin(origin, b"localhost:9877") is same
