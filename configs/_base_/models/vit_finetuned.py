# What the heads on a backbone that is trained with them share: normalisation, drop path, the blocks that are read.
_base_ = './vit_segmentor.py'
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    # The normalisation of pretraining (the paper's, 0.5 / 0.5): the weights go on from there, so the first images of
    # fine-tuning look to them as their last ones did. The linear protocol has ImageNet's, for it is the paper's own.
    # Weights that were pretrained with another normalisation want theirs here.
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    # Drop path: each size keeps the rate it was pretrained with (0.1, 0.2, 0.4). mmseg's rates for networks pretrained
    # with ImageNet-1K's labels span that range: 0.1 for DeiT-S and -B, 0.3 for Swin, 0.4 for ConvNeXt-B.
    backbone=dict(out_indices=(2, 5, 8, 11), drop_path_rate=_base_.sizes.base.drop_path_rate))
