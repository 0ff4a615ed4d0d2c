"""A person signs in to the console with a browser: their token is the password that it asks for."""

from __future__ import annotations

import base64
import contextlib
import http.server
import threading
import urllib.error
import urllib.request

import pytest

from google.protobuf import json_format

from browser import Browser
from guarded import ENTERPRISE, Guarded, callers_file
from harness import pb
from issuer import Issuer


@pytest.fixture(scope="module")
def issuer():
    return Issuer("ES256")


@pytest.fixture(scope="module")
def server(tmp_path_factory, issuer):
    server = Guarded(tmp_path_factory.mktemp("sign-in"), issuer)
    # Who may both look at the console and have something decided.
    server.callers.write_text(callers_file(both="operator, clearance"))
    with server.store_filled() as running:
        yield running


def signed_in(token: str) -> dict:
    return {"httpCredentials": {"username": "somebody", "password": token}}


def get(server, path: str, password: str | None):
    """The code, and what is asked for."""
    request = urllib.request.Request(f"http://{server.http_addr}{path}")
    if password is not None:
        pair = base64.b64encode(f"somebody:{password}".encode()).decode()
        request.add_header("authorization", f"Basic {pair}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers.get_all("www-authenticate")
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get_all("www-authenticate")


def test_a_browser_shows_the_console_to_whoever_has_an_operators_token_and_to_nobody_else(server, issuer):
    url = f"http://{server.http_addr}/"
    with Browser() as browser:
        browser.open(url, **signed_in(issuer.token("operator", "es256")))
        browser.reads("#state-word", "LIVE")
        assert browser.complaints() == []
        browser.open(url, **signed_in(issuer.token("operator", "es256", exp=1)))
        assert "TOKEN_EXPIRED" in browser.text("body")
        browser.open(url, **signed_in(issuer.token("terminal", "es256")))
        assert "ROLE_MISSING" in browser.text("body")


def test_a_password_is_asked_for_where_people_look_and_taken_everywhere(server, issuer):
    good = issuer.token("operator", "es256")
    basic, bearer = 'Basic realm="greenlane", charset="UTF-8"', 'Bearer realm="greenlane"'
    invalid = f'{bearer}, error="invalid_token"'
    for path in ("/", "/console/figures", "/favicon.ico"):
        assert get(server, path, None) == (401, [bearer, basic]), path
        assert get(server, path, "guess") == (401, [invalid, basic]), path
        assert get(server, path, good) == (200, None), path
    for path in ("/metrics", "/v1/status"):
        assert get(server, path, None) == (401, [bearer]), path
        assert get(server, path, "guess") == (401, [invalid]), path
        assert get(server, path, good) == (200, None), path


@contextlib.contextmanager
def another_origin():
    """A page of somebody else's."""
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>Another</title>")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


# What a page may send to another origin with the visitor's own credentials, and what becomes of it.
ACROSS = """
const ask = (path, options) => page.evaluate(async ([url, options]) => {
  try {
    const answer = await fetch(url, { credentials: 'include', ...options });
    return [answer.type, answer.status];
  } catch (problem) {
    return [problem.name, 0];
  }
}, [given.server + path, options]);
const json = { 'content-type': 'application/json' }, plain = { 'content-type': 'text/plain' };
const post = (headers, more) => ask('/v1/decide', { method: 'POST', body: given.body, headers, ...more });
await page.goto(given.server + '/');
await page.locator('#state-word').waitFor();
const answers = { own: await post(json) };
await page.goto(given.another);
return {
  ...answers,
  read: await ask('/console/figures', {}),
  blind: await ask('/console/figures', { mode: 'no-cors' }),
  json: await post(json),
  plain: await post(plain),
  'plain blind': await post(plain, { mode: 'no-cors' }),
};
"""


def test_a_page_of_another_origin_has_nothing_done_in_the_name_of_who_is_signed_in(server, issuer):
    request = pb.DecideRequest(
        declaration_number="020220261000000001", direction=pb.DIRECTION_IMPORT, customs_office="0202",
        parties=[pb.Party(role=pb.PARTY_ROLE_CONSIGNEE, customs_code=ENTERPRISE)],
        goods=[pb.GoodsItem(hs_code="8703230000", origin_country="DE")])
    url, body = f"http://{server.http_addr}", json_format.MessageToJson(request)
    with Browser() as browser, another_origin() as another:
        browser.open("about:blank", **signed_in(issuer.token("both", "es256")))
        answers = browser.run(ACROSS, server=url, another=another, body=body)
    assert answers == {
        "own": ["basic", 200], "read": ["TypeError", 0], "blind": ["TypeError", 0],
        "json": ["TypeError", 0], "plain": ["TypeError", 0], "plain blind": ["opaque", 0]}
    assert server.metric("greenlane_decisions_total") == 1, "its own page's alone"
