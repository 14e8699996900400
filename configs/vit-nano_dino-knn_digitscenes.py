# k-NN on the features of the demo's ViT that DINO has pretrained: its teacher.pth or a checkpoint.
_base_ = ['_base_/models/nano.py', '_base_/datasets/digitscenes.py', '_base_/runtime_mmpretrain.py']
model = dict(
    type='ImageClassifier',
    backbone=dict(type='LocAtViT', gaug=False, out_type='cls_token', interpolate_mode='dino', **_base_.nano))
train_dataloader = None
val_dataloader = None
val_evaluator = None
test_evaluator = dict(_delete_=True, type='KNNAccuracy')
test_cfg = dict(
    type='KNNLoop',
    k=(10, 20, 100, 200),
    memory_dataloader=dict(
        batch_size=500,
        num_workers=0,
        dataset=dict(type='DigitScenesClassification', split='train', pipeline=_base_.test_pipeline),
        sampler=dict(type='DefaultSampler', shuffle=False)))
