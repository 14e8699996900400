# StampScenes for segmentation: one to three photographed objects on 128 x 128 px, 10 classes. No augmentation.
_base_ = './digitscenes_seg.py'
num_classes = 10
train_dataloader = dict(dataset=dict(type='StampScenesSegmentation'))
val_dataloader = dict(dataset=dict(type='StampScenesSegmentation'))
test_dataloader = dict(dataset=dict(type='StampScenesSegmentation'))
# What a training is not told of: its fingerprint in a suite holds no metric of the test.
test_evaluator = [_base_.val_evaluator, dict(type='BoundaryIoU')]
