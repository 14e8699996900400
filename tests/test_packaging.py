"""The wheel, installed in a clean environment and used from another directory; and small helpers."""

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.util import find_spec

import pytest

from mmlocat.utils import atomic_write, share_folder
from tests.conftest import ROOT


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    for name in ('pip', 'setuptools'):
        if find_spec(name) is None:  # not imported: setuptools wants to come before distutils
            pytest.skip(f'{name}, which builds the wheel, is not installed')
    folder = tmp_path_factory.mktemp('wheel')
    # From a copy, because setuptools leaves its build folder behind.
    unwanted = shutil.ignore_patterns('.*', 'build', 'work_dirs', '*.egg-info', '__pycache__')

    def ignore(path, names):  # tools/data is wanted
        return unwanted(path, names) | ({'data'} if path == str(ROOT) else set())

    source = shutil.copytree(ROOT, folder / 'source', ignore=ignore)
    # No isolation: this environment's setuptools builds it, nothing is fetched.
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '-w',
                    str(folder), str(source)], check=True, timeout=300)
    return next(folder.glob('*.whl'))


def test_wheel_holds_configs_tools_and_index(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in ('configs', 'tools', 'demo'):
        for file in (ROOT / path).rglob('*'):
            if file.is_file() and '__pycache__' not in file.parts:
                assert f'mmlocat/.mim/{file.relative_to(ROOT)}' in names
    entry, = (name for name in names if name.endswith('entry_points.txt'))
    assert b'mmlocat = mmlocat.__main__:main' in zipfile.ZipFile(wheel).read(entry)
    assert 'mmlocat/.mim/model-index.yml' in names and 'mmlocat/attention/README.md' in names
    assert 'mmlocat/experiments/leaderboard/paper_results.csv' in names
    assert not any(name.startswith('tests/') for name in names)


def test_wheel_works_from_another_directory(wheel, tmp_path, digit_scenes, clean_environment):
    venv.create(tmp_path / 'env', with_pip=False)
    python = tmp_path / 'env' / 'bin' / 'python'
    site = next((tmp_path / 'env' / 'lib').glob('python*')) / 'site-packages'
    subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', str(site), str(wheel)],
                   check=True, timeout=300)
    # The dependencies come from this environment; of mmlocat itself only the wheel is on the path.
    (site / 'dependencies.pth').write_text(sysconfig.get_paths()['purelib'] + '\n')
    clean_environment.pop('PYTHONPATH')
    share = str(site / 'mmlocat' / '.mim')
    code = 'import mmlocat, mmlocat.utils as u; print(u.share_folder(), *mmlocat.resolve("locatvit_imagenet"))'
    found = subprocess.run([str(python), '-c', code], cwd=tmp_path, env=clean_environment, capture_output=True,
                           text=True, check=True).stdout
    assert found.split() == [share, f'{share}/configs/locatvit_imagenet.py', 'hf://sinahmr/locatvit_base']
    result = subprocess.run([
        str(python), '-m', 'mmlocat', 'train', 'locatvit-nano_linear_digitscenes', '--allow-random-backbone',
        '--no-validate', '--cfg-options', 'train_cfg.max_iters=1',
        'param_scheduler.0.total_steps=8', f'train_dataloader.dataset.data_root={digit_scenes}',
        f'test_dataloader.dataset.data_root={digit_scenes}'
    ], cwd=tmp_path, env=clean_environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / 'work_dirs' / 'locatvit-nano_linear_digitscenes' / 'iter_1.pth').exists()


def test_share_folder_is_the_checkout():
    assert share_folder() == ROOT


def test_atomic_write_leaves_no_half_file(tmp_path):
    path = tmp_path / 'new' / 'file.txt'
    with atomic_write(path) as file:
        file.write('whole')
    with pytest.raises(KeyError), atomic_write(path) as file:
        file.write('half')
        raise KeyError
    assert path.read_text() == 'whole'
    assert [entry.name for entry in path.parent.iterdir()] == ['file.txt']
