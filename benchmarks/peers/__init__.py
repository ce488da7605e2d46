"""`python -m benchmarks.peers`: this gateway beside what users would pick instead; docs/benchmarks.md says how."""
