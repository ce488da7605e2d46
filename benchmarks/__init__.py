"""What every number about routing comes from: `python -m benchmarks.simulate`, `python -m benchmarks.routing`."""
