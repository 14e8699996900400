# COCO-Stuff 164k, 171 classes, in mmseg's layout; label 0 is a class. Resize and crop are ADE20K's.
_base_ = './ade20k.py'
num_classes = 171
_coco = dict(type='COCOStuffDataset', data_root='data/coco_stuff164k')
train_dataloader = dict(
    dataset=dict(**_coco, data_prefix=dict(img_path='images/train2017', seg_map_path='annotations/train2017')))
val_dataloader = dict(
    dataset=dict(**_coco, data_prefix=dict(img_path='images/val2017', seg_map_path='annotations/val2017')))
test_dataloader = val_dataloader
