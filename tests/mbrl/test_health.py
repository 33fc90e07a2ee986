"""The doctor's own looks: equal work gives equal bits, and the factory runs as it does on every kind of device."""

from mbrl.health import canary, world


def test_equal_work_gives_equal_bits():
    assert not canary().wrong


def test_the_factory_runs_as_it_does_everywhere():
    """The digest is that of an NVIDIA H200 too."""
    assert not world().wrong


def test_a_factory_that_runs_otherwise_is_found():
    assert "otherwise" in world(num_ticks=199).wrong
