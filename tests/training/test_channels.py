"""A training on images of four channels: every channel is read, normalised by the pipeline, and learned from."""

import cv2
import numpy as np
import torch

from mmlocat.training.cli import training_job

CONFIG = '''
default_scope = 'mmseg'
custom_imports = dict(imports=['mmlocat.models', 'mmlocat.training'])
model = dict(type='EncoderDecoder', test_cfg=dict(mode='whole'),
             data_preprocessor=dict(type='SegDataPreProcessor', size=(24, 24)),
             backbone=dict(type='LocAtViT', img_size=24, patch_size=4, in_channels=4, out_type='featmap',
                           arch=dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=48)),
             decode_head=dict(type='FCNHead', in_channels=24, in_index=0, channels=24, num_convs=0, num_classes=2,
                              concat_input=False))
pipeline = [dict(type='LoadImageFromFile', color_type='unchanged'), dict(type='LoadAnnotations'),
            dict(type='Normalize', mean=4 * [128.], std=4 * [64.], to_rgb=False), dict(type='PackSegInputs')]
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='BaseSegDataset', data_root='.', data_prefix=dict(img_path='images', seg_map_path='labels'),
                 img_suffix='.tif', seg_map_suffix='.png', pipeline=pipeline, metainfo=dict(classes=('low', 'high'))))
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.01))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=20)
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=20),
                     logger=dict(type='LoggerHook', interval=20))
log_level = 'WARNING'
'''


def test_the_fourth_channel_is_learned_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('images', 'labels'):
        (tmp_path / name).mkdir()
    random = np.random.default_rng(0)
    for number in range(4):
        label = random.integers(0, 2, (6, 6), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        image = random.integers(0, 256, (24, 24, 4), dtype=np.uint8)
        image[..., 3] = 64 + 128 * label  # it alone tells the class
        cv2.imwrite(f'images/{number}.tif', image)
        cv2.imwrite(f'labels/{number}.png', label)
    (tmp_path / 'mine.py').write_text(CONFIG)
    model = training_job(['mine.py', '--work-dir', 'work'])()
    data = model.data_preprocessor(dict(inputs=[torch.from_numpy((image.astype(np.float32) - 128) / 64).movedim(2, 0)],
                                        data_samples=None))
    found = model.eval().encode_decode(data['inputs'], [dict(img_shape=(24, 24))]).argmax(1)[0].numpy()
    assert (found == label).mean() > 0.9
