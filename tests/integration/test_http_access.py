"""Who may do what: every route by every caller."""

from __future__ import annotations

import pytest

from leakwarden.service.http import ROUTES
from leakwarden.settings import HttpSettings
from serving import ALERTS_TOKEN, METRICS_TOKEN, TOKEN, make_context, running

OPEN_ON_LOOPBACK = {"/", "/metrics", "/-/healthy", "/-/ready", "/v1/snapshot"}
PROBES = {"/-/healthy", "/-/ready"}

EVERY_ROUTE = sorted(
    (method, path.replace("{id}", "0" * 32)) for path, verbs in ROUTES.items() for method in verbs
)

MESSAGE = {"from": "Agent-1", "to": "Agent-2", "body": "hello"}


@pytest.fixture(scope="module")
def loopback(tmp_path_factory):
    with running(make_context(tmp_path_factory.mktemp("loopback"))) as service:
        yield service


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Told to listen on every address: that the tests come by loopback gives them no right."""
    settings = HttpSettings(listen="0.0.0.0:0")
    with running(make_context(tmp_path_factory.mktemp("network"), settings)) as service:
        yield type(service)("127.0.0.1", service.port, service.server, service.thread)


@pytest.fixture(scope="module")
def open_metrics(tmp_path_factory):
    settings = HttpSettings(listen="0.0.0.0:0", open_metrics=True)
    with running(make_context(tmp_path_factory.mktemp("open"), settings)) as service:
        yield type(service)("127.0.0.1", service.port, service.server, service.thread)


def call(service, method, path, **kwargs):
    return service.call(method, path, MESSAGE if method == "POST" else None, **kwargs)


def test_the_table_covers_the_routes_that_this_version_has():
    assert set(ROUTES) == {
        "/",
        "/metrics",
        "/-/healthy",
        "/-/ready",
        "/v1/agents",
        "/v1/broadcasts",
        "/v1/leases",
        "/v1/messages",
        "/v1/messages/{id}",
        "/v1/snapshot",
    }


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
def test_without_a_token_loopback_opens_only_what_shows_no_message_path_or_site(
    loopback, method, path
):
    answer = call(loopback, method, path, token=None)
    if path in OPEN_ON_LOOPBACK:
        assert answer.status == 200
    else:
        assert (answer.status, answer.code) == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
def test_without_a_token_a_network_gets_the_probes_alone(network, method, path):
    answer = call(network, method, path, token=None)
    assert answer.status == (200 if path in PROBES else 401)


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
def test_with_open_metrics_a_network_gets_the_metrics_too(open_metrics, method, path):
    answer = call(open_metrics, method, path, token=None)
    assert answer.status == (200 if path in PROBES | {"/metrics"} else 401)


@pytest.mark.parametrize("token", [TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "", "x" * 5000])
@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
def test_a_wrong_token_opens_nothing_that_needs_one(network, method, path, token):
    answer = call(network, method, path, token=token)
    assert answer.status == (200 if path in PROBES else 401)


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
def test_a_token_for_metrics_opens_the_metrics_alone(network, method, path):
    answer = call(network, method, path, token=METRICS_TOKEN)
    if path in PROBES | {"/metrics"}:
        assert answer.status == 200
    else:
        assert (answer.status, answer.code) == (403, "wrong_scope")


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
def test_a_token_for_alerts_opens_no_route_of_this_version(network, method, path):
    answer = call(network, method, path, token=ALERTS_TOKEN)
    assert answer.status == (200 if path in PROBES else 403)


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
def test_a_token_for_everything_opens_every_route(network, method, path):
    answer = call(network, method, path)
    expected = 202 if method == "POST" else 404 if path.endswith("0" * 32) else 200
    if path == "/v1/broadcasts":  # MESSAGE names one agent, a broadcast a list: understood, so open
        assert (answer.status, answer.code) == (400, "bad_json")
    else:
        assert answer.status == expected


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:{port}", "localhost:1"])
@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
def test_a_foreign_host_is_refused_on_every_route_whatever_the_token(loopback, method, path, host):
    headers = {"Host": host.format(port=loopback.port)}
    answer = call(loopback, method, path, headers=headers)
    assert (answer.status, answer.code) == (403, "foreign_host")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
def test_a_foreign_origin_is_refused_on_every_route_whatever_the_token(
    loopback, method, path, origin
):
    answer = call(loopback, method, path, headers={"Origin": origin})
    assert (answer.status, answer.code) == (403, "foreign_origin")


def test_the_own_origin_is_answered(loopback):
    own = {"Origin": f"http://127.0.0.1:{loopback.port}"}
    assert call(loopback, "POST", "/v1/messages", headers=own).status == 202


def test_a_name_that_the_settings_allow_is_answered(tmp_path):
    settings = HttpSettings(listen="127.0.0.1:0", allowed_hosts=("desk.example",))
    with running(make_context(tmp_path, settings)) as service:
        assert service.call("GET", "/", headers={"Host": "desk.example"}).status == 200
        assert service.call("GET", "/", headers={"Host": "desk.example:81"}).status == 200
        assert service.call("GET", "/", headers={"Host": "desk.example.org"}).status == 403


@pytest.mark.parametrize(("method", "path"), [("GET", "/v2"), ("DELETE", "/v1/messages")])
def test_what_does_not_exist_is_not_told_to_a_network_without_a_token(network, method, path):
    assert network.call(method, path, token=None).status == 401
    assert network.call(method, path).status in (404, 405)


def test_a_token_is_taken_from_no_other_place_than_the_header(network):
    for path in (f"/metrics?token={TOKEN}", f"/metrics?access_token={TOKEN}"):
        assert network.call("GET", path, token=None).status == 401
    assert network.call("GET", "/metrics", token=None, headers={"Cookie": TOKEN}).status == 401
