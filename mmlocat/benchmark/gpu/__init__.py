"""Measures parity, time and memory on one GPU and writes the report of `make gpu-report`; see README.md."""
