# Depth in metres, up to 10: mmseg's DepthEstimator and the head of its vpd_sd_4xb8-25k_nyu-480x480.py on a pyramid. The
# head joins what it reads at stride 16 (VPD: 32), so that one upsampling less gives the size of the image. Sides of
# images must be multiples of 32 px.
_base_ = './vit_pyramid.py'
model = dict(
    type='DepthEstimator',
    data_preprocessor=dict(seg_pad_val=0),  # 0 is no depth
    neck=_base_.pyramid,
    decode_head=dict(
        _delete_=True,
        type='VPDDepthHead',
        in_channels=[_base_.sizes.base.channels] * 4,
        max_depth=10.,
        num_deconv_layers=2,
        num_deconv_filters=(32, 32)))
