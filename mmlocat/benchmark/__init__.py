"""Measures time and memory of attention and backbones beside a baseline, in turns: see README.md."""

from mmlocat.utils.first_screen import leave_out_warnings

# Here, because each memory is measured in a spawned process, which imports this and opens no screen.
leave_out_warnings()
