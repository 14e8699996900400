# Frozen backbone of locatvit-nano-paper_stampscenes.py, one-layer head. Weights: --cfg-options checkpoint=FILE.
_base_ = './locatvit-nano_linear_stampscenes.py'
