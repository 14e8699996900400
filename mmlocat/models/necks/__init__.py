from .patch_refinement import PatchRefinement

__all__ = ['PatchRefinement']
