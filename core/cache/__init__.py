"""Content-addressed disk store with LRU eviction, shared safely by processes; knows no storage and no Git."""
