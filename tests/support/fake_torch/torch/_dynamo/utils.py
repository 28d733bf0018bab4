"""The counters of torch."""

counters: dict[str, dict[str, int]] = {
    "aot_autograd": {"total": 0, "autograd_cache_hit": 0, "autograd_cache_miss": 0, "autograd_cache_saved": 0}
}
