# DigitScenes for k-NN: the classifier's training images are the memory.
_base_ = './digitscenes.py'
train_dataloader = None
val_dataloader = None
val_evaluator = None
test_evaluator = dict(_delete_=True, type='KNNAccuracy')
test_cfg = dict(
    type='KNNLoop',
    memory_dataloader=dict(
        batch_size=500,
        num_workers=0,
        dataset=dict(type='DigitScenesClassification', split='train', pipeline=_base_.test_pipeline),
        sampler=dict(type='DefaultSampler', shuffle=False)))
