# DigitScenes for dense retrieval at its own size, normalised as in pretraining.
_base_ = './retrieval.py'
_resize = dict(type='RetrievalTransform', size=36, mean=[0.5] * 3, std=[0.5] * 3)
_load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
test_dataloader = dict(
    num_workers=0,
    dataset=dict(
        type='DigitScenesSegmentation',
        split='test',
        pipeline=[*_load, dict(training=False, **_resize), dict(type='PackSegInputs')]))
test_cfg = dict(
    type='RetrievalLoop',
    memory_dataloader=dict(
        batch_size=64,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='DigitScenesSegmentation',
            split='train',
            pipeline=[*_load, dict(training=True, **_resize), dict(type='PackSegInputs')])))
