"""Dashboards, made by code: `dashboards.py`."""
