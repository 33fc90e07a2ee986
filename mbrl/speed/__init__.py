"""What speed is measured against; used by `scripts/benchmark.py`."""
