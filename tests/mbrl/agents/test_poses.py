"""The layers that are alike in eight poses, against the floor posed in so many words."""

import jax
import numpy as np

from mbrl.agents.poses import POSES, FloorLinear, by_parity


def with_arrows(parts, down, across):
    """Replace the last two channels, where an arrow points, by what these make of them."""
    return [
        np.concatenate([part[..., :-2], down(*split)[..., None], across(*split)[..., None]], axis=-1)
        for part in parts
        for split in [(part[..., -2], part[..., -1])]
    ]


def posed(parts, turn, is_mirrored):
    """Turn cells, sums of rows and sums of columns until what was on the right is on top, then mirror them."""
    for _ in range(turn):
        near, down, across = parts
        parts = with_arrows((np.rot90(near), across[::-1], down), lambda _, right: -right, lambda below, _: below)
    if is_mirrored:
        near, down, across = parts
        parts = with_arrows((near[:, ::-1], down, across[::-1]), lambda below, _: below, lambda _, right: -right)
    return parts


def test_the_first_layer_is_the_inner_product_of_its_weights_with_the_floor_in_every_pose():
    rng = np.random.default_rng(0)
    layer = FloorLinear(2, 3, 5, 4, key=jax.random.key(0))
    about = [rng.normal(size=shape).astype(np.float32) for shape in ((5, 5, 5), (7, 5), (7, 5))]
    weights = [np.asarray(weight[...]) for weight in (layer.near, layer.down, layer.across)]
    expected = [
        sum(np.tensordot(part, weight, part.ndim) for part, weight in zip(posed(about, *pose), weights, strict=True))
        for pose in POSES
    ]
    np.testing.assert_allclose(layer(by_parity(*about)), expected, rtol=1e-4, atol=1e-4)
