"""Compiles the Triton kernels for a GPU without having one: registers, spills, shared memory.

Run as a script, for it must not see TRITON_INTERPRET: ``python offline.py ARCH`` reads cases as JSON from standard
input and prints a line of JSON for each kernel. A case says what a call would be; its launches are the package's own.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FLOATS = ('rw', 'dmax', 'scale', 'limit', 'shift', 'eps')


def launches(case, arch):
    """Returns the forward and both backward launches of a case, and the tensors' types by argument name."""
    import torch

    from mmlocat.attention.triton_backend.launch import Constants, Inputs, plan_of
    dtype, (height, width), prefix = getattr(torch, case['dtype']), case['grid'], case['prefix']
    torch.set_float32_matmul_precision('high' if case.get('tf32') else 'highest')
    batch, heads, dims = 2, 3, case['dims']
    tokens = prefix + height * width
    # On the meta device: shapes and strides alone.
    qkv = torch.empty(batch, tokens, 3, heads, dims, dtype=dtype, device='meta')
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    gate = torch.empty_like(query) if case.get('gate') else None
    bias = torch.empty(1, heads, tokens, tokens, dtype=dtype, device='meta') if case.get('bias') else None
    if case.get('given'):
        spots = [torch.empty(batch, heads, height * width, n, device='meta') for n in (2, 1)] + [None, None]
    else:
        spots = [torch.empty(shape, device='meta') for shape in ((2, dims), (2, ), (1, dims), (1, ))]
    plan = plan_of(Inputs(query, key, value, gate, bias, *spots), Constants((14, 14), (height, width), prefix, 0.125),
                   hopper=arch == 90)
    grad = plan.empty(query).stride()[:3]
    wants = case.get('wants', [True, True, not case.get('given'), bool(case.get('gate')), bool(case.get('bias'))])
    by_name = {'forward': plan.launch('forward'), 'queries': plan.launch('queries', grad, tuple(wants)),
               'keys': plan.launch('keys', grad, tuple(case.get('keys', [True, True])))}
    return {name: launch for name, launch in by_name.items() if name in case.get('kernels', by_name)}


def pointer(name, kernel, dtype):
    """Returns the type of a tensor argument as Triton writes it."""
    if name == 'RECORD':
        return '*fp32' if kernel == 'queries' else '*i64'
    return '*fp32' if name.startswith(('SPOT', 'DSPOT', 'LSE', 'DBIAS')) else f'*{dtype}'


def compile_one(name, launch, dtype, arch):
    """Compiles a launch for an architecture such as 90."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    names = launch.kernel.arg_names
    options = {key: value for key, value in launch.options.items() if key not in names}
    constants = {(names.index(key), ): value for key, value in launch.options.items() if key in names}
    numbers = names[len(names) - len(constants) - len(launch.numbers):len(names) - len(constants)]
    fixed = launch.kernel.do_not_specialize
    signature, attributes = {}, {}
    for index, argument in enumerate(names):
        if (index, ) in constants:
            signature[argument] = 'constexpr'
        elif argument not in numbers:
            signature[argument] = pointer(argument, name, dtype)
            attributes[(index, )] = [['tt.divisibility', 16]]
        elif argument in FLOATS:
            signature[argument] = 'fp32'
        else:
            signature[argument] = 'i32'
            value = launch.numbers[numbers.index(argument)]
            if argument not in fixed and index not in fixed and value % 16 == 0:
                attributes[(index, )] = [['tt.divisibility', 16]]
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=attributes)
    compiled = triton.compile(source, target=GPUTarget('cuda', arch, 32), options=options)
    return assemble(compiled.asm['ptx'], arch) | {'shared': compiled.metadata.shared, 'kernel': name, 'arch': arch}


def assemble(ptx, arch):
    """Returns registers a thread and bytes of spilled registers, as the assembler says."""
    import triton
    assembler = Path(triton.__file__).parent / 'backends' / 'nvidia' / 'bin' / 'ptxas'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'kernel.ptx')
        path.write_text(ptx)
        target = re.search(r'\.target (sm_\w+)', ptx).group(1)
        said = subprocess.run([assembler, '-v', '--gpu-name', target, path, '-o', path.with_suffix('.cubin')],
                              capture_output=True, text=True, check=True).stderr
    return {'registers': int(re.search(r'Used (\d+) registers', said).group(1)),
            'spilled': int(re.search(r'(\d+) bytes spill stores', said).group(1)),
            'serialised': 'C7515' in said or 'serializ' in said}


def main():
    short = {'float32': 'fp32', 'float16': 'fp16', 'bfloat16': 'bf16'}
    arch = int(sys.argv[1])
    for case in json.load(sys.stdin):
        for name, launch in launches(case, arch).items():
            try:
                result = compile_one(name, launch, short[case['dtype']], arch)
            except Exception as error:
                result = {'kernel': name, 'arch': arch, 'error': f'{type(error).__name__}: {error}'[-1500:]}
            print(json.dumps({'case': case, **result}), flush=True)


if __name__ == '__main__':
    assert os.environ.get('TRITON_INTERPRET') != '1'
    main()
