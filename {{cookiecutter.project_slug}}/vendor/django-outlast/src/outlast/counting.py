"""Counters that other modules increment; `metrics.py` shows them."""

try:
    from prometheus_client import CollectorRegistry, Counter
except ImportError:  # the extra `metrics` is not installed
    INSTALLED = False
else:
    INSTALLED = True
    REGISTRY = CollectorRegistry()
    CACHE_READS = Counter(
        "site_cache_reads", "Reads of the Redis cache by result.", ["result"], registry=REGISTRY
    )
    # From 0: a rate needs a value before the first read.
    READS = {result: CACHE_READS.labels(result) for result in ("hit", "miss")}


def count_read(result: str) -> None:
    """Count a read of the cache: "hit" or "miss"."""
    if INSTALLED:
        READS[result].inc()
