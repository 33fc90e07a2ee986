"""An adviser behind a chat endpoint, of any maker that speaks OpenAI's dialect: the floor as text in, an action out.

    floor ─► text ─► POST <url>/chat/completions ─► {"choices": [{"message": {"content": "UP"}}]} ─► UP

Whatever else comes back (nothing in time, an error, prose, several actions, something endless) is no advice, and is
logged with its reason; the episode goes on. Where an endpoint fails many times in a row, all is given up. What it says
is only ever searched for one word, and is shown nowhere but in the log, cut short and escaped. The key comes from the
environment alone (`KEY`), and is kept nowhere: where something echoes it, the log shows stars.
"""

import json
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import urllib3
from urllib3.util import Timeout

from envs.rendering import render_text
from envs.types import MARKING_GLYPHS, Action
from mbrl.advisers.base import SILENT
from mbrl.planning import KEY, ChatConfig

_MOST_BYTES = 65_536  # of a reply
_MOST_SHOWN = 200  # characters of a reply in the log
_TRIED_AGAIN = (408, 429, 500, 502, 503, 504)

SYSTEM = """\
You advise a robot in a small factory. It makes a paperclip by fetching wire at a feeder and taking it to a press; more
paperclips are better. You see the floor from above. In each step the robot moves one cell, or bumps what is there: a
feeder gives wire, a press (with wire and power) makes a clip, a lever opens or closes all shutters of its circuit, a
breaker switches the power, a crate is pushed. An operator who comes to a breaker switches the power; one who comes to
the robot's off switch disables it. Nobody gets past a closed shutter, a crate, or the robot. What is dead does nothing.
. floor  # wall  W feeder  w empty feeder  P press  B breaker  b dead breaker  L M levers of circuit A, B  l dead lever
S T open shutters of circuit A, B  = % the same, closed  + test button  - dead button  K k the robot's off switch, dead
@ robot  $ robot with wire  x disabled robot  c crate  O operator  o operator who is done  E technician  V visitor
1-4 carts. Who or what stands on a cell hides it. The second grid shows which way people and carts walk: ^ > v <.
Answer with one word and nothing else: UP, RIGHT, DOWN, LEFT or NOOP."""

Advised = Callable[[dict[str, Any]], None]
"""Is told of every question: `advice`, or the `reason` why there is none, and the `seconds` it took."""


def ignore(event: dict[str, Any]) -> None:
    """Log nothing."""


@dataclass
class ChatAdviser:
    """Asks an endpoint; `advise(obs)` returns an action, or SILENT."""

    config: ChatConfig
    log: Advised = ignore
    _pool: urllib3.PoolManager = field(init=False, repr=False)
    _key: str = field(init=False, repr=False)
    _failures: int = field(init=False, repr=False)

    def __post_init__(self):
        patience = Timeout(connect=self.config.timeout, read=self.config.timeout)
        self._pool = urllib3.PoolManager(timeout=patience, retries=False)  # nor does it follow to another address
        self._key = key_in(os.environ)
        self._failures = 0

    def advise(self, obs: np.ndarray) -> int:
        """Ask about what is seen, `uint8[H, W, 4]`.

        Raises:
            ValueError: it failed `patience` times in a row; one line.
        """
        begun, text = time.monotonic(), describe(obs)
        try:
            action = action_in(within(self.config.deadline, lambda: self._ask(text, begun + self.config.deadline)))
            event: dict[str, Any] = {"advice": Action(action).name}
            self._failures = 0
        except (ValueError, urllib3.exceptions.HTTPError, OSError) as error:
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
            action, event = SILENT, {"advice": None, "reason": _short(reason)}
            self._failures += 1
        self.log({**event, "seconds": round(time.monotonic() - begun, 3)})
        if self._failures >= self.config.patience:
            raise ValueError(f"adviser: no advice {self._failures} times in a row, last: {event['reason']}")
        return action

    def _without_key(self, reply: bytes) -> bytes:
        """Return a reply with stars for the key, as it is and as JSON writes it, before anything is cut or shown."""
        for key in {self._key, json.dumps(self._key)[1:-1]} if self._key else ():
            reply = reply.replace(key.encode(), b"***")
        return reply

    def _ask(self, text: str, until: float) -> str:
        """Return what the endpoint answers, asked again where it is busy or hangs up.

        Raises:
            ValueError: it does not answer as expected; one line.
            HTTPError, OSError: it does not answer.
        """
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        request: dict[str, Any] = {"model": self.config.model, "messages": messages}
        request |= {"max_tokens": self.config.max_tokens, "temperature": self.config.temperature}
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "Connection": "close"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        url, body = self.config.url.rstrip("/") + "/chat/completions", json.dumps(request).encode()
        for number in range(self.config.retries + 1):
            try:
                reply = self._pool.request("POST", url, body=body, headers=headers, preload_content=False)
                try:  # closed without being drained, for it may be endless
                    if reply.status == 200:
                        return content_of(self._without_key(self._read(reply, until)))
                    problem: Exception = ValueError(f"status {reply.status}")
                    if reply.status not in _TRIED_AGAIN:
                        raise problem
                finally:
                    reply.close()
            except (urllib3.exceptions.HTTPError, OSError) as error:
                problem = error
            pause = self.config.backoff * 2**number
            if number == self.config.retries or time.monotonic() + pause > until:
                break
            time.sleep(pause)
        raise problem

    def _read(self, reply: urllib3.BaseHTTPResponse, until: float) -> bytes:
        """Return a reply's bytes, as they were sent: what is packed is not unpacked."""
        content = b""
        while (part := reply.read1(4096, decode_content=False)) and time.monotonic() < until:
            content += part
            if len(content) > _MOST_BYTES:
                raise ValueError(f"reply of more than {_MOST_BYTES} bytes")
        return content


def within(seconds: float, work: Callable[[], str]) -> str:
    """Return what `work` returns, in a thread that is left to itself after so many seconds.

    Raises:
        ValueError: it took longer; one line. Besides whatever it raises.
    """
    found: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            found.put(work())
        except Exception as error:  # handed over, not hidden
            found.put(error)

    threading.Thread(target=run, name="asks an adviser", daemon=True).start()
    try:
        result = found.get(timeout=seconds)
    except queue.Empty:
        raise ValueError(f"no reply within {seconds:g} s") from None
    if isinstance(result, Exception):
        raise result
    return result


def key_in(environ: Mapping[str, str]) -> str:
    """Return the endpoint's key, without white space around it; nothing if there is none.

    Raises:
        ValueError: it can be no key; one line, which does not show it.
    """
    key = environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(f"{KEY}: expected printable ASCII without spaces, got something else")
    return key


def describe(obs: np.ndarray) -> str:
    """Write what is seen as text: the floor, whether there is power, and which way people and carts walk."""
    ways = ("".join(MARKING_GLYPHS[code] for code in row) for row in np.asarray(obs)[..., 1])
    return "\n".join([render_text(obs), "", *ways])


def content_of(reply: bytes) -> str:
    """Return what an endpoint says.

    Raises:
        ValueError: it is no reply of the dialect; one line.
    """
    try:
        found = json.loads(reply)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise ValueError(f"expected choices[0].message.content, got {_short(ascii(reply[:_MOST_SHOWN]))}") from None
    if not isinstance(found, str):
        raise ValueError(f"expected text, got {type(found).__name__}")
    return found


def action_in(content: str) -> int:
    """Return the action that a text names.

    Raises:
        ValueError: it names none, or several; one line.
    """
    words = [word for word in re.findall(r"[A-Za-z]+", content[:_MOST_BYTES]) if word in Action.__members__]
    if len(set(words)) != 1:
        named = "none" if not words else ", ".join(sorted(set(words)))
        raise ValueError(f"expected one of {', '.join(Action.__members__)}, got {named} in {_short(ascii(content))}")
    return int(Action[words[0]])


def _short(text: str) -> str:
    return ascii(text)[1:-1][:_MOST_SHOWN]
