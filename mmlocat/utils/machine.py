"""What a figure was measured on, in words."""

from __future__ import annotations

import platform
from datetime import date
from pathlib import Path


def processor(device: str) -> str:
    """Returns the name of a GPU or of the machine's CPU."""
    import torch
    if device.startswith('cuda'):
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    if Path('/proc/cpuinfo').exists():
        names = [line.split(':', 1)[1].strip() for line in Path('/proc/cpuinfo').read_text().splitlines()
                 if line.startswith('model name')]
        name = names[0] if names else name
    return name


def machine(device: str) -> str:
    """Describes date, processor, threads and PyTorch in one line."""
    import torch
    name = processor(device)
    if not device.startswith('cuda'):
        name = f'{name}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}'
    return f'{date.today()}, {name}, PyTorch {torch.__version__}'
