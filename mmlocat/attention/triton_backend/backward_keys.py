"""Second backward kernel: for one block of keys over all queries, computes dk = dS^T q * scale and dv = P^T dO.

The values of a query (precisions, alpha, log-sum-exp, delta, row) are read from the record that the kernel of queries
wrote. Keys beyond the last one need no mask: each has its own row of dk and dv, which is not stored.
"""

import triton
import triton.language as tl

from .forward import SIZES
from .pieces import key_positions, load_all_rows, load_bias, load_rows, logits, squared_distances, store_rows


@triton.jit
def _low(pair):
    return pair.to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def _high(pair):
    return (pair >> 32).to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def _wait(sums):
    # This only waits, so that no product is in flight when an iteration ends; otherwise ptxas makes wgmma wait after
    # each product (its warning C7515). It comes after the last product of an iteration.
    return tl.inline_asm_elementwise('mov.b32 $0, $1;', '=r,r', [sums], tl.float32, True, 1)


@triton.jit(do_not_specialize=[*SIZES, 'padded'])
def keys_kernel(Q, K, V, BIAS, RECORD, DO, DK, DV,
                sqb, sqh, sqn, skb, skh, skn, svb, svh, svn, sbb, sbh, sbm, sbn, sob, soh, son, seb, seh, sen,
                heads, N, P, H, W, rw, dmax, scale, limit, shift, eps, padded,
                D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
                WP: tl.constexpr, ROWS: tl.constexpr, IP: tl.constexpr, CLAMP: tl.constexpr, HAS_BIAS: tl.constexpr,
                WIDE: tl.constexpr, WANT_K: tl.constexpr, WANT_V: tl.constexpr, WAIT: tl.constexpr):
    """Computes dk and dv of one block of keys.

    RECORD holds pairs of float32 as int64. DK and DV have the layout (B, N, h, d), strides ``so*``; DO has ``se*``.
    """
    # Blocks of patches first, then blocks of prefix tokens, whose bias is 0.
    if ROWS:
        R: tl.constexpr = BLOCK_N // WP
        across = (W + WP - 1) // WP
        on_patches = (H + R - 1) // R * across
    else:
        on_patches = (N - P + BLOCK_N - 1) // BLOCK_N
    blocks = on_patches + (P + BLOCK_N - 1) // BLOCK_N
    block = tl.program_id(0) % blocks
    bh = tl.program_id(0) // blocks
    b = (bh // heads).to(tl.int64)
    h = (bh % heads).to(tl.int64)
    Q += b * sqb + h * sqh
    DO += b * seb + h * seh
    BIAS += b * sbb + h * sbh
    RECORD += bh.to(tl.int64) * (3 * padded)
    dims = tl.arange(0, BLOCK_D)
    n = tl.arange(0, BLOCK_N)
    lanes = tl.arange(0, BLOCK_M)
    numbers = lanes.to(tl.float32)
    columns = W.to(tl.float32)
    if ROWS:
        x = block % across * WP + n % WP
        y = block // across * R + n // WP
        patch = y * W + x
        inside = (x < W) & (y < H)
        xf = x.to(tl.float32)
        yf = y.to(tl.float32)
    else:
        patch = block * BLOCK_N + n
        inside = patch < N - P
        yf, xf = key_positions(patch.to(tl.float32), W, rw)
    on_grid = block < on_patches
    prefix = (block - on_patches) * BLOCK_N + n
    tokens = tl.where(on_grid, P + patch, prefix)
    on = tl.where(on_grid, inside, prefix < P)
    strength = tl.where(on_grid, 1.0, 0.0)
    c = scale * 1.4426950408889634
    k = load_rows(K + b * skb + h * skh, tokens, skn, dims, on, D, BLOCK_D, WIDE)
    v = load_rows(V + b * svb + h * svh, tokens, svn, dims, on, D, BLOCK_D, WIDE)
    dk = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    dv = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    for start in range(0, N, BLOCK_M):
        m = start + lanes
        # Queries beyond the last one have probability 0, whatever is read in their place.
        read = tl.minimum(m, N - 1)
        q = load_all_rows(Q, read, sqn, dims, D, BLOCK_D, WIDE)
        precisions = tl.load(RECORD + m)
        strengths = tl.load(RECORD + padded + m)
        deltas = tl.load(RECORD + 2 * padded + m)
        py, px, lse2, delta, qy = _low(precisions), _high(precisions), _high(strengths), _low(deltas), _high(deltas)
        a = _low(strengths) * strength
        qx = (start - P).to(tl.float32) + numbers - qy * columns
        dy2 = squared_distances(qy, yf, dmax, CLAMP)
        dx2 = squared_distances(qx, xf, dmax, CLAMP)
        if ROWS:
            ga = a[:, None] * tl.exp2(py[:, None] * dy2)
            g = tl.exp2(px[:, None] * dx2)
        else:
            ga = tl.broadcast_to(a[:, None], (BLOCK_M, BLOCK_N))
            g = tl.exp2(py[:, None] * dy2 + px[:, None] * dx2)
        if HAS_BIAS:
            extra = load_bias(BIAS, read, sbm, tokens, sbn, m < N, on, WIDE) / scale
        else:
            extra = 0.0
        s = logits(q, k, ga, g, xf, False, extra, HAS_BIAS, IP)
        do = load_all_rows(DO, read, sen, dims, D, BLOCK_D, WIDE)
        p = tl.exp2(s * c - lse2[:, None])
        if WANT_V:
            dv = tl.dot(tl.trans(p.to(do.dtype)), do, acc=dv, input_precision=IP)
            if WAIT and not WANT_K:
                dv = _wait(dv)
        if WANT_K:
            dp = tl.dot(do, tl.trans(v), input_precision=IP)
            ds = p * (dp - delta[:, None])
            dk = tl.dot(tl.trans(ds.to(q.dtype)), q, acc=dk, input_precision=IP)
            if WAIT:
                dk = _wait(dk)
    if WANT_K:
        store_rows(DK + b * sob + h * soh, tokens, son, dims, on, dk * scale, D, BLOCK_D, WIDE)
    if WANT_V:
        store_rows(DV + b * sob + h * soh, tokens, son, dims, on, dv, D, BLOCK_D, WIDE)
