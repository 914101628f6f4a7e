"""What is counted where it happens; `metrics.py` shows it. Nothing without METRICS_TOKEN."""

from outlast.conf import conf

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
    for _result in ("hit", "miss"):  # from 0: a rate needs a value before the first read
        CACHE_READS.labels(_result)


def count_read(result: str) -> None:
    """Count a read of the cache: "hit" or "miss"."""
    if INSTALLED and conf.METRICS_TOKEN:
        CACHE_READS.labels(result).inc()
