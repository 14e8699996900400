"""Checkpoints: the names that ViT weights bear in the wild."""

from .names import to_mmlocat_names

__all__ = ['to_mmlocat_names']
