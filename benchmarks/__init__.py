"""What the template costs, measured side by side: `nox -s bench`, see docs/benchmarks.md."""
