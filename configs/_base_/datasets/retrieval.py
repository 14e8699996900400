# Dense retrieval (Hummingbird) at 224 px: images and labels are brought to one size, squashed in the test, cropped at
# random for the memory. `test_cfg.protocol` is 'published' or 'clean' for transforms, memory and metric alike.
_load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
memory_pipeline = [*_load, dict(type='RetrievalTransform', training=True), dict(type='PackSegInputs')]
test_pipeline = [*_load, dict(type='RetrievalTransform', training=False), dict(type='PackSegInputs')]
memory_dataloader = dict(batch_size=64, num_workers=8, sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = dict(batch_size=64, num_workers=8, sampler=dict(type='DefaultSampler', shuffle=False))
test_evaluator = dict(type='RetrievalIoU')
