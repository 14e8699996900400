# What every segmentation config shares, and EoMT's classes, which mmlocat.models does not import.
_base_ = './runtime_mmseg.py'
custom_imports = dict(imports=[*_base_.custom_imports.imports, 'mmlocat.models.eomt'])
