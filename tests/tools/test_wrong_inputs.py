"""Every tool on a config without data, one image, weights of another model, a place that cannot be written."""

import re

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmlocat.config import load_config
from mmlocat.models.building import build_model
from tests.conftest import ROOT
from tests.helpers.tool_runner import run_tool

SEGMENTOR = ROOT / 'configs' / 'locatvit-nano_linear_digitscenes.py'


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with wrong inputs, and right ones to go with them."""
    folder = tmp_path_factory.mktemp('wrong')
    config = load_config(str(SEGMENTOR))
    weights = build_model(config).state_dict()
    torch.save(dict(state_dict=weights, meta={}), folder / 'right.pth')
    torch.save(dict(state_dict={'conv1.weight': torch.zeros(64, 3, 7, 7), 'layer1.0.bn1.weight': torch.zeros(64)},
                    meta={}), folder / 'resnet.pth')
    torch.save(dict(state_dict={name: torch.cat([value, value], -1) if value.dim() else value
                                for name, value in weights.items()}, meta={}), folder / 'wide.pth')
    Config(dict(model=config.model, default_scope='mmseg')).dump(folder / 'bare.py')
    for name, picture in (('one.png', Image.new('RGB', (64, 64))), ('one/images/a.png', Image.new('RGB', (64, 64))),
                          ('one/labels/a.png', Image.new('L', (64, 64)))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / name)
    (folder / 'file').write_text('no folder')
    return folder


BELOW_A_FILE = 'file/sub cannot be made: .*/file is a file; name another folder'
IN_A_FILE = 'file is a file, not a folder; name another folder'
OTHER_MODEL = r'{}.pth does not fit the model of this config: \d+ weights are missing or have another shape'
RESNET, WIDE = OTHER_MODEL.format('resnet'), OTHER_MODEL.format('wide')
NO_CHECKPOINT = 'one.png begins with .*, which is neither a PyTorch checkpoint nor safetensors'
NO_MARKERS = 'none.md does not exist; --readme names a Markdown file with markers'
# A command, in which SEG stands for the config of a segmentor, and what its one line says.
CASES = [
    # A config without data, or with no more than a model.
    ('train.py bare.py', 'the config has no train_dataloader; take it from a config that has one'),
    ('test.py bare.py right.pth', 'the config has no test_dataloader; take it from a config that has one'),
    ('data/check.py bare.py', 'the config names no data: it has no train_dataloader'),
    ('analysis/recipe.py bare.py', 'the config has no optim_wrapper.optimizer with an lr: either it is for testing'),
    ('predict.py one.png --model bare.py --checkpoint right.pth', 'bare.py has no test_dataloader with a pipeline'),
    ('../demo/image_demo.py one.png --config bare.py --checkpoint right.pth',
     'bare.py has no test_dataloader with a pipeline'),
    # One image, where a config, a folder, a suite or weights are wanted.
    ('train.py one.png', 'config one.png cannot be read'),
    ('analysis/flops.py one.png', 'config one.png cannot be read'),
    ('benchmark/run_suite.py one.png', 'one.png is not YAML'),
    ('benchmark/suite_costs.py one.png', 'one.png is not YAML'),
    ('benchmark/leaderboard.py one', 'no provenance.json below one: test a checkpoint with tools/test.py'),
    ('data/new_config.py one.png', 'one.png is no folder; name the one that holds your images'),
    ('data/new_config.py one --out new.py', '1 sample cannot be divided into training and validation; add more'),
    ('analysis/gaussians.py one', 'one has no TIME/vis_data/scalars.json with Gaussians: train a LocAtViT with'),
    ('analysis/features.py one.png --model A bare.py right.pth', 'one.png is no folder with images'),
    ('analysis/features.py one/images --masks one/labels --model A bare.py right.pth', 'one/images has one image; pro'),
    ('weights/convert.py one.png a.pth --to mmlocat', NO_CHECKPOINT),
    ('weights/publish.py one.png a.pth', NO_CHECKPOINT),
    # Weights of another architecture.
    ('test.py SEG wide.pth', WIDE),
    ('deploy/export_onnx.py bare.py resnet.pth a.onnx', RESNET),
    ('weights/convert.py resnet.pth a.pth --to mmlocat',
     'resnet.pth: these are no weights of a plain ViT: no name in the file is one of a ViT'),
    ('analysis/attention_maps.py one.png --config bare.py --checkpoint resnet.pth', RESNET),
    ('analysis/features.py one/images --model A bare.py wide.pth', WIDE),
    ('predict.py one.png --model SEG --checkpoint wide.pth', WIDE),
    ('../demo/image_demo.py one.png --config SEG --checkpoint wide.pth', WIDE),
    # A place that cannot be written to.
    ('train.py SEG --work-dir file/sub', BELOW_A_FILE),
    ('test.py SEG right.pth --work-dir file/sub', BELOW_A_FILE),
    ('test.py SEG right.pth --out file/sub', BELOW_A_FILE),
    ('test.py SEG right.pth --out file/metrics.json', IN_A_FILE),
    ('test.py SEG right.pth --show-dir file/sub', BELOW_A_FILE),
    ('demo.py --work-dir file/sub', BELOW_A_FILE),
    ('data/example.py file/sub', BELOW_A_FILE),
    ('weights/convert.py right.pth file/a.pth --to mmlocat', IN_A_FILE),
    ('weights/publish.py right.pth file/a.pth', IN_A_FILE),
    ('deploy/export_onnx.py bare.py right.pth file/a.onnx', IN_A_FILE),
    ('analysis/attention_maps.py one.png --config bare.py --checkpoint right.pth --out file/sub', BELOW_A_FILE),
    ('analysis/gaussians.py one --out file/a.png', IN_A_FILE),
    ('analysis/features.py one/images --model A bare.py right.pth --out file/sub', BELOW_A_FILE),
    *((f'benchmark/{name}.py --work-dir file/sub', BELOW_A_FILE)
      for name in ('attention', 'backbone', 'windows', 'neighbours')),
    ('benchmark/run_suite.py demo --work-dir file/sub', BELOW_A_FILE),
    ('benchmark/gpu_report.py --small --out file/sub', BELOW_A_FILE),
    ('benchmark/run_suite.py demo --readme none.md', NO_MARKERS),
    ('benchmark/suite_costs.py --readme none.md', NO_MARKERS),
    ('benchmark/leaderboard.py one --out file/sub', BELOW_A_FILE),
    ('benchmark/leaderboard.py one --plot file/a.png', IN_A_FILE),
    ('predict.py one.png --model SEG --checkpoint right.pth --out-dir file/sub', BELOW_A_FILE),
    ('../demo/image_demo.py one.png --config SEG --checkpoint right.pth --out-dir file/sub', BELOW_A_FILE),
    # A device that is not there.
    ('benchmark/attention.py --device cuda:99', r'--device cuda:99: PyTorch sees (no|\d+) GPUs? here; leave'),
    ('benchmark/windows.py --device nonsense', '--device nonsense is no device of PyTorch; such are cpu, cuda'),
]


def files(place):
    """Returns all that was written beside logs, which a test by MMEngine's Runner begins when it is built."""
    return sorted(path for path in place.rglob('*') if 'work_dirs' not in path.relative_to(place).parts)


@pytest.mark.parametrize(('command', 'message'), CASES, ids=[command for command, _ in CASES])
def test_one_line_before_any_work(command, message, place, capsys, monkeypatch):
    if command.startswith('deploy/export_onnx.py bare.py resnet') and not hasattr(torch.compiler, 'is_exporting'):
        pytest.skip(f'PyTorch {torch.__version__} is refused before weights are read')
    monkeypatch.chdir(place)
    before = files(place)
    with pytest.raises(SystemExit) as stop:
        run_tool(*(part.replace('SEG', str(SEGMENTOR)) for part in command.split()))
    errors = capsys.readouterr().err
    line, = (line for line in errors.splitlines() if 'rror: ' in line or line.startswith('gpu_report.py: '))
    assert stop.value.code in (1, 2) and re.search(message, line), errors
    assert 'Traceback' not in errors
    assert files(place) == before
