"""Keys of states and observations: 64 random bits for every visible arrangement.

    key(obs) = Σ over cells of  T[cell, terrain] + M[cell, marking] + O[cell, object]  +  L[light]      (mod 2³², twice)

Sums of random numbers, one for each cell and code (Zobrist 1970, A new hashing method), can be had from an observation
by look-ups in every cell, and from a state by look-ups only where something stands. Two observations share a key with
probability 2⁻⁶⁴.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8, UInt32

from envs.packing import call_padded
from envs.types import NUM_MARKINGS, NUM_OBJECTS, NUM_TERRAINS, SHUTTERS, Level, Object

_CODES = NUM_TERRAINS + NUM_MARKINGS + NUM_OBJECTS
_MASKED = np.uint64(0x9E3779B9 << 32)
"""What is added to the keys of masked levels, to the high word."""


@cache
def _table(height: int, width: int) -> np.ndarray:
    """Return random numbers `uint32[2, ringed cells + 1, codes]`; the last row holds the light's."""
    rng = np.random.default_rng([0x9A9E, height, width])
    table = rng.integers(0, 2**32, ((height + 2) * (width + 2) + 1, _CODES, 2), dtype=np.uint32)
    inside = np.zeros((height + 2, width + 2), bool)
    inside[1:-1, 1:-1] = True
    table[:-1] *= inside.reshape(-1, 1, 1)  # The ring is not seen, and cell 0 is nowhere.
    return np.ascontiguousarray(np.moveaxis(table, -1, 0))


def observation_key(obs: UInt8[Array, "height width 4"]) -> UInt32[Array, "2"]:
    """Return the key of an observation as two words, high and low (pure, under jit)."""
    height, width, _ = obs.shape
    table = jnp.asarray(_table(height, width))
    grid = table[:, :-1].reshape(2, height + 2, width + 2, _CODES)[:, 1:-1, 1:-1]
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    code = obs.astype(jnp.int32)
    words = (
        grid[:, rows, columns, code[..., 0]]
        + grid[:, rows, columns, NUM_TERRAINS + code[..., 1]]
        + grid[:, rows, columns, NUM_TERRAINS + NUM_MARKINGS + code[..., 2]]
    )
    return jnp.sum(words, axis=(1, 2), dtype=jnp.uint32) + table[:, -1, code[0, 0, 3]]


def observation_keys(obs: np.ndarray, chunk: int = 32_768) -> np.ndarray:
    """Return the keys `uint64[n]` of observations `uint8[n, H, W, 4]` (NumPy)."""
    parts = [call_padded(_keys, obs[i : i + chunk]) for i in range(0, len(obs), chunk)]
    return whole_keys(np.concatenate([np.zeros((0, 2), np.uint32), *parts]))


_keys = jax.jit(jax.vmap(observation_key))


def key_words(keys: np.ndarray) -> np.ndarray:
    """Write keys `uint64[n]` as words `uint32[n, 2]`, high and low."""
    return np.stack([keys >> np.uint64(32), keys & np.uint64(0xFFFFFFFF)], axis=1).astype(np.uint32)


def whole_keys(words: np.ndarray) -> np.ndarray:
    """Invert `key_words`."""
    high, low = np.asarray(words, np.uint64).T
    return high << np.uint64(32) | low


def search_keys(keys: UInt32[Array, "n 2"], wanted: UInt32[Array, "2"]) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """Return the place of a key among sorted ones, and whether it is there, by bisection on both words (under jit)."""
    size = keys.shape[0]

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        here = keys[middle]
        less = (here[0] < wanted[0]) | ((here[0] == wanted[0]) & (here[1] < wanted[1]))
        return jnp.where(less, middle + 1, low), jnp.where(less, high, middle)

    low, _ = jax.lax.fori_loop(0, size.bit_length(), halve, (jnp.int32(0), jnp.int32(size)))
    place = jnp.minimum(low, size - 1)
    return place, jnp.all(keys[place] == wanted)


class StateKeys:
    """Keys of the states of a bank of levels (NumPy), equal to those of their observations.

    Masked levels have keys of their own, for what looks alike with a mask and without goes on in different ways.
    """

    def __init__(self, bank: Level):
        height, width = bank.shape
        table = _table(height, width).astype(np.uint64)
        table = table[0] << np.uint64(32), table[1]
        self._objects = tuple(half[:, NUM_TERRAINS + NUM_MARKINGS :] for half in table)
        self._light = tuple(half[-1] for half in table)
        cell = np.arange((height + 2) * (width + 2))
        terrain = bank.terrain.reshape(len(bank.robot), -1).astype(np.int64)
        marking = bank.marking.reshape(len(bank.robot), -1).astype(np.int64)
        nothing = [half[:-1, NUM_TERRAINS + NUM_MARKINGS + Object.NONE].sum(dtype=np.uint64) for half in table]
        hidden = bank.masked * _MASKED
        self._floor = tuple(
            (half[cell, terrain] + half[cell, NUM_TERRAINS + marking]).sum(1, dtype=np.uint64) + none + hidden
            for half, none in zip(table, nothing, strict=True)
        )
        self._shut = []
        for shutter in SHUTTERS:
            change = [(half[:-1, shutter + 1] - half[:-1, shutter]) for half in table]
            self._shut.append(tuple(((terrain == shutter) * half).sum(1, dtype=np.uint64) for half in change))
        self._kinds = bank.kinds.astype(np.int64)
        self._num_crates = bank.crates.shape[-1]

    def of_rows(self, rows: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Return the keys `uint64[n]` of packed states on the levels of the given indices."""
        cells = rows.astype(np.int64)
        crates, rest = cells[:, 6 : 6 + self._num_crates], cells[:, 6 + self._num_crates :]
        num_movers = rest.shape[1] // 2
        movers, spent = rest[:, :num_movers], rest[:, num_movers:]
        robot = np.where(cells[:, 2] == 1, Object.DISABLED_ROBOT, Object.ROBOT + cells[:, 1])
        kinds = self._kinds[level] + spent
        total = []
        for half in range(2):
            key = self._floor[half][level] + self._light[half][cells[:, 5]]
            for circuit in range(2):
                key = key + self._shut[circuit][half][level] * rows[:, 3 + circuit].astype(np.uint64)
            objects = self._objects[half]
            key = key + objects[cells[:, 0], robot] - objects[cells[:, 0], Object.NONE]
            if crates.size:
                key = key + (objects[crates, Object.CRATE] - objects[crates, Object.NONE]).sum(1)
            if movers.size:
                key = key + (objects[movers, kinds] - objects[movers, Object.NONE]).sum(1)
            total.append(key)
        return total[0] + (total[1] & np.uint64(0xFFFFFFFF))


class KeyIndex:
    """A growing map from keys to consecutive numbers, by open addressing, a whole array at a time."""

    def __init__(self, size: int = 1 << 12):
        self._keys = np.zeros(size, np.uint64)
        self._ids = np.full(size, -1, np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find_or_add(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each key's number, and the positions at which a new key first got one, in the order of numbers."""
        while 2 * (self._count + len(keys)) > len(self._keys):
            self._grow()
        mask = np.uint64(len(self._keys) - 1)
        slots = (keys & mask).astype(np.int64)
        ids = np.full(len(keys), -1, np.int64)
        pending, fresh = np.arange(len(keys)), []
        while len(pending):
            slot = slots[pending]
            empty = self._ids[slot] < 0
            claim = pending[empty]
            self._ids[slot[empty]] = claim + self._count  # Of several claims on a slot the last one stands.
            won = claim[self._ids[slots[claim]] == claim + self._count]
            self._keys[slots[won]] = keys[won]
            self._ids[slots[won]] = np.arange(len(won)) + self._count
            self._count += len(won)
            fresh.append(won)
            same = self._keys[slot] == keys[pending]
            ids[pending[same]] = self._ids[slot[same]]
            pending = pending[~same]
            slots[pending] = (slots[pending] + 1) & int(mask)
        return ids, np.concatenate(fresh) if fresh else np.zeros(0, np.int64)

    def _grow(self) -> None:
        used = self._ids >= 0
        keys, ids = self._keys[used], self._ids[used]
        self._keys, self._ids = np.zeros(2 * len(self._keys), np.uint64), np.full(2 * len(self._ids), -1, np.int64)
        slots = (keys & np.uint64(len(self._keys) - 1)).astype(np.int64)
        pending = np.arange(len(keys))
        while len(pending):
            slot = slots[pending]
            empty = self._ids[slot] < 0
            self._ids[slot[empty]] = ids[pending[empty]]
            self._keys[slot[empty]] = keys[pending[empty]]
            stored = (self._ids[slot] == ids[pending]) & empty
            pending = pending[~stored]
            slots[pending] = (slots[pending] + 1) & (len(self._keys) - 1)
