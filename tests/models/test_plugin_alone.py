"""The plugin without trainer and lab: what ``import mmlocat.models`` loads, and what works where they are absent."""

import ast

import pytest
import torch

from mmlocat.models import LocAtViT
from tests.conftest import NANO
from tests.helpers.forked import run_python
from tests.test_floors import FLOORS, LAB_ONLY, part_of


def run(code, environment, folder):
    """Runs code in a process of its own and returns what it prints in its last line."""
    found = run_python('-c', code, environment=environment, cwd=folder)
    assert found.returncode == 0, found.stderr[-2000:]
    return ast.literal_eval(found.stdout.strip().splitlines()[-1])


def test_it_loads_nothing_of_trainer_and_lab(clean_environment, tmp_path):
    loaded = run("import sys, mmlocat.models\nprint([name for name in sys.modules if name.startswith('mmlocat.')])",
                 clean_environment, tmp_path)
    parts = {part_of(name) for name in loaded}
    assert {'attention', 'checkpoints', 'models'} <= parts
    assert not parts & {*FLOORS['trainer'], *FLOORS['lab']}, parts
    # Nor what only some configs name, and what builds models from configs of ours.
    assert not parts & {'datasets', 'config'}, parts


# mmengine needs rich itself, so it is there; it is mmlocat that must not ask for it.
WITHOUT = f'''
import builtins, importlib.abc, sys
import mmengine.runner, mmpretrain.models, mmseg.models
absent = {LAB_ONLY!r}
ask = builtins.__import__

def refuse(name, globals=None, *args, **kwargs):
    if name.split('.')[0] in absent and str((globals or {{}}).get('__name__')).startswith('mmlocat'):
        raise ImportError(f'{{globals["__name__"]}} asks for {{name}}')
    return ask(name, globals, *args, **kwargs)

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in absent:
            raise ImportError(f'{{name}} is absent')

builtins.__import__ = refuse
sys.meta_path.insert(0, Absent())
import torch, mmlocat.models
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, init_default_scope
from mmengine.runner.checkpoint import load_checkpoint
backbone = dict(type='LocAtViT', arch={NANO!r}, img_size=24, patch_size=4)
initial = dict(type='Pretrained', checkpoint='backbone.safetensors')
images = torch.randn(2, 3, 30, 26)
'''
TRY = '''
model.init_weights()
assert torch.equal(model.backbone.state_dict()['pos_embed'], torch.load('backbone.pth')['pos_embed'])
torch.save(model.state_dict(), 'whole.pth')
load_checkpoint(model, 'whole.pth', strict=True)
wrapper = build_optim_wrapper(model, dict(
    type='OptimWrapper', constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.5),
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.05)))
heard = []
for module in model.modules():
    if isinstance(module, mmlocat.attention.GaussianAttention):
        module.listen(lambda variance, alpha: heard.append(float(alpha.mean())))
hook = HOOKS.build(dict(type='GaussianStatsHook'))
out = model(images, mode='tensor')
out.square().mean().backward()
wrapper.step()
gradient = model.backbone.layers[0].attn.gaug.log_var.weight.grad.abs().max()
print((list(out.shape), float(gradient) > 0, len(heard), len(wrapper.optimizer.param_groups) > 50))
'''
CLASSIFIER = '''
init_default_scope('mmpretrain')
model = MODELS.build(dict(
    type='ImageClassifier', backbone=dict(backbone, out_type='raw', init_cfg=initial),
    neck=dict(type='PatchRefinement', num_heads=2, out_type='avg_featmap'),
    head=dict(type='LinearClsHead', num_classes=5, in_channels=64)))
'''
SEGMENTOR = '''
init_default_scope('mmseg')
model = MODELS.build(dict(
    type='EncoderDecoder', backbone=dict(backbone, out_type='featmap', init_cfg=initial),
    decode_head=dict(type='FCNHead', in_channels=64, channels=8, num_convs=1, num_classes=7, in_index=0)))
'''


@pytest.mark.parametrize(('model', 'shape'), [(CLASSIFIER, [2, 5]), (SEGMENTOR, [2, 7, 8, 7])],
                         ids=['classifier', 'segmentor'])
def test_it_builds_loads_and_trains_where_the_lab_is_absent(model, shape, clean_environment, tmp_path):
    from safetensors.torch import save_file
    state = LocAtViT(NANO, 24, 4).state_dict()
    save_file(dict(state), str(tmp_path / 'backbone.safetensors'))
    torch.save(state, tmp_path / 'backbone.pth')
    assert run(WITHOUT + model + TRY, clean_environment, tmp_path) == (shape, True, 4, True)
