"""GaussianStatsHook: its figures are those of the Gaussians, in every backend, process and way of training."""

import json
import logging
import sys
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from mmlocat.attention import GaussianAttention
from mmlocat.engine import GaussianStatsHook
from tests.helpers.forked import context, run_python
from tests.helpers.siblings import SIBLINGS, sibling


class Toy(BaseModel):
    """A backbone with a loss; keeps what GAug predicts in every forward pass."""

    def __init__(self, name='LocAtViT', **options):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = sibling(name, **options)
        self.weight = torch.nn.Parameter(torch.ones(()))  # something to train over a frozen backbone
        self.passes = {}
        for number, module in enumerate(m for m in self.modules() if isinstance(m, GaussianAttention)):
            torch.nn.init.normal_(module.log_var.weight)
            module.register_forward_hook(partial(self._keep, number), with_kwargs=True)

    def _keep(self, number, module, args, options, output):
        read = args[0] if options.get('gate_query') is None else options['gate_query']  # before RoPE rotates it
        predicted = module.predict(read[:, :, self.backbone.num_prefix_tokens:], args[3])
        self.passes.setdefault(number, []).append([part.detach().cpu().clone() for part in predicted])

    def forward(self, inputs, data_samples=None, mode='tensor'):
        features = self.backbone(torch.stack(list(inputs)))[0]
        return dict(loss=self.weight * features.square().mean()) if mode == 'loss' else features


def expected(passes):
    """What the scalars must be, from the outputs of one forward pass by block."""
    values = {}
    for block, (variance, alpha) in enumerate(passes, 1):
        for head in range(variance.shape[1]):
            where = f'gaug/block{block:02d}/head{head + 1:02d}'
            for name, numbers in (('sigma', np.sqrt(variance[:, head].double().numpy())),
                                  ('alpha', alpha[:, head].double().numpy())):
                values[f'{where}/{name}'], values[f'{where}/{name}_std'] = numbers.mean(), numbers.std()
    assert len(values) == 4 * sum(variance.shape[1] for variance, _ in passes) >= 32
    return values


def train(model, folder, backends=('Local', ), interval=2, iterations=5):
    images = [torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    runner = Runner(
        model=model,
        work_dir=str(folder),
        train_dataloader=dict(dataset=[dict(inputs=image) for image in images], batch_size=2, num_workers=0,
                              sampler=dict(type='InfiniteSampler', shuffle=False)),
        train_cfg=dict(by_epoch=False, max_iters=iterations),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        custom_hooks=[dict(type='GaussianStatsHook', interval=interval)],
        default_hooks=dict(checkpoint=None),
        visualizer=dict(type='Visualizer', vis_backends=[dict(type=f'{name}VisBackend') for name in backends]),
        default_scope='mmengine',
        experiment_name=f'{folder.parent.name}-{folder.name}')
    runner.train()
    return runner


def scalars(folder):
    lines = [json.loads(line) for path in folder.glob('*/vis_data/scalars.json') for line in path.open()]
    return [line for line in lines if any(name.startswith('gaug/') for name in line)]


@pytest.mark.parametrize('options', [
    dict(), dict(with_cp=True), dict(frozen_stages=4), *(dict(name=name, with_cp=True) for name in SIBLINGS)],
                         ids=['as usual', 'checkpointing', 'frozen', *SIBLINGS])
def test_every_second_step_is_recorded(tmp_path, options):
    model = Toy(**options)
    runner = train(model, tmp_path / 'run')
    records = scalars(tmp_path / 'run')
    assert [record.pop('step') for record in records] == [2, 4]
    runs = 2 if options.get('with_cp') else 1  # a recomputed block runs twice and is counted once
    assert all(len(passes) == 5 * runs for passes in model.passes.values())
    for record, step in zip(records, (2, 4)):
        wanted = expected([model.passes[block][(step - 1) * runs] for block in range(4)])
        assert record.keys() == wanted.keys()
        assert all(record[name] == pytest.approx(value, rel=1e-6, abs=1e-9) for name, value in wanted.items())
        assert record['gaug/block01/head01/sigma_std'] > 1e-3
    # It listens in those steps alone.
    assert not any(m._forward_pre_hooks for m in model.modules() if isinstance(m, GaussianAttention))
    assert 'gaug/' not in (tmp_path / 'run' / runner.timestamp / f'{runner.timestamp}.log').read_text()


def test_tensorboard_and_wandb_get_the_same(tmp_path, monkeypatch):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    logged = []  # W&B wants an account and a network: its module is a stand-in, MMEngine's backend is not
    fake = SimpleNamespace(init=lambda **kwargs: None, log=lambda values, **kwargs: logged.append(values),
                           run=SimpleNamespace(dir=str(tmp_path)), config=SimpleNamespace(update=lambda *a, **k: None),
                           define_metric=lambda *args, **kwargs: None, join=lambda: None, finish=lambda: None)
    monkeypatch.setitem(sys.modules, 'wandb', fake)
    runner = train(Toy(), tmp_path / 'run', ('Local', 'Tensorboard', 'Wandb'), interval=3, iterations=3)
    runner.visualizer.close()
    local, = scalars(tmp_path / 'run')
    assert local.pop('step') == 3
    events = EventAccumulator(str(tmp_path / 'run' / runner.timestamp / 'vis_data'))
    events.Reload()
    for name, value in local.items():
        event, = events.Scalars(name)
        assert event.step == 3 and event.value == pytest.approx(value, rel=1e-5)
    assert local in logged


def test_wandb_itself_gets_the_same(tmp_path, monkeypatch):
    """Without an account and a network: in W&B's offline mode."""
    wandb = pytest.importorskip('wandb', reason='wandb, which the extra "dev" brings, is not installed')
    for name, value in dict(MODE='offline', DIR=str(tmp_path), SILENT='true').items():
        monkeypatch.setenv(f'WANDB_{name}', value)
    summary, finish = {}, wandb.finish  # a finished run knows nothing any more; MMEngine calls finish `join`
    monkeypatch.setattr(wandb, 'join', lambda: (summary.update(wandb.run.summary), finish()))
    train(Toy(), tmp_path / 'run', ('Local', 'Wandb'), interval=3, iterations=3)
    local, = scalars(tmp_path / 'run')
    local.pop('step')
    assert len(local) == 32 and {name: summary.get(name) for name in local} == local
    file, = tmp_path.rglob('run-*.wandb')
    deadline = time.monotonic() + 60  # W&B's own process writes it, on a busy machine after the run has ended
    while file.stat().st_size <= 1000 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert file.stat().st_size > 1000


def test_a_plain_vit_gets_a_remark_and_nothing_else(tmp_path):
    runner = train(Toy(gaug=False), tmp_path / 'run')
    assert scalars(tmp_path / 'run') == []
    log = (tmp_path / 'run' / runner.timestamp / f'{runner.timestamp}.log').read_text()
    assert log.count('GaussianStatsHook: this model has no GAug, so there is nothing to record.') == 1


def _process(rank, store, folder, result):
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    model = torch.nn.parallel.DistributedDataParallel(Toy().backbone)
    runner = SimpleNamespace(model=model, iter=0, visualizer=Visualizer(
        name=f'rank{rank}', vis_backends=[dict(type='LocalVisBackend')], save_dir=folder))
    hook = GaussianStatsHook(interval=1)
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    generator = torch.Generator().manual_seed(rank)
    # Not as many patches in both: every Gaussian counts the same.
    model(torch.randn(2 + rank, 3, 24, 24, generator=generator))[0].mean().backward()
    hook.after_train_iter(runner, 0)
    torch.distributed.destroy_process_group()
    result.put(rank)


def test_processes_share_one_record(tmp_path):
    result = context().Queue()
    processes = [context().Process(target=_process, args=(rank, tmp_path / 'store', str(tmp_path), result))
                 for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    found = [json.loads(line) for path in tmp_path.rglob('scalars.json') for line in path.open()]
    assert len(found) == 1 and found[0].pop('step') == 1
    model = Toy()
    for rank in range(2):
        with torch.no_grad():
            model.backbone(torch.randn(2 + rank, 3, 24, 24, generator=torch.Generator().manual_seed(rank)))
    both = [[torch.cat(parts) for parts in zip(*model.passes[block])] for block in range(4)]
    assert len(both[0][0]) == 5
    for name, value in expected(both).items():
        assert found[0][name] == pytest.approx(value, rel=1e-4, abs=1e-6)


def test_a_block_that_is_not_heard_of_is_said(caplog, tmp_path):
    model = Toy()
    runner = SimpleNamespace(model=model, iter=0, logger=logging.getLogger('test'), visualizer=None)
    hook = GaussianStatsHook(interval=1)
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    model.backbone.layers[0](torch.randn(1, 37, 64), (6, 6))
    hook.after_train_iter(runner, 0)
    assert 'heard of 1 of 4 blocks in iteration 1 and records none' in caplog.text


@pytest.mark.parametrize('interval', [0, -1, 2.5, '50'])
def test_an_interval_is_a_positive_whole_number(interval):
    with pytest.raises(ValueError, match=f'interval of GaussianStatsHook must be .*, got {interval!r}'):
        HOOKS.build(dict(type='GaussianStatsHook', interval=interval))


def test_the_imports_of_the_readme_register_it(clean_environment):
    """In a process of its own: this one has imported everything."""
    code = "import mmlocat.models, mmengine; print(mmengine.registry.HOOKS.get('GaussianStatsHook').__name__)"
    found = run_python('-c', code, environment=clean_environment)
    assert found.stdout.split()[-1:] == ['GaussianStatsHook'], found.stderr[-1000:]
