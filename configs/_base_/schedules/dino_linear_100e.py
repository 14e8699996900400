# DINO's linear probe: SGD without decay, 100 epochs, a cosine to 0 with one rate an epoch. The rate is 1e-3 for each
# 256 images of a batch; the batch, 1024, is DINO's, for the paper does not state it.
_epochs = 100
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=4e-3, momentum=0.9, weight_decay=0.))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0., by_epoch=True, begin=0, end=_epochs)]
train_cfg = dict(by_epoch=True, max_epochs=_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
