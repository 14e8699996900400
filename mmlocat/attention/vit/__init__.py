"""Builds LocAtViT on PyTorch alone, and holds what the registered backbones share with it."""

from .create import create_model
from .model import VisionTransformer

__all__ = ['VisionTransformer', 'create_model']
