"""One module a benchmark, each a command: ``python -m benchmarks.bench_store``."""
