# The last block's patch features of a plain ViT-Base, before the final norm, for dense retrieval: no head.
_base_ = './sizes.py'
model = dict(
    type='mmpretrain.ImageClassifier',
    data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),  # images come normalised
    backbone=dict(
        type='LocAtViT',
        arch='base',
        img_size=224,
        patch_size=16,
        gaug=False,
        out_type='featmap',
        final_norm=False))
