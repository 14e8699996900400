# A Jumbo of the demo's size as a classifier on DigitScenes.
_base_ = './vit-nano_digitscenes.py'
find_unused_parameters = True  # without PRR the MLP of the last block's patches reaches no loss
model = dict(
    backbone=_base_.nano_jumbo,
    head=dict(
        in_channels=6 * 64,
        init_cfg=dict(_delete_=True, type='Constant', layer='Linear', val=0., bias=-2.3)))  # -log of 10 classes
