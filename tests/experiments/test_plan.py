"""The demo's plan: what is shared by the arms, and what makes a step stale."""

from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope

from mmlocat.config import load_config
from mmlocat.experiments.demo.plan import ARMS, DEMO_ARMS, Budget, plan_seed
from tests.conftest import ROOT

NO_CUTS = Budget()


def plan(seed=0, budget=NO_CUTS, arms=DEMO_ARMS, work_dir=Path('/w')):
    return plan_seed(seed, arms, work_dir, budget)


def test_every_config_exists():
    for arm in ARMS.values():
        for name in (arm.pretraining, arm.linear, arm.upernet):
            assert name is None or (ROOT / 'configs' / name).is_file()


def test_steps_of_the_demo():
    steps = plan().steps
    names = [step.name for step in steps]
    assert len(names) == len(set(names)) == 2 * 4 + 2
    assert sum('upernet' in name for name in names) == 2
    heads = [step for step in plan().heads if 'dist_train.sh' in ' '.join(step.command)]
    assert len(heads) == 3
    for step in heads:
        assert step.command[step.command.index('--work-dir') - 1] == '2'  # processes
        assert 'train_dataloader.batch_size=16' in step.command
        assert any(option.startswith(f'checkpoint=/w/seed0/{"vit" if "ViT:" == step.name[:4] else "locatvit"}/')
                   for option in step.command)


def test_arms_share_data_order_budget_and_recipe():
    configs = [load_config(str(ROOT / 'configs' / ARMS[arm].pretraining)).to_dict() for arm in
               ('vit', 'locatvit', 'gaug', 'prr')]
    for config in configs:
        config['model']['backbone'].pop('gaug'), config['model']['backbone'].pop('out_type', None)
        config['model'].pop('neck', None)
    assert all(config == configs[0] for config in configs[1:])
    options = [[option for option in step.command if option.startswith('randomness')] for step in plan(seed=3).steps
               if step.resumable]
    assert options == [['randomness.seed=3']] * 5


def test_one_seed_gives_all_classifiers_the_same_shared_weights():
    states = []
    for arm in ('vit', 'locatvit', 'gaug', 'prr'):
        config = load_config(str(ROOT / 'configs' / ARMS[arm].pretraining))
        init_default_scope(config.default_scope)
        torch.manual_seed(7)
        model = MODELS.build(config.model)
        model.init_weights()
        states.append(model.state_dict())
    assert all(torch.equal(value, state[name]) for state in states for name, value in states[0].items())
    assert len(states[1]) == len(states[2]) == len(states[0]) + 16 and len(states[3]) == len(states[0])


def prints(a_plan):
    return {step.name.split(' (')[0]: step.fingerprint for step in a_plan.steps}


def test_fingerprints_follow_what_a_result_depends_on():
    base = prints(plan())
    assert prints(plan(work_dir=Path('/elsewhere'))) == base
    other_seed = prints(plan(seed=1))
    assert all(other_seed[name] != value for name, value in base.items())
    heads_only = prints(plan(budget=Budget(segmentation_iterations=10)))
    changed = {name for name, value in base.items() if heads_only[name] != value}
    assert changed == {name for name in base if 'linear' in name or 'upernet' in name}
    from_pretraining = prints(plan(budget=Budget(pretraining_images=100)))
    assert all(from_pretraining[name] != value for name, value in base.items())


def test_untrained_arms_have_heads_only():
    steps = plan(arms=('vit-untrained', )).steps
    assert len(steps) == 2 and '--allow-random-backbone' in steps[0].command
