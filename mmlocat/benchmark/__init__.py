"""Measures time and memory of attention and backbones beside a baseline, in turns: see README.md."""
