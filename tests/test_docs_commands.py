"""Every command of README, docs and metafiles runs in a checkout in miniature (``checkout.py``).

Words are changed where a test differs from the reader: fewer GPUs, shorter measurements of smaller cases. Pages with
data or pictures of their own have tests of their own (``test_docs_site.ELSEWHERE``), and so have commands of the demo.
"""

import re
import sys
from importlib import metadata
from pathlib import Path

import mmseg
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmlocat.config import load_config
from tests.conftest import ROOT
from tests.helpers.checkout import Checkout

PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md')),
         *sorted((ROOT / 'configs').rglob('*.md')), *sorted((ROOT / 'mmlocat').rglob('*.md'))]
START = (ROOT / 'docs' / 'start.md').read_text(encoding='utf-8')
OWN_TESTS = ('analysis.md', 'data.md', 'own_data.md', 'photographs.md', 'retrofit.md', 'weights.md')
KINDS = {'pip': r'pip install ', 'demo': r'make demo$|make app$|python demo/', 'digitscenes': r'.*\bdigitscenes\b',
         'paper': r'.*\bpaper\b', 'benchmarks': r'python tools/benchmark/(attention|backbone|neighbours|windows)\.py ',
         'launchers': r'(\w+=\w+ )?tools/\w+\.sh ', 'data check': r'python tools/data/check\.py ',
         'recipes': r'python tools/analysis/recipe\.py ', 'deploy': r'python tools/deploy/',
         'one command': r'mmlocat ', 'stock tools': r'python \$MMSEG/',
         'costs': r'python tools/benchmark/suite_costs\.py '}


def commands():
    """Returns the commands, in the order in which the pages show them, by kind."""
    found = {kind: [] for kind in KINDS}
    for page in PAGES:
        if page.name in OWN_TESTS:
            continue
        for block in re.findall(r'^```bash\n(.*?)^```', page.read_text(encoding='utf-8'), re.DOTALL | re.MULTILINE):
            for line in filter(None, (line.split('  #')[0].strip() for line in block.splitlines())):
                kind, = (kind for kind, pattern in KINDS.items() if re.match(pattern, line))
                found[kind] += [] if line in found[kind] else [line]
    return found


COMMANDS = commands()


def few_gpus(command, number=2):
    """Returns the command for so many processes instead of 8 or 16."""
    changed, count = re.subn(r'(?<=\.py )8\b|(?<=\.pth )8\b|(?<=--gpus )8\b|(?<=GPUS=)16\b', str(number), command)
    assert count == 1, command
    return changed


@pytest.fixture(scope='module')
def checkout(tmp_path_factory, digit_scenes):
    return Checkout(tmp_path_factory.mktemp('checkout'), digit_scenes)


def test_every_kind_has_commands_and_every_command_a_test():
    assert all(COMMANDS.values())
    tests = {name[len('test_'):] for name in globals() if name.startswith('test_')}
    assert {kind.replace(' ', '_') for kind in KINDS} <= tests
    # What the tests below name one by one.
    assert len(COMMANDS['launchers']) == 7 and len(COMMANDS['digitscenes']) == 4
    paper = [line for line in COMMANDS['paper'] if '--dry-run' not in line]
    assert len(paper) == 3 and sum('leaderboard.py' in line for line in paper) == 1
    # test_docs_site.py runs what start.md shows.
    assert all(line in START for line in COMMANDS['demo'] if line != 'make demo')


def test_commands_stand_in_blocks_of_bash():
    """Of other languages there are those that other tests run or compare; `sh` is the Slurm script of one page."""
    for page in PAGES:
        languages = set(re.findall(r'^```(\S+)$', page.read_text(encoding='utf-8'), re.MULTILINE))
        assert languages <= {'bash', 'python', 'diff', 'text'} | ({'sh'} if page.name == 'reliability.md' else set())


@pytest.mark.parametrize('command', COMMANDS['pip'])
def test_pip(command, checkout):
    """What is installed fulfils it; `make install` and `make test-openmmlab` install from nothing, a family each."""
    families = {name.split('-')[0] for name in ('onedl-mmcv', 'mmcv') for _ in metadata.distributions(name=name)}
    if not families & set(re.findall(r'\w+', command.replace('openmmlab', 'mmcv'))):
        pytest.skip('the environment is one of the other package family')
    assert 'Would install mmlocat' in fulfilled(command, checkout)


def fulfilled(command, checkout):
    """Returns what pip says that it would do, fetching nothing; skips where a requirement is not installed at all."""
    try:
        return checkout.run(f'python -m {command} --dry-run --no-index --no-build-isolation')
    except AssertionError as error:
        wanted = re.search(r'No matching distribution found for ([\w.-]+)|No module named (pip)', str(error))
        if wanted is None:
            raise
        name = wanted[1] or wanted[2]
        if next(iter(metadata.distributions(name=name)), None) is not None:  # of a version that does not do
            raise
    pytest.skip(f'{name} is not installed')


def first_of_each(lines):
    """Marks as soak every command whose script an earlier one runs too."""
    seen = set()
    for line in lines:
        script = line.split()[1]
        yield pytest.param(line, marks=pytest.mark.soak if script in seen else ())
        seen.add(script)


@pytest.mark.parametrize('command', first_of_each(COMMANDS['benchmarks']))
def test_benchmarks(command, checkout):
    """One small case of each instead of minutes; the options stay, the last value counts."""
    less = {'attention': '--grids 4 --heads 1 --backends sdpa --passes forward',
            'backbone': '--images 32 --archs tiny --modes inference', 'windows': '--img-size 64',
            'neighbours': '--rows 100 --queries 4'}
    script = re.search(r'benchmark/(\w+)\.py', command)[1]
    said = checkout.run(f'{command} --seconds 0.01 {less[script]}')
    assert re.search(r'\bsdpa\b|\bTiny\b|\btiny\b|\bneighbours\b', said) and re.search(r'\d\.\d\d', said)
    if '--plot' in command:
        assert checkout.products('attention.png')


@pytest.mark.parametrize('command', COMMANDS['data check'])
def test_data_check(command, checkout):
    assert re.search(r'\b0 errors', checkout.run(command))


@pytest.mark.parametrize('command', COMMANDS['recipes'])
def test_recipes(command, checkout):
    assert 'What the optimiser updates' in checkout.run(command)


@pytest.mark.parametrize('command', COMMANDS['one command'])
def test_one_command(command, checkout):
    """As installed, ``mmlocat`` would be that of another checkout."""
    said = checkout.run(command.replace('mmlocat ', 'python -m mmlocat ', 1))
    assert 'commands' in said if '--help' in command else 'images' in said and 'free' in said
    assert not list(checkout.folder.glob('work_dirs/locatvit_linear_ade20k*'))


@pytest.mark.soak
@pytest.mark.parametrize('command', COMMANDS['costs'])
def test_costs(command, checkout):
    """Of the suite that is small there; the options stay."""
    checkout.run(command.replace('.py', '.py paper'))
    assert '| paper | heads | 2 |' in (checkout.folder / 'docs' / 'reproduce.md').read_text()


@pytest.mark.parametrize('command', COMMANDS['stock tools'])
def test_stock_tools(command, checkout):
    """MMSegmentation's own tool, with what docs/use.md puts into a config."""
    page = (ROOT / 'docs' / 'use.md').read_text(encoding='utf-8')
    lines = re.search(r'```python\n(runner_type = .*?)```', page, re.DOTALL)
    imports = "imports=['mmlocat.models', 'mmlocat.datasets', 'mmlocat.engine', 'mmlocat.training']"
    config = lines[1].replace("imports=['mmlocat.training']", imports)
    assert imports in config
    (checkout.folder / 'my_config.py').write_text(f"_base_ = 'configs/locatvit-nano_upernet_digitscenes.py'\n{config}")
    tools = Path(mmseg.__file__).parent / '.mim'
    if not (tools / 'tools' / 'train.py').is_file():
        pytest.skip('this build of mmseg ships no tools')
    said = checkout.run(command, MMSEG=str(tools))
    assert 'Nothing to resume in ./work_dirs/my_config' in said
    assert checkout.products('work_dirs/my_config/provenance.json')


@pytest.mark.soak
def test_deploy(checkout):
    """The names in capitals are a reader's own: here a classifier that has learnt nothing."""
    if not hasattr(torch.compiler, 'is_exporting'):
        pytest.skip(f'PyTorch {torch.__version__} cannot record graphs for images of any size')
    pytest.importorskip('onnxruntime', reason='the extra mmlocat[deploy] is not installed')
    config = checkout.folder / 'configs' / 'locatvit-nano_digitscenes.py'
    init_default_scope('mmpretrain')
    torch.save(dict(state_dict=MODELS.build(load_config(str(config)).model).state_dict()), checkout.folder / 'mine.pth')
    for command in COMMANDS['deploy']:
        checkout.run(command.replace('CONFIG', str(config)).replace('CHECKPOINT', 'mine.pth'))
        assert checkout.products(command.split()[4])


@pytest.mark.soak
def test_demo(checkout):
    """`make` takes this environment instead of making one, which .ci/run does, with `make demo-quick`."""
    make = f'make VENV={sys.prefix} -o {sys.prefix}/.mmlocat-ready '
    first, *others = sorted(COMMANDS['demo'], key=lambda command: command != 'make demo')
    said = checkout.run(first.replace('make ', make, 1), timeout=1200)  # ten minutes on two idle cores
    assert 'ViT' in said and checkout.products('work_dirs/demo/summary.png')
    for command in others:
        if command == 'make app':
            command += ' ARGS=--help'  # it would serve until it is stopped; test_web_page.py clicks
        elif 'photo.jpg --against' not in command:
            continue  # test_docs_site.py has them
        said = checkout.run(command.replace('make ', make, 1))
        assert ('A web page' if 'app' in command else '1 of 1 done') in said


@pytest.mark.soak
def test_digitscenes(checkout):
    suite, *boards = (line for line in COMMANDS['digitscenes'] if 'variants' not in line)
    assert 'All done.' in checkout.run(suite)
    for board in boards:
        checkout.run(board)
    assert checkout.products('docs/leaderboard.png') and checkout.products('work_dirs/digitscenes/leaderboard/*.json')
    table = (checkout.folder / 'README.md').read_text().split('<!-- leaderboard:digitscenes -->')[1]
    assert '| ViT' in table and 'LocAtViT' not in table.split('<!-- /')[0]  # of what the small suite has


@pytest.mark.soak  # the same tool as above, on more models
def test_digitscenes_variants(checkout):
    suite, = (line for line in COMMANDS['digitscenes'] if 'variants' in line)
    assert 'All done.' in checkout.run(suite)
    table = (checkout.folder / 'README.md').read_text().split('<!-- suite:digitscenes-variants -->')[1]
    assert '| model | head | top-1 % | k-NN % | retrieval mIoU % |' in table and '| Swin | classifier |' in table


def launch_of_one(begin):
    return few_gpus(next(line for line in COMMANDS['launchers'] if line.startswith(begin)), 1)


def test_a_launch_on_slurm(checkout):
    checkout.run(launch_of_one('GPUS='))
    assert checkout.products('work_dirs/locatvit_imagenet/epoch_1.pth')


@pytest.mark.soak
def test_launchers(checkout):
    """README's other steps: pretrain, segment with that backbone, test."""
    pretrain, segment, test = map(launch_of_one, (
        'tools/dist_train.sh configs/locatvit_imagenet.py', 'tools/dist_train.sh configs/locatvit_linear',
        'tools/dist_test.sh'))
    checkout.run(pretrain)
    checkout.settle('pretrain', 'epoch_300.pth')
    said = checkout.run(segment)
    assert 'pretrain/epoch_300.pth' in said and 'matched' in said
    checkout.settle('locatvit_linear_ade20k', 'iter_20000.pth')
    assert 'mIoU' in checkout.run(test)


@pytest.mark.soak
def test_other_launches(checkout):
    """Those of the pages that differ from README's in the config alone."""
    linear = 'tools/dist_train.sh configs/locatvit_linear'
    others = [few_gpus(line) for line in COMMANDS['launchers']
              if line.startswith('tools/dist_train.sh') and 'locatvit_imagenet' not in line and linear not in line]
    assert len(others) == 3
    for command in others:
        checkout.run(command, CUDA_VISIBLE_DEVICES='')  # two processes, and perhaps one GPU
        if 'vit_imagenet.py' in command:
            checkout.settle('vit_imagenet', 'epoch_300.pth')
    assert checkout.products('work_dirs/locatvit_upernet_ade20k/iter_2.pth')
    assert checkout.products('work_dirs/vit_linear_ade20k/iter_2.pth')


def test_paper(checkout):
    for command in COMMANDS['paper']:
        if '--dry-run' in command:
            assert 'trainings are left' in checkout.run(command)


@pytest.mark.soak
def test_paper_for_real(checkout):
    plain, slurm = (few_gpus(line) for line in COMMANDS['paper'] if 'run_suite' in line and '--dry-run' not in line)
    board, = (line for line in COMMANDS['paper'] if 'leaderboard.py' in line)
    cpus = dict(CUDA_VISIBLE_DEVICES='')  # two processes, and perhaps one GPU
    assert 'All done.' in checkout.run(f'{plain} --work-dir work_dirs/plain', **cpus)
    assert 'All done.' in checkout.run(slurm, **cpus)
    checkout.run(board)
    assert checkout.products('work_dirs/paper/leaderboard/leaderboard.md')


def inline(begin):
    """Returns the commands of the running text, between single backticks."""
    texts = (re.sub(r'^```.*?^```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL | re.MULTILINE)
             for page in PAGES)
    return sorted({command for text in texts for command in re.findall(rf'`({begin}[^`]*)`', text)})


@pytest.mark.parametrize('command', inline('make '))
def test_targets_of_the_running_text(command, checkout):
    """What make would do; `make demo` is done above, `make test` and `make docs` by .ci/run."""
    assert checkout.run(command.replace('make ', 'make -n ', 1))


@pytest.mark.parametrize('command', inline('pip '))
def test_extras_of_the_running_text(command, checkout):
    local = command.replace('"mmlocat[', '"./[')
    assert local != command
    assert 'mmlocat' in fulfilled(local, checkout)


def test_tools_of_the_running_text(checkout):
    """Those with names in capitals are run above or by the pages' own tests; here, that they exist."""
    for command in inline('python '):
        script, *arguments = command.split()[1:]
        assert (ROOT / script).is_file(), command
        if arguments and not any(argument.isupper() for argument in arguments):
            assert 'run_suite.py' in script
            assert 'trainings are left' in checkout.run(f'{command} --dry-run')
