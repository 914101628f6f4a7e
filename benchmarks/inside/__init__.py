"""What benchmarks run inside a site, and not outside."""
