"""Settings with which each head of MMSegmentation runs on a LocAtViT of the demo's size: four maps of 64 channels."""

from __future__ import annotations

import importlib
from typing import Any, Dict, List

CHANNELS, CLASSES, PATCH = 64, 5, 4
_NORM = dict(type='BN')
_PARTS = ('KernelUpdateHead', 'KernelUpdator')  # of IterativeDecodeHead; not heads by themselves
_ALL = dict(in_channels=[CHANNELS] * 4, in_index=[0, 1, 2, 3])
_PYRAMID = dict(type='Feature2Pyramid', embed_dim=CHANNELS, rescales=[4, 2, 1, 0.5], norm_cfg=_NORM)
_LEVELS = dict(type='MultiLevelNeck', in_channels=[CHANNELS] * 4, out_channels=CHANNELS, scales=[4, 2, 1, 0.5])


def _fcn() -> dict:
    return dict(type='FCNHead', in_channels=CHANNELS, in_index=3, channels=16, num_convs=1, num_classes=CLASSES,
                norm_cfg=_NORM)


def _kernel_update() -> dict:
    """Returns one stage of K-Net, its numbers as in mmseg's configs but for the channels."""
    updator = dict(type='KernelUpdator', in_channels=16, feat_channels=16, out_channels=16,
                   act_cfg=dict(type='ReLU', inplace=True), norm_cfg=dict(type='LN'))
    return dict(
        type='KernelUpdateHead', num_classes=CLASSES, num_ffn_fcs=2, num_heads=4, num_mask_fcs=1,
        feedforward_channels=32, in_channels=16, out_channels=16, dropout=0., conv_kernel_size=1,
        ffn_act_cfg=dict(type='ReLU', inplace=True), with_ffn=True,
        feat_transform_cfg=dict(conv_cfg=dict(type='Conv2d'), act_cfg=None), kernel_updator_cfg=updator)


# What a head needs beside the settings of ``head_model``; what is not in here runs with those alone. 'head' are the
# head's own, a list for several heads in a row; 'model', 'backbone' and 'neck' are those of the model. 'side' is that
# of the images in px.
_SETTINGS: Dict[str, Dict[str, Any]] = {
    'ANNHead': dict(head=dict(in_channels=[CHANNELS] * 2, in_index=[2, 3], project_channels=16)),
    'DAHead': dict(head=dict(pam_channels=16)),
    'DPTHead': dict(
        head=dict(_ALL, input_transform='multiple_select', embed_dims=CHANNELS, post_process_channels=[16, 16, 32, 32],
                  readout_type='project'),
        backbone=dict(out_type='featmap_and_cls_token')),
    'DepthwiseSeparableASPPHead': dict(head=dict(c1_in_channels=CHANNELS, c1_channels=16), neck=_LEVELS),
    'EMAHead': dict(head=dict(ema_channels=16, num_bases=16, num_stages=3, momentum=0.1)),
    'EncHead': dict(head=dict(
        in_channels=[CHANNELS] * 3, in_index=[1, 2, 3], num_codes=8,
        loss_se_decode=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.2))),
    'FPNHead': dict(head=dict(_ALL, feature_strides=[4, 8, 16, 32]), neck=_PYRAMID),
    'ISAHead': dict(head=dict(isa_channels=16, down_factor=(4, 4))),
    'IterativeDecodeHead': dict(head=dict(
        num_stages=1, kernel_update_head=[_kernel_update()], kernel_generate_head=_fcn(), _only=True)),
    'LRASPPHead': dict(
        head=dict(in_channels=[CHANNELS] * 3, in_index=[1, 2, 3], input_transform='multiple_select',
                  branch_channels=(16, 32)),
        side=220),
    'LightHamHead': dict(head=dict(
        in_channels=[CHANNELS] * 3, in_index=[1, 2, 3], ham_channels=16, norm_cfg=dict(type='GN', num_groups=8),
        ham_kwargs=dict(MD_R=16))),
    'OCRHead': dict(head=[_fcn(), dict(ocr_channels=16)], model=dict(type='CascadeEncoderDecoder', num_stages=2)),
    'PSAHead': dict(head=dict(mask_size=(12, 12))),
    'PointHead': dict(
        head=[_fcn(), dict(in_channels=[CHANNELS], in_index=[0], num_fcs=1, dropout_ratio=-1, norm_cfg=None)],
        model=dict(
            type='CascadeEncoderDecoder', num_stages=2,
            train_cfg=dict(num_points=64, oversample_ratio=3, importance_sample_ratio=0.75),
            test_cfg=dict(mode='whole', subdivision_steps=1, subdivision_num_points=64, scale_factor=2))),
    'SETRMLAHead': dict(head=dict(_ALL, mla_channels=4)),
    'STDCHead': dict(head=dict(
        num_classes=2, boundary_threshold=0.1,
        loss_decode=[dict(type=f'{loss}Loss', loss_name=f'loss_{loss}') for loss in ('CrossEntropy', 'Dice')])),
    'SegformerHead': dict(head=_ALL, neck=_PYRAMID),
    'SegmenterMaskTransformerHead': dict(head=dict(
        channels=CHANNELS, embed_dims=CHANNELS, num_layers=2, num_heads=2, norm_cfg=dict(type='LN'))),
    'UPerHead': dict(head=_ALL, neck=_LEVELS),
    'VPDDepthHead': dict(
        head=dict(in_channels=[CHANNELS] * 4, embed_dim=16, feature_dim=128, num_deconv_layers=2,
                  num_deconv_filters=(16, 16), _only=True),
        neck=_PYRAMID, model=dict(type='DepthEstimator')),
}

# What a reader must know where the error alone does not tell.
REMARKS = {
    'DDRHead': 'reads the two branches of its own backbone, DDRNet, in training and one in a test',
    'LRASPPHead': 'pools over 49 x 49 places, so that small images do not fit',
    'LightHamHead': 'draws its bases anew in every pass: no two agree',
    'MaskFormerHead': 'needs MMDetection',
    'Mask2FormerHead': 'needs MMDetection',
    'PIDHead': 'reads the three branches of its own backbone, PIDNet, in training and one in a test',
    'SideAdapterCLIPHead': 'reads what SAN\'s own segmentor takes from CLIP',
    'VPDDepthHead': 'takes only maps of an even number of rows and columns'
}


def heads() -> List[str]:
    """Returns the names of all heads of the installed MMSegmentation."""
    names = importlib.import_module('mmseg.models.decode_heads').__all__
    return sorted({*names} - {*_PARTS})


def head_model(name: str) -> dict:
    """Returns the config of a segmentor with a head, as small as can be.

    Args:
        name: Of a class in ``mmseg.models.decode_heads``.
    """
    settings = _SETTINGS.get(name, {})
    parts = settings.get('head', {})
    parts = parts if isinstance(parts, list) else [parts]
    common = dict(in_channels=CHANNELS, in_index=3, channels=16, num_classes=CLASSES, norm_cfg=_NORM)
    *before, last = [dict(part) for part in parts]
    only = last.pop('_only', False)  # a head that takes other arguments
    last = dict(type=name, **({**last} if only else {**common, **last}))
    model = dict(
        type='EncoderDecoder',
        backbone=dict(
            type='LocAtViT',
            arch=dict(embed_dims=CHANNELS, num_layers=4, num_heads=2, feedforward_channels=64),
            img_size=24,
            patch_size=PATCH,
            out_indices=(0, 1, 2, 3),
            out_type='featmap',
            final_norm=False),
        decode_head=[*before, last] if before else last,
        train_cfg=dict(),
        test_cfg=dict(mode='whole'))
    model['backbone'].update(settings.get('backbone', {}))
    if 'neck' in settings:
        model['neck'] = settings['neck']
    return {**model, **settings.get('model', {})}


def side(name: str) -> int:
    """Returns the side of the images that a head is trained on, in px."""
    return _SETTINGS.get(name, {}).get('side', 48)
