"""DINO computes what the published code does: features, loss, schedules, and weights after three updates."""

import copy

import pytest
import torch
from mmengine.optim import CosineAnnealingLR, LinearLR, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.engine.schedulers import CosineAnnealingWeightDecay
from mmpretrain.registry import MODELS

import mmlocat.engine  # noqa: F401 - registers
import mmlocat.models  # noqa: F401 - registers
from mmlocat.attention import refine_patches
from mmlocat.checkpoints.names import to_mmlocat_names
from mmlocat.models.selfsup import DINO, DINOHead
from tests.conftest import assert_close, load_golden


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def backbone(case, gaug):
    arch = dict(embed_dims=case.embed_dim, num_layers=case.depth, num_heads=case.num_heads,
                feedforward_channels=4 * case.embed_dim)
    return dict(type='LocAtViT', arch=arch, img_size=case.img_size, patch_size=4, gaug=gaug, out_type='raw',
                interpolate_mode='dino')


def part(case, prefix):
    return {name[len(prefix):]: value for name, value in case.tensors.items() if name.startswith(prefix)}


@pytest.mark.parametrize('size', [0, 1, 2])
@pytest.mark.parametrize('name', ['dino_vit', 'dino_locatvit'])
def test_features_and_their_gradients_are_the_published_ones(name, size):
    case = load_golden(name)
    model = MODELS.build(dict(backbone(case, case.locat), out_indices=(0, 1))).eval()
    model.load_state_dict(part(case, 'weights/'), strict=False)
    images = case.tensors[f'input_{size}'].requires_grad_()

    def refined(tokens):
        return refine_patches(tokens, case.num_heads) if case.locat else tokens

    first, last = model(images)
    assert_close(refined(model.ln1(first)), case.tensors[f'layer0_{size}'], 1e-5)
    assert_close(refined(last), case.tensors[f'layer1_{size}'], 1e-5)
    out = refined(last)[:, 0]
    assert_close(out, case.tensors[f'out_{size}'], 1e-5)
    expected = part(case, f'grads_{size}/')
    renamed = {**to_mmlocat_names({key: value for key, value in expected.items() if key != 'input'}),
               'input': expected['input']}
    sources = {'input': images, **dict(model.named_parameters())}
    scalar = (out * case.tensors[f'grad_out_{size}']).sum()
    for key, gradient in zip(renamed, torch.autograd.grad(scalar, [sources[key] for key in renamed])):
        assert_close(gradient, renamed[key], 1e-4)


def test_loss_gradients_and_centre_are_the_published_ones():
    case = load_golden('dino_loss')
    head = DINOHead(4, case.out_dim, 8, 4, case.student_temp, case.teacher_temp, case.warmup_teacher_temp,
                    case.warmup_teacher_temp_epochs, case.center_momentum)
    temperatures = torch.tensor([head.temperature(epoch) for epoch in range(case.epochs)], dtype=torch.float64)
    torch.testing.assert_close(temperatures, case.tensors['teacher_temp_schedule'].double())
    head.center.copy_(case.tensors['center_before'])
    for step, epoch in enumerate(case.steps):
        student = case.tensors[f'student_{step}'].requires_grad_()
        teacher = case.tensors[f'teacher_{step}']
        loss = head.loss(list(student.chunk(case.ncrops)), list(teacher.chunk(2)), epoch)
        assert_close(loss, case.tensors[f'loss_{step}'], 1e-5)
        assert_close(torch.autograd.grad(loss, student)[0], case.tensors[f'grad_student_{step}'], 1e-5)
        assert_close(head.center, case.tensors[f'center_{step}'], 1e-5)


def test_schedules_are_the_published_ones():
    case = load_golden('dino_schedules')
    steps, warmup = case.epochs * case.iterations_per_epoch, 2 * case.iterations_per_epoch
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=case.lr[0], weight_decay=case.weight_decay[0])
    schedulers = [
        LinearLR(optimizer, start_factor=1e-8, begin=0, end=warmup, by_epoch=False),
        CosineAnnealingLR(optimizer, eta_min=case.lr[1], begin=warmup, end=steps, by_epoch=False),
        CosineAnnealingWeightDecay(optimizer, eta_min=case.weight_decay[1], begin=0, end=steps, by_epoch=False)]
    model = miniature()
    for step in range(steps):
        group = optimizer.param_groups[0]
        assert group['lr'] == pytest.approx(case.tensors['lr'][step].item(), rel=1e-5, abs=1e-10)
        assert group['weight_decay'] == pytest.approx(case.tensors['weight_decay'][step].item(), rel=1e-5)
        model.update_teacher(step, steps)
        assert 1 - model.teacher.momentum == pytest.approx(case.tensors['momentum'][step].item(), rel=1e-6)
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


def miniature(**options):
    case = load_golden('dino_step')
    head = dict(type='DINOHead', in_channels=case.embed_dim, num_prototypes=case.out_dim,
                hidden_channels=case.hidden_dim, bottleneck_channels=case.bottleneck_dim)
    neck = dict(type='PatchRefinement', num_heads=case.num_heads)
    return MODELS.build({**dict(type='DINO', backbone=backbone(case, True), neck=neck, head=head), **options})


def weights_of(case, prefix):
    weights = to_mmlocat_names(part(case, f'{prefix}/backbone.'))
    return ({name.replace('gamma2.weight', 'gamma2.scale'): value for name, value in weights.items()},
            part(case, f'{prefix}/head.'))


def test_three_updates_give_the_published_student_and_teacher():
    case, model = load_golden('dino_step'), miniature()
    inner, head = weights_of(case, 'student_before')
    model.backbone.load_state_dict(inner, strict=False)
    model.head.load_state_dict(head, strict=False)
    model.teacher.module.load_state_dict(model._student().state_dict())
    wrapper = build_optim_wrapper(model, dict(
        optimizer=dict(type='PerParameterClipAdamW', lr=1e-3, weight_decay=case.weight_decay[0],
                       max_norm=case.clip_grad),
        paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, flat_decay_mult=0)))
    for step, (rate, decay, momentum) in enumerate(zip(case.lr, case.weight_decay, case.momentum)):
        for group in wrapper.param_groups:
            group['lr'] = rate
            group['weight_decay'] = decay if group['weight_decay'] else 0.
        loss = model.loss([case.tensors[f'crop{crop}_{step}'] for crop in range(case.crops)], None)['loss']
        assert loss.item() == pytest.approx(case.loss[step], abs=1e-5)
        wrapper.backward(loss)
        if step == 0:
            gradients = {name: value.grad for name, value in model.backbone.named_parameters()}
            for name, value in weights_of(case, 'grads_0')[0].items():
                assert_close(gradients[name], value, 1e-4)
        frozen = case.epochs_of_steps[step] < case.freeze_last_layer
        wrapper.optimizer.skipped = tuple(model.head.last_layer.parameters()) if frozen else ()
        wrapper.step()
        wrapper.zero_grad()
        model.teacher.momentum = 1 - momentum
        model.teacher.update_parameters(model._student())
        assert_close(model.head.center, case.tensors[f'center_{step}'], 1e-5)
    for name, module in (('student', model._student()), ('teacher', model.teacher.module)):
        inner, head = weights_of(case, f'{name}_after')
        for actual, expected in ((module['backbone'].state_dict(), inner), (module['head'].state_dict(), head)):
            for key, value in expected.items():
                for own, published in zip(known_thirds(key, actual[key]), known_thirds(key, value)):
                    assert_close(own, published, 1e-5)


def known_thirds(name, value):
    """Leaves out the key's third of a bias: its gradient is zero but for rounding, which AdamW magnifies."""
    return value.chunk(3)[::2] if name.endswith('qkv.bias') else [value]


def test_the_teacher_starts_as_the_student_and_never_jumps():
    model = miniature()
    model.init_weights()
    student, teacher = model._student(), model.teacher.module
    assert all(torch.equal(teacher.state_dict()[name], value) for name, value in student.state_dict().items())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    before = copy.deepcopy(teacher.state_dict())
    with torch.no_grad():
        model.backbone.cls_token += 1
    model.update_teacher(0, 100)
    moved = teacher['backbone'].cls_token - before['backbone.cls_token']
    torch.testing.assert_close(moved, torch.full_like(moved, 1 - 0.996))


def test_stochastic_depth_is_the_students_alone():
    case = load_golden('dino_step')
    model = miniature(backbone=dict(backbone(case, True), drop_path_rate=0.5)).train()
    images = torch.randn(8, 3, 24, 24)
    teacher, student = model.teacher.module['backbone'], model.backbone
    assert torch.equal(teacher(images)[0], teacher(images)[0])
    assert not torch.equal(student(images)[0], student(images)[0])


@pytest.mark.parametrize(('build', 'message'), [
    (lambda: miniature(momentum=1.0), r'momentum must lie in \(0, 1\), got 1.0'),
    (lambda: DINOHead(4, 4, student_temperature=0), 'student_temperature must be positive, got 0'),
    (lambda: DINOHead(4, 4, center_momentum=1), r'center_momentum must lie in \[0, 1\), got 1'),
])
def test_wrong_arguments_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_model_is_a_self_supervisor():
    assert isinstance(miniature(), DINO)
    assert miniature()(torch.randn(1, 3, 24, 24), mode='tensor')[0].shape == (1, 37, 24)
