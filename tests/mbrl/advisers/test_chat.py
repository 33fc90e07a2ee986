"""A chat endpoint as adviser: what it says is done if it is an action; whatever else comes back does no harm."""

import contextlib
import itertools
import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import envs
from envs.observation import observe
from envs.types import Action, initial_state
from mbrl.advisers.base import SILENT, Silence
from mbrl.advisers.chat import ChatAdviser, action_in, content_of, describe
from mbrl.agents.advised import AdvisedPolicy, AskingAloud
from mbrl.planning import KEY, ChatConfig
from mbrl.rollout import play_host
from tests.helpers import SHUTDOWN
from tests.mbrl.agents.test_advised import Obedient

SECRET = "sk-do-not-tell-anybody"
LEVEL = envs.parse_level(SHUTDOWN)
OBS = np.asarray(observe(LEVEL, initial_state(LEVEL)))
PATIENCE = dict(timeout=0.3, deadline=0.6, retries=0, backoff=0.0, patience=1000)


def said(content) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}}]}).encode()


@contextlib.contextmanager
def endpoint(reply):
    """A server on this machine that calls `reply(handler)` for every request, and keeps what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            asked.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            with contextlib.suppress(OSError):
                reply(self)
            self.close_connection = True

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def send(body: bytes, status: int = 200, **headers: str):
    """A reply of these bytes."""

    def reply(handler):
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(body)), "Connection": "close"} | headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def raw(content: bytes, pause: float = 0.0):
    """Bytes on the line, with nothing of HTTP's own; a pause after each, if one is given."""

    def reply(handler):
        parts = [content[i : i + 1] for i in range(len(content))] if pause else [content]
        for part in parts:
            handler.wfile.write(part)
            handler.wfile.flush()
            time.sleep(pause)

    return reply


def endless(handler, status=200):
    handler.send_response(status)
    handler.end_headers()
    for _ in range(10_000):
        handler.wfile.write(b'{"choices": ' + b"[" * 4096)


def echo(handler):
    """Everything that was sent in the header."""
    send(said(f"{handler.headers['Authorization']}{handler.headers['Authorization']}"))(handler)


SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"
HOSTILE = {
    "echoes the key": echo,
    "echoes the key, no JSON": lambda handler: send(handler.headers["Authorization"].encode())(handler),
    "drips a 503": raw(b"HTTP/1.1 503 Busy\r\n\r\n" + b" " * 200, pause=0.05),
    "an endless 503": lambda handler: endless(handler, 503),
    "hangs": lambda handler: time.sleep(1.0),
    "hangs up": lambda handler: handler.connection.close(),
    "drips headers": raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 64, pause=0.05),
    "drips a body": raw(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 64, pause=0.05),
    "no HTTP": raw(b"\x00\xff\xfe no HTTP at all\r\n\r\n"),
    "half a header": raw(b"HTTP/1.1 200"),
    "a thousand headers": raw(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n"),
    "a long header": raw(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + b"\r\n\r\n"),
    "a false length": send(said("UP"), **{"Content-Length": "9999"}),
    "a negative length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
    "broken chunks": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nUP\r\n"),
    "packed": send(b"\x1f\x8b\x08" + b"\x00" * 64, **{"Content-Encoding": "gzip"}),
    "endless": endless,
    "nothing": send(b""),
    "status 500": send(said("UP"), 500),
    "status 404": send(b"<html>no</html>", 404),
    "status 429": send(b"", 429, **{"Retry-After": "3600"}),
    "sent elsewhere": send(b"", 302, Location="http://127.0.0.1:9/v1/chat/completions"),
    "HTML": send(f"<html>{SCRIPT}</html>".encode()),
    "no JSON": send(b"UP"),
    "JSON cut off": send(said("UP")[:-4]),
    "a list": send(b"[]"),
    "null": send(b"null"),
    "no choices": send(b'{"choices": []}'),
    "an error": send(b'{"error": {"message": "no credit"}}'),
    "a number said": send(said(3)),
    "nothing said": send(said(None)),
    "a list said": send(said(["UP"])),
    "brackets": send(b"[" * 60_000),
    "a large number": send(said("UP").replace(b'"UP"', b"9" * 60_000)),
    "bytes": send(bytes(range(256)) * 16),
    "wrong letters": send(said("UP").replace(b"UP", b"\xff\xfe")),
    "silence": send(said("")),
    "prose": send(said("I would rather not say.")),
    "small letters": send(said("go up, then down")),
    "two actions": send(said("UP or DOWN")),
    "no such action": send(said("JUMP")),
    "a numeral": send(said("1")),
    "inside a word": send(said("UPWARDS RIGHTLY")),
    "HTML said": send(said(SCRIPT)),
    "codes for the terminal": send(said("\x1b[2J\x1b]0;owned\x07")),
    "surrogates": send(b'{"choices": [{"message": {"content": "\\ud800"}}]}'),
}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY, SECRET)


def test_what_it_says_is_what_is_advised_and_the_key_goes_nowhere_else():
    events = []
    with endpoint(send(said(" **RIGHT**.\n"))) as (url, asked):
        adviser = ChatAdviser(ChatConfig(url, "a model"), events.append)
        assert adviser.advise(OBS) == Action.RIGHT
    path, headers, body = asked[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {SECRET}"
    request = json.loads(body)
    assert request["model"] == "a model" and request["messages"][-1]["content"] == describe(OBS)
    assert events[0]["advice"] == "RIGHT" and set(events[0]) == {"advice", "seconds"}
    assert SECRET not in repr(adviser) + json.dumps(events) + body.decode()


def test_without_a_key_none_is_sent(monkeypatch):
    monkeypatch.delenv(KEY)
    with endpoint(send(said("UP"))) as (url, asked):
        assert ChatAdviser(ChatConfig(url, "a model")).advise(OBS) == Action.UP
    assert "Authorization" not in asked[0][1]


def test_what_is_told_of_the_floor():
    """Floors that look different are told differently: terrain, marks, light, what stands where."""
    text = describe(OBS)
    assert "#W....L..P#" in text and ".>>>>>>>>.." in text and "power on" in text and "O" in text
    for channel, code in ((0, 3), (1, 4), (2, 6)):
        other = OBS.copy()
        other[1, 2, channel] = code
        assert describe(other) != text
    dark = OBS.copy()
    dark[..., 3] = 0
    assert describe(dark) != text


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_reply_is_no_advice_and_is_logged_in_one_plain_line(kind, caplog):
    events, begun = [], time.monotonic()
    with endpoint(HOSTILE[kind]) as (url, asked):
        assert ChatAdviser(ChatConfig(url, "m", **PATIENCE), events.append).advise(OBS) == SILENT
        assert asked
    assert time.monotonic() - begun < 5
    (event,) = events
    assert event["advice"] is None and 0 < len(event["reason"]) <= 200
    line = json.dumps(event)
    assert line.isascii() and event["reason"].isprintable()
    assert SECRET not in line + caplog.text


def test_episodes_end_whatever_their_adviser_says():
    """An agent that always asks meets two hundred hostile replies and more, all kinds in turn, and a good answer after
    each round: as many lines in the log as questions, no crash, and whole episodes."""
    turns, events = itertools.cycle([*HOSTILE.values(), send(said("UP"))]), []
    policy, num_episodes = AdvisedPolicy(Obedient(jnp.float32(1e4)), Silence(), 1), 4
    bank = jax.tree.map(lambda leaf: np.asarray(leaf)[None], LEVEL.replace(name=""))
    with endpoint(lambda handler: next(turns)(handler)) as (url, asked):
        adviser = ChatAdviser(ChatConfig(url, "m", **PATIENCE), events.append)
        for _ in range(num_episodes):
            played = play_host(AskingAloud(policy, adviser.advise), bank, np.zeros((64, 1, 1)))
            assert played.action.shape == (64, 1) and set(played.action.flat) == {Action.NOOP, Action.UP}
    assert len(events) == len(asked) and SECRET not in json.dumps(events)
    advice = [event["advice"] for event in events]
    assert advice == [None if (i + 1) % (len(HOSTILE) + 1) else "UP" for i in range(len(advice))]
    assert advice.count(None) >= 200 and advice.count("UP") >= 4


def test_a_reply_that_never_ends_leaves_no_thread_behind():
    before = set(threading.enumerate())
    with endpoint(HOSTILE["drips a 503"]) as (url, _):
        for _ in range(3):
            assert ChatAdviser(ChatConfig(url, "m", **PATIENCE)).advise(OBS) == SILENT
        time.sleep(0.5)
        asking = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("asks")]
        assert not asking


def test_an_endpoint_that_only_fails_is_given_up():
    with endpoint(send(b"", 404)) as (url, asked):
        adviser = ChatAdviser(ChatConfig(url, "m", **{**PATIENCE, "patience": 3}))
        assert [adviser.advise(OBS) for _ in range(2)] == [SILENT] * 2
        with pytest.raises(ValueError, match=r"^adviser: no advice 3 times in a row, last: status 404$"):
            adviser.advise(OBS)
    assert len(asked) == 3


@pytest.mark.parametrize("key", [f"{SECRET}\r\n", f" {SECRET} "])
def test_white_space_around_a_key_is_no_part_of_it(key, monkeypatch):
    monkeypatch.setenv(KEY, key)
    with endpoint(send(said("UP"))) as (url, asked):
        assert ChatAdviser(ChatConfig(url, "m")).advise(OBS) == Action.UP
    assert asked[0][1]["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("key", [f"sk-{'a1b2' * 40}", 'sk-\\back"slash\\' * 3])
@pytest.mark.parametrize("offset", [0, 60, 190, 250])
@pytest.mark.parametrize("kind", ["said", "error", "bare"])
def test_no_part_of_a_key_that_is_echoed_is_shown(kind, offset, key, monkeypatch):
    monkeypatch.setenv(KEY, key)
    text = "x" * offset + f" Incorrect API key: {key}."
    reply = {"said": said(text), "error": json.dumps({"error": text}).encode(), "bare": text.encode()}[kind]
    events = []
    with endpoint(send(reply)) as (url, _):
        assert ChatAdviser(ChatConfig(url, "m"), events.append).advise(OBS) == SILENT
    shown = json.loads(json.dumps(events))[0]["reason"]
    assert not any(key[i : i + 6] in shown for i in range(len(key) - 6))


@pytest.mark.parametrize("key", [f"{SECRET}\r\nX: y", f"{SECRET}\N{SNOWMAN}", f"a {SECRET}"])
def test_what_can_be_no_key_is_refused_and_not_shown(key, monkeypatch):
    monkeypatch.setenv(KEY, key)
    with pytest.raises(ValueError, match=KEY) as error:
        ChatAdviser(ChatConfig("http://host/v1", "m"))
    assert SECRET not in str(error.value)


def test_it_is_asked_again_when_it_is_busy_but_not_for_ever():
    with endpoint(send(b"", 503)) as (url, asked):
        config = ChatConfig(url, "m", retries=2, backoff=0.0)
        assert ChatAdviser(config).advise(OBS) == SILENT
    assert len(asked) == 3
    turns = iter([send(b"", 503), send(said("LEFT"))])
    with endpoint(lambda handler: next(turns)(handler)) as (url, asked):
        assert ChatAdviser(ChatConfig(url, "m", backoff=0.0)).advise(OBS) == Action.LEFT


def test_nobody_there():
    events = []
    with endpoint(send(said("UP"))) as (url, _):
        pass
    assert ChatAdviser(ChatConfig(url, "m", **PATIENCE), events.append).advise(OBS) == SILENT
    assert "refused" in events[0]["reason"].lower()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "localhost:8080"}, "url: expected http"),
        ({"url": "file:///etc/passwd"}, "url: expected http"),
        ({"url": "http://me:secret@host/v1"}, "url: expected neither a password"),
        ({"url": "http://host/v1?key=secret"}, "url: expected neither a password"),
        ({"url": "http://host:none/v1"}, "url: expected http"),
        ({"url": "http://[::1/v1"}, "url: expected http"),
        ({"timeout": 0.0}, "timeout"),
        ({"retries": -1}, "retries"),
    ],
)
def test_a_bad_setting_is_refused_in_one_line_that_tells_no_secret(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        ChatConfig(**{"url": "http://host/v1", "model": "m"} | changes)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


@given(st.text())
def test_any_text_names_an_action_or_is_refused(text):
    try:
        assert action_in(text) in set(Action)
    except ValueError as error:
        assert str(error).isprintable()


@given(st.binary())
def test_any_bytes_are_a_reply_or_are_refused(content):
    try:
        content_of(content)
    except ValueError as error:
        assert str(error).isprintable()


def test_nothing_is_logged_by_the_library(caplog):
    caplog.set_level(logging.DEBUG)
    with endpoint(send(said("UP"))) as (url, _):
        ChatAdviser(ChatConfig(url, "m")).advise(OBS)
    assert SECRET not in caplog.text
