# Shards weights, gradients and optimizer states over processes: mmengine's FlexibleRunner with PyTorch's FSDP. To be
# added to a leaf: _base_ = ['./locatvit_upernet_ade20k.py', './_base_/fsdp.py'], and started by tools/dist_train.sh.
# Checkpoints are those of one process, whole ("full"): test them with the leaf.
runner_type = 'CheckedFlexibleRunner'
strategy = dict(
    type='ResumableFSDPStrategy',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        auto_wrap_policy=dict(type='wrap_transformer_blocks'),  # one unit a block, the rest is another
        use_orig_params=True),
    state_dict_cfg='full')
