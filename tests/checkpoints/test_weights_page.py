"""docs/weights.md: its Python runs, its commands do what they say on small weights."""

import re
import shlex

import torch
from safetensors.torch import save_file

from mmlocat.checkpoints import read_checkpoint
from tests.conftest import ROOT, load_golden
from tests.helpers.forked import run_python

PAGE = (ROOT / 'docs' / 'weights.md').read_text(encoding='utf-8')


def blocks(language):
    return re.findall(rf'^```{language}\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)


def test_python_blocks_run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    first, alone, second = blocks('python')
    exec(first, {})
    assert capsys.readouterr().out == re.search(r'print.*# (.*)', first)[1] + '\n'
    names = {}
    exec(second, names)
    assert names['model'].layers[11].attn.gaug.log_alpha.bias.item() == -10
    exec(alone, names)
    assert names['model'](torch.zeros(1, 3, 224, 224)).shape == (1, 192)


def test_commands_run(tmp_path, clean_environment):
    convert, publish = [line for block in blocks('bash') for line in block.splitlines()]
    case = load_golden('locatvit')
    weights = {key[len('weights/'):]: value for key, value in case.tensors.items() if key.startswith('weights/')}
    (tmp_path / 'hub').mkdir()
    save_file(weights, str(tmp_path / 'hub' / 'model.safetensors'))
    torch.save(dict(state_dict=weights, meta={}, optimizer={}), tmp_path / 'epoch.pth')
    (tmp_path / 'tools').symlink_to(ROOT / 'tools')
    for command, stand_in in ((convert.replace('hf://sinahmr/locatvit_base', 'hub'), 'hub'),
                              (publish.replace('work_dirs/pretrain/epoch_300.pth', 'epoch.pth'), 'epoch.pth')):
        assert stand_in in command
        python, *arguments = shlex.split(command)
        assert python == 'python'
        result = run_python(*arguments, cwd=tmp_path, environment=clean_environment)
        assert result.returncode == 0, result.stderr
    assert torch.equal(read_checkpoint(tmp_path / 'locatvit_base.pth').state_dict['backbone.pos_embed'],
                       weights['pos_embed'])
    assert len(list(tmp_path.glob('locatvit-????????.pth'))) == 1


def test_every_option_and_file_it_names_exists():
    for name in set(re.findall(r'`(configs/[\w./-]+)`', PAGE)):
        assert (ROOT / name).is_file(), name
    source = (ROOT / 'tools' / 'weights' / 'convert.py').read_text()
    for layout in re.findall(r'^\| `(\w+)` \|', PAGE.split('| `--to`')[1], re.MULTILINE):
        from mmlocat.deploy.convert import LAYOUTS
        assert layout in LAYOUTS
    assert "'--verify'" in source and 'add_trust_option(parser)' in source
