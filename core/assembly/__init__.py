"""The only place that builds adapters from Settings."""
