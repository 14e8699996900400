"""read_checkpoint: what it takes, and what it refuses, by a message that names the file."""

import argparse
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mmlocat.checkpoints import CheckpointError, read_checkpoint, reading_once
from mmlocat.checkpoints.safe_pickle import plain_types

WEIGHTS = OrderedDict(a=torch.arange(6.).reshape(2, 3), b=torch.ones(2, dtype=torch.float16))


def saved(value, path, **options):
    torch.save(value, path, **options)
    return path


@pytest.mark.parametrize('name', ['x.pth', 'x.pth.tar', 'x.bin', 'x.safetensors', 'x'])
@pytest.mark.parametrize('options', [{}, dict(_use_new_zipfile_serialization=False)])
def test_content_tells_not_the_name(name, options, tmp_path):
    checkpoint = read_checkpoint(saved(WEIGHTS, tmp_path / name, **options))
    assert checkpoint.container == ('pickle' if options else 'zip') and checkpoint.nesting == ''
    for key, value in WEIGHTS.items():
        assert torch.equal(checkpoint.state_dict[key], value) and checkpoint.state_dict[key].dtype == value.dtype


def test_safetensors_under_any_name(tmp_path):
    save_file(dict(WEIGHTS), str(tmp_path / 'x.pth'), metadata=dict(format='pt'))
    checkpoint = read_checkpoint(str(tmp_path / 'x.pth'))
    assert checkpoint.container == 'safetensors' and checkpoint.ref_grid is None
    assert torch.equal(checkpoint.state_dict['a'], WEIGHTS['a'])


def test_reading_once_opens_a_file_once(tmp_path, monkeypatch):
    """Whoever checks weights and MMEngine, which loads them, get the same tensors from one look into the file."""
    from mmengine.runner.checkpoint import CheckpointLoader

    from mmlocat.checkpoints import reader
    from mmlocat.engine.checkpoint_loader import install_reader
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    install_reader()
    opened, load = [], reader.load_pickle
    monkeypatch.setattr(reader, 'load_pickle', lambda *args: opened.append(args) or load(*args))
    weights = OrderedDict(WEIGHTS)
    weights._metadata = OrderedDict({'': dict(ref_grid=(3, 4))})
    file = str(saved(dict(state_dict=weights, optimizer=dict(lr=1)), tmp_path / 'x.pth'))
    with reading_once():
        checked = read_checkpoint(file)
        del checked.state_dict['b'], checked.meta  # what one reader takes out, the next one still finds
        loaded = CheckpointLoader.load_checkpoint(file, map_location='meta')
        with reading_once():
            again = read_checkpoint(file)
        assert len(opened) == 1 and loaded['optimizer'] == dict(lr=1) and again.ref_grid == (3, 4)
        assert loaded['state_dict']['a'] is checked.state_dict['a'] is again.state_dict['a']
        assert set(loaded['state_dict']) == {'a', 'b'} and loaded['state_dict']._metadata['']['ref_grid'] == (3, 4)
        read_checkpoint(file, trust_pickle=True)  # another question about the same file
        assert len(opened) == 2
    read_checkpoint(file)
    assert len(opened) == 3


@pytest.mark.parametrize(('nest', 'nesting'), [
    (lambda w: dict(state_dict=w, epoch=3, args=argparse.Namespace(lr=0.1)), 'state_dict'),
    (lambda w: dict(model=w), 'model'),
    (lambda w: dict(student={}, teacher=w), 'teacher'),
    (lambda w: dict(state_dict_ema=w), 'state_dict_ema'),
    (lambda w: dict(model=dict(state_dict=w)), 'model.state_dict'),
    (lambda w: dict(state_dict=w, state_dict_ema={'a': torch.zeros(1)}), 'state_dict'),
])
def test_nests(nest, nesting, tmp_path):
    checkpoint = read_checkpoint(saved(nest(WEIGHTS), tmp_path / 'x.pth'))
    assert checkpoint.nesting == nesting and torch.equal(checkpoint.state_dict['a'], WEIGHTS['a'])


def test_plain_types_pass(tmp_path):
    from mmengine.logging import HistoryBuffer
    history = HistoryBuffer([1., 2.], [1, 1])
    extras = dict(args=argparse.Namespace(lr=np.float64(0.1)), scalar=np.int64(3), array=np.arange(3),
                  names=np.array(['a', 'b']), dtype=np.dtype('uint8'), order=OrderedDict(a=1), history=history)
    whole = read_checkpoint(saved(dict(state_dict=WEIGHTS, **extras), tmp_path / 'x.pth')).whole
    assert whole['args'].lr == 0.1 and whole['scalar'] == 3 and list(whole['array']) == [0, 1, 2]
    assert list(whole['names']) == ['a', 'b'] and whole['dtype'] == np.uint8 and whole['history'].mean(2) == 1.5


def test_names_of_numpy_1_and_2_pass(tmp_path):
    """A pickle written under the other NumPy, whose module has another name."""
    buffer = io.BytesIO()
    torch.save(dict(state_dict=WEIGHTS, x=np.float32(1.5)), buffer, _use_new_zipfile_serialization=False)
    data = buffer.getvalue()
    mine = b'numpy._core.multiarray' if b'numpy._core.multiarray' in data else b'numpy.core.multiarray'
    assert mine in data
    other = {b'numpy._core.multiarray': b'numpy.core.multiarray'}.get(mine, b'numpy._core.multiarray')
    (tmp_path / 'x.pth').write_bytes(data.replace(mine, other))
    assert read_checkpoint(tmp_path / 'x.pth').whole['x'] == 1.5


class Evil:
    """Leaves a file when unpickled without care."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path, )


@pytest.fixture
def schemes(monkeypatch):
    """MMEngine's readers and the trust in pickles, to be changed by a test."""
    from mmengine.runner.checkpoint import CheckpointLoader
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    monkeypatch.setenv('MMLOCAT_TRUST_PICKLE', '0')
    return CheckpointLoader


def test_what_installs_the_reader_last_does_not_take_it_back(schemes, tmp_path):
    """The reader for all sources stays when the models are imported after it."""
    from mmlocat.engine.checkpoint_loader import install_reader, register_schemes
    file = str(saved(dict(state_dict=WEIGHTS, x=Evil(tmp_path / 'ran')), tmp_path / 'x.pth'))
    install_reader()
    register_schemes()
    with pytest.raises(CheckpointError, match='which is no plain data'):
        schemes.load_checkpoint(file)
    assert not (tmp_path / 'ran').exists()


def test_trust_ends_with_the_next_installation(schemes, tmp_path):
    from mmlocat.engine.checkpoint_loader import install_reader
    file = str(saved(dict(state_dict=WEIGHTS, x=Evil(tmp_path / 'ran')), tmp_path / 'x.pth'))
    install_reader(True)
    schemes.load_checkpoint(file)
    (tmp_path / 'ran').rmdir()
    install_reader(False)
    with pytest.raises(CheckpointError, match='which is no plain data'):
        schemes.load_checkpoint(file)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('zipped', [True, False])
def test_no_code_is_run_unless_trusted(zipped, tmp_path):
    file = saved(dict(state_dict=WEIGHTS, x=Evil(tmp_path / 'ran')), tmp_path / 'x.pth',
                 _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r'x\.pth holds (posix|nt|os)\.mkdir, .*--trust-pickle'):
        read_checkpoint(file)
    assert not (tmp_path / 'ran').exists()
    read_checkpoint(file, trust_pickle=True)
    assert (tmp_path / 'ran').exists()


def test_getattr_is_for_known_functions_alone():
    stand_in = plain_types()['builtins.getattr']
    with pytest.raises(pickle.UnpicklingError, match='getattr'):
        stand_in(os, 'system')
    with pytest.raises(pickle.UnpicklingError, match='getattr'):  # a pickle can give an object any name
        stand_in(argparse.Namespace(__name__='HistoryBuffer', x=1), 'x')


def test_reading_weights_imports_no_openmmlab(tmp_path):
    file = saved(WEIGHTS, tmp_path / 'x.pth')
    code = (f'import sys; from mmlocat.checkpoints import read_checkpoint; read_checkpoint({str(file)!r});'
            "print([m for m in ('mmengine', 'mmcv', 'mmseg', 'mmpretrain') if m in sys.modules])")
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout == '[]\n'


# Each writes a broken input below a folder and returns what to read.


def write(name, data):
    def make(folder):
        (folder / name).write_bytes(data)
        return folder / name

    return make


def pickled(value, **options):
    return lambda folder: saved(value() if callable(value) else value, folder / 'x.pth', **options)


def cut_in_a_name(folder):
    """What is left of a type's name is the name of none; it means that the rest is missing."""
    path = saved(WEIGHTS, folder / 'legacy.pth', _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    path.write_bytes(data[:data.index(b'FloatStorage') + 3])
    return path


def cut(name, part):
    def make(folder):
        if name.endswith('safetensors'):
            save_file(dict(WEIGHTS), str(folder / name))
        else:
            saved(WEIGHTS, folder / name, _use_new_zipfile_serialization=name != 'legacy.pth')
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:int(len(data) * part)] if part <= 1 else data + b'more')
        return folder / name

    return make


def torchscript(folder):
    with zipfile.ZipFile(folder / 'x.pt', 'w') as archive:
        archive.writestr('m/data.pkl', '')
        archive.writestr('m/constants.pkl', '')
    return folder / 'x.pt'


def header(entries):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack('<Q', len(text)) + text


def snapshot(config, weights=True):
    def make(folder):
        if weights:
            save_file(dict(WEIGHTS), str(folder / 'model.safetensors'))
        (folder / 'config.json').write_text(config)
        return folder

    return make


def with_record(record):
    def make(folder):
        save_file(dict(WEIGHTS), str(folder / 'x.safetensors'), metadata=dict(mmlocat=record))
        return folder / 'x.safetensors'

    return make


BROKEN = [
    (lambda folder: folder / 'none.pth', FileNotFoundError, r'checkpoint .*none\.pth does not exist; check the path'),
    (lambda folder: folder, FileNotFoundError, 'has neither model.safetensors nor pytorch_model.bin'),
    (write('x.pth', b''), CheckpointError, 'is empty'),
    (write('x.pth', b'\n<!DOCTYPE html><html>Not found</html>'), CheckpointError, 'is an HTML or XML page'),
    (write('x.pth', b'<?xml version="1.0"?><Error/>'), CheckpointError, 'is an HTML or XML page'),
    (write('x.pth', b'version https://git-lfs.github.com/spec/v1\noid sha256:00'), CheckpointError,
     'is a Git LFS pointer, not the weights; run git lfs pull'),
    (write('x.pth', b'\x1f\x8b\x08\x00'), CheckpointError, 'is a gzip archive'),
    (write('x.pth', b'hello, I am text'), CheckpointError, r"begins with b'hello, I', which is neither"),
    (torchscript, CheckpointError, 'is a TorchScript program, which runs code'),
    (cut('x.pth', 0.5), CheckpointError, 'is cut off: its table of contents is missing'),
    (cut_in_a_name, CheckpointError, r'legacy\.pth (cannot be unpickled|holds torch\.\w+, .* is damaged)'),
    (cut('legacy.pth', 0.7), CheckpointError, r'legacy\.pth cannot be unpickled'),
    *((cut('x.safetensors', part), CheckpointError, r'x\.safetensors cannot be read as safetensors .* fetch it again')
      for part in (0.9, 0.1, 2)),
    (write('x.safetensors', header(b'{"a": 1')), CheckpointError, 'cannot be read as safetensors'),
    (write('x.safetensors', struct.pack('<Q', 1 << 40) + b'{'), CheckpointError, 'cannot be read as safetensors'),
    (pickled(lambda: torch.nn.Linear(1, 1)), CheckpointError, r'holds torch\.nn\.modules\.linear\.\w+, '),
    (pickled(lambda: dict(state_dict=WEIGHTS, path=Path('x'))), CheckpointError, 'holds pathlib'),
    (pickled([1, 2]), CheckpointError, 'holds a list, not weights by name'),
    (pickled(torch.ones(2)), CheckpointError, 'holds a Tensor, not weights by name'),
    (pickled(dict(epoch=3)), CheckpointError, 'holds no weights: neither tensors by name nor a state_dict.*epoch'),
    (pickled(dict(state_dict={})), CheckpointError, 'holds no weights'),
    (lambda folder: 'hf://locatvit_base', ValueError, 'is no hub address; expected hf://OWNER/REPO'),
    (lambda folder: 's3://bucket/x.pth', ValueError, 's3:// is not read here; give a file, a folder, hf://'),
    (lambda folder: 'http://127.0.0.1:9/', ValueError, 'names no file'),
    (snapshot('{'), CheckpointError, r'the config\.json beside it, cannot be read \(Expecting'),
    (with_record('{'), CheckpointError, 'its record of the pretraining grid, .* cannot be read'),
    (with_record('{"ref_grid": [14]}'), CheckpointError, 'its record of the pretraining grid, .* cannot be read'),
]


@pytest.mark.parametrize(('make', 'kind', 'message'), BROKEN)
def test_broken_inputs(make, kind, message, tmp_path):
    with pytest.raises(kind, match=message):
        read_checkpoint(make(tmp_path))


def test_a_download_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises(CheckpointError, match=r'http://127.0.0.1:9/x\.pth cannot be downloaded \(URLError'):
        read_checkpoint('http://127.0.0.1:9/x.pth')
    assert not list((tmp_path / 'checkpoints').iterdir())
